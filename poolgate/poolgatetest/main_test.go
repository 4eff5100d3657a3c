package poolgatetest_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/poolgatetest"
	"github.com/poolgate/poolgate/poolgate/rows"
)

func TestMain(m *testing.M) {
	if os.Getenv(envProcess) != "" {
		os.Exit(m.Run())
	}
	pgserver.Main(m)
}

// migrations is the schema of the tests.
var migrations = fstest.MapFS{
	"migrations/2.sql":    {Data: []byte("CREATE TABLE children (parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED); CREATE SEQUENCE numbers")},
	"migrations/1.sql":    {Data: []byte("CREATE TABLE texts (text text NOT NULL); CREATE TABLE parents (id int PRIMARY KEY)")},
	"migrations/index.md": {Data: []byte("not SQL")},
}

// open returns a Config.Open.
func open(driver bothdrivers.Driver, limit int) func(string) (*poolgate.DB, error) {
	return func(dsn string) (*poolgate.DB, error) {
		return driver.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: limit}})
	}
}

// onBoth runs test with each driver. After it no goroutine may be left.
func onBoth(t *testing.T, test func(t *testing.T, config poolgatetest.Config)) {
	t.Helper()
	server := pgserver.ForTest(t)
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			leaks := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, leaks) }) // after all others
			test(t, poolgatetest.Config{DSN: server.DSN(), Open: open(driver, 8), Migrations: migrations})
		})
	}
}

// databases returns the names of the databases on the server that the package
// has made, for which a pattern of LIKE holds.
func databases(t testing.TB, config poolgatetest.Config, pattern string) []string {
	t.Helper()
	db, err := config.Open(config.DSN)
	must(t, err)
	defer db.Close()
	names, err := rows.Collect[string](context.Background(), db, "SELECT datname FROM pg_database WHERE datname LIKE 'poolgatetest_' || $1 ORDER BY 1", pattern)
	must(t, err)
	return names
}

// database returns the name of the database that db is on.
func database(t testing.TB, db rows.Queryer) string {
	t.Helper()
	name, err := rows.One[string](context.Background(), db, "SELECT current_database()")
	must(t, err)
	return name
}

// recorder is a testing.TB that records the failures that a test wants to see.
type recorder struct {
	testing.TB
	mu       sync.Mutex // guards failures and logs
	failures []string
	logs     []string
	cleanups []func()
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

func (r *recorder) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logs = append(r.logs, fmt.Sprintf(format, args...))
}

func (r *recorder) Failed() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.failures) > 0
}

type fatal struct{}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(fatal{})
}

// record runs test, and its cleanups, with a testing.TB of its own.
func record(t *testing.T, test func(t testing.TB)) *recorder {
	r := &recorder{TB: t}
	func() {
		defer func() {
			if p := recover(); p != nil && p != (fatal{}) {
				panic(p)
			}
		}()
		test(r)
	}()
	for i := len(r.cleanups) - 1; i >= 0; i-- {
		r.cleanups[i]()
	}
	return r
}

// failsWith wants one failure, with text in it.
func failsWith(t *testing.T, text string, test func(t testing.TB)) {
	t.Helper()
	got := record(t, test).failures
	if len(got) != 1 || !strings.Contains(got[0], text) {
		t.Errorf("got failures %q, want one with %q", got, text)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func equal[T any](t testing.TB, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

type execer interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}

func exec(t testing.TB, db execer, query string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(context.Background(), query, args...)
	must(t, err)
}

func insert(t testing.TB, db execer, text string) {
	t.Helper()
	exec(t, db, "INSERT INTO texts VALUES ($1)", text)
}

// has wants exactly these texts to be there.
func has(t testing.TB, db rows.Queryer, want ...string) {
	t.Helper()
	got, err := rows.Collect[string](context.Background(), db, "SELECT text FROM texts ORDER BY text")
	must(t, err)
	equal(t, got, append([]string{}, want...))
}
