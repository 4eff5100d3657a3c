package conformance

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"os"
	"testing"

	"github.com/poolgate/poolgate/poolgate"
)

// Driver is what the suite has to know of an adapter.
type Driver interface {
	// Name is the driver's row in the table of differences.
	Name() string

	// Open is the adapter's Open.
	Open(dsn string, config poolgate.Config) (*poolgate.DB, error)

	// Connector returns the connector that Open makes its pool of.
	Connector(dsn string) (Connector, error)

	// Array returns what to scan a PostgreSQL array into dest with, a pointer
	// to a slice.
	Array(dest any) any

	// Copy writes rows by COPY, in the way that is the driver's own, and
	// returns how many rows the server has taken.
	Copy(ctx context.Context, db *poolgate.DB, table string, columns []string, rows [][]any) (int64, error)

	// Raw takes the driver's own connection out of conn by poolgate.Raw,
	// finds out its backend's process by means that only that connection has,
	// and returns what f returns for it.
	Raw(conn *sql.Conn, f func(pid int) error) error
}

// Connector is what an adapter's connector can do.
type Connector interface {
	driver.Connector
	Server() (host string, port int)
	Database() string
}

// Run runs the suite.
func Run(t *testing.T, d Driver) {
	for _, part := range []struct {
		name string
		test func(*testing.T, Driver)
	}{
		{"values", testValues},
		{"nulls", testNulls},
		{"arrays", testArrays},
		{"results", testResults},
		{"columns", testColumns},
		{"transactions", testTransactions},
		{"conflicts", testConflicts},
		{"statements", testStatements},
		{"statement reuse", testReuse},
		{"cancellation", testCancellation},
		{"errors", testErrors},
		{"killed backends", testKilledBackends},
		{"hung server", testHungServer},
		{"silent connections", testSilentConnections},
		{"failover", testFailover},
		{"sent once", testSentOnce},
		{"limit is felt", testLimitIsFelt},
		{"encrypted", testEncrypted},
		{"refused setting", testRefusedSetting},
		{"copy", testCopy},
		{"raw", testRaw},
		{"sessions", testSessions},
		{"resets", testResets},
		{"permits", testPermits},
		{"deadlocks", testDeadlocks},
		{"out of band", testOutOfBand},
		{"closing", testClosing},
		{"connectors", testConnector},
		{"wrong DSNs", testWrongDSNs},
		{"passwords", testPasswords},
	} {
		t.Run(part.name, func(t *testing.T) { part.test(t, d) })
	}
}

// EnvShared names the environment variable that has RunShared run all of its parts,
// and not only those about what the pool does. With -short the longest of these are
// left out too.
const EnvShared = "POOLGATE_SHARED"

// RunShared runs the parts that hold for the DB of a poolgate.SharedPool as well: it
// has no Config, and which connections are kept and for how long is up to the pool.
// The driver may have a method Close(*poolgate.DB) error, which closes the pool.
func RunShared(t *testing.T, d Driver) {
	all := os.Getenv(EnvShared) != ""
	long := all || !testing.Short()
	for _, part := range []struct {
		name string
		test func(*testing.T, Driver)
		run  bool
	}{
		{"values", testValues, all},
		{"nulls", testNulls, all},
		{"results", testResults, all},
		{"transactions", testTransactions, true},
		{"conflicts", testConflicts, all},
		{"statements", testStatements, all},
		{"cancellation", testCancellation, true},
		{"errors", testErrors, all},
		{"killed backends", testKilledBackends, long},
		{"hung server", testHungServer, long},
		{"limit is felt", testLimitIsFelt, all},
		{"copy", testCopy, all},
		{"raw", testRaw, all},
		{"sessions", testSessions, all},
		{"deadlocks", testDeadlocks, true},
		{"out of band", testOutOfBand, true},
	} {
		if part.run {
			t.Run(part.name, func(t *testing.T) { part.test(t, d) })
		}
	}
}
