// Package neutral is the part of the conformance suite that asks nothing of the
// database but SQL: a gated *sql.DB does what a bare one does, and what poolgate
// promises of a pool holds on any driver.
package neutral

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// patience is how long the suite waits for what should happen soon.
const patience = 30 * time.Second

// A Database is what the suite has to know of a driver and its server.
type Database struct {
	// Open returns a connector of an empty database, which is gone when t ends.
	Open func(t testing.TB) driver.Connector

	// PostgreSQL says that it is one. Then what needs it works, and otherwise
	// the error says so.
	PostgreSQL bool

	// Single says that each connection has a database of its own, as SQLite has
	// in memory. Then the suite uses one.
	Single bool

	// Key is the definition of a key that the database makes up. Double, Bytes,
	// Time and Bool are types.
	Key, Double, Bytes, Time, Bool string
}

// Connector returns a connector of a registered driver, which need not have one
// itself.
func Connector(t testing.TB, name, dsn string) driver.Connector {
	t.Helper()
	db, err := sql.Open(name, dsn) // opens no connection
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if d, ok := db.Driver().(driver.DriverContext); ok {
		c, err := d.OpenConnector(dsn)
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	return named{db.Driver(), dsn}
}

type named struct {
	driver driver.Driver
	dsn    string
}

func (n named) Connect(context.Context) (driver.Conn, error) { return n.driver.Open(n.dsn) }
func (n named) Driver() driver.Driver                        { return n.driver }

// Run runs the suite.
func Run(t *testing.T, d Database) {
	for _, s := range scenes {
		t.Run("like a bare pool: "+s.name, func(t *testing.T) { d.compare(t, s) })
	}
	for _, way := range ways {
		t.Run(way.name, func(t *testing.T) {
			for _, p := range promises {
				t.Run(p.name, func(t *testing.T) {
					if d.Single && p.several {
						t.Skip("it needs several connections to one database")
					}
					p.test(t, d, way)
				})
			}
		})
	}
}

// A way is how a gate comes before a driver.
type way struct {
	name string
	open func(c driver.Connector, config poolgate.Config) (*poolgate.DB, error)
}

var ways = []way{
	{"OpenDB", poolgate.OpenDB},
	{"Wrap", func(c driver.Connector, config poolgate.Config) (*poolgate.DB, error) {
		config.CloseInner = true
		return poolgate.Wrap(sql.OpenDB(c), config)
	}},
}

// open opens a gated pool of an empty database. When t ends, nobody holds or
// waits for anything, and no goroutine is left.
func (d Database) open(t *testing.T, w way, config gate.Config) *poolgate.DB {
	t.Helper()
	if d.Single {
		config.Limit, config.OutOfBand = 1, gate.NoOutOfBand
	}
	c := d.Open(t)
	ignored := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignored) })
	db, err := w.open(c, poolgate.Config{Gate: config})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		eventually(t, "no permit is held, nobody waits and no connection is in use", func() bool {
			s := db.Gate().Stats()
			return s.InFlight == 0 && s.Waiting == 0 && s.OutOfBand.InFlight == 0 && db.Stats().InUse == 0
		})
		if err := db.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return db
}

// table creates the table n of numbers.
func (d Database) table(t *testing.T, db *poolgate.DB) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE n (i BIGINT PRIMARY KEY)"); err != nil {
		t.Fatal(err)
	}
}

// sql returns query with the parameters of the database, of which each is a ?.
func (d Database) sql(query string) string {
	if !d.PostgreSQL {
		return query
	}
	var b strings.Builder
	n := 0
	for _, r := range query {
		if r != '?' {
			b.WriteRune(r)
			continue
		}
		n++
		b.WriteString("$" + strconv.Itoa(n))
	}
	return b.String()
}

type queryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

func count(t *testing.T, q queryer) (n int) {
	t.Helper()
	if err := q.QueryRowContext(t.Context(), "SELECT count(*) FROM n").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}
