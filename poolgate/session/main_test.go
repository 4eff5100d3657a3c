package session_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/poolgatetest"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

// A fixture is a database with a few tables, and another like it, which is a
// schema of the same.
type fixture struct {
	*poolgate.DB
	dsn   string
	other *poolgate.DB

	// open opens another DB of the same database.
	open func(poolgate.Config) (*poolgate.DB, error)
}

const schema = `
	CREATE SCHEMA IF NOT EXISTS other;
	CREATE TABLE texts (text text);
	CREATE TABLE parents (id int PRIMARY KEY);
	CREATE TABLE children (parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)`

// onBoth runs f with each driver, against a database of its own. After each
// test nothing may be held: no permit, no waiter, no connection, no goroutine.
func onBoth(t *testing.T, f func(t *testing.T, run func(name string, test func(t *testing.T, db *fixture)))) {
	server := pgserver.ForTest(t)
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			dsn := server.CreateDatabase(t)
			dsns := []string{dsn, dsn + "&search_path=other"}
			for _, dsn := range dsns {
				db, err := driver.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1}})
				must(t, err)
				exec(t, db, schema)
				must(t, db.Close())
			}
			f(t, func(name string, test func(*testing.T, *fixture)) {
				t.Run(name, func(t *testing.T) {
					leaks := goleak.IgnoreCurrent()
					var dbs []*poolgate.DB
					for _, dsn := range dsns {
						db, err := driver.Open(dsn, poolgate.Config{
							Gate: gate.Config{Limit: 4, MaxWaiting: 100, MaxWait: 5 * time.Second},
						})
						must(t, err)
						dbs = append(dbs, db)
					}
					exec(t, dbs[0], "TRUNCATE public.texts, public.children, public.parents, other.texts, other.children, other.parents")
					open := func(config poolgate.Config) (*poolgate.DB, error) { return driver.Open(dsns[0], config) }
					test(t, &fixture{DB: dbs[0], dsn: dsns[0], other: dbs[1], open: open})
					for _, db := range dbs {
						nothingHeld(t, db)
						must(t, db.Close())
					}
					goleak.VerifyNone(t, leaks)
				})
			})
		})
	}
}

// nothingHeld checks that all is given back. It waits for that: a connection
// whose statement was cancelled keeps its permit until it is closed.
func nothingHeld(t *testing.T, db *poolgate.DB) {
	t.Helper()
	poolgatetest.AssertIdle(t, db)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}

func as[E error](t *testing.T, err error) E {
	t.Helper()
	e, ok := errors.AsType[E](err)
	if !ok {
		t.Fatalf("got error %v (%T), want a %T", err, err, e)
	}
	return e
}

type execer interface {
	ExecContext(context.Context, string, ...any) (sql.Result, error)
}

func exec(t testing.TB, db execer, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(context.Background(), query, args...); err != nil {
		t.Fatal(err)
	}
}

// insert is a statement of any callee.
func insert(ctx context.Context, db execer, text string) error {
	_, err := db.ExecContext(ctx, "INSERT INTO texts VALUES ($1)", text)
	return err
}

// orphan makes the COMMIT fail, and nothing before it.
func orphan(ctx context.Context, db execer) error {
	_, err := db.ExecContext(ctx, "INSERT INTO children VALUES (1)")
	return err
}

// has wants exactly these texts to be committed in db.
func has(t *testing.T, db *poolgate.DB, want ...string) {
	t.Helper()
	rows, err := db.QueryContext(context.Background(), "SELECT text FROM texts ORDER BY text")
	must(t, err)
	defer rows.Close()
	var got []string
	for rows.Next() {
		var text string
		must(t, rows.Scan(&text))
		got = append(got, text)
	}
	must(t, rows.Err())
	if !slices.Equal(got, want) {
		t.Errorf("committed: %q, want %q", got, want)
	}
}

func inFlight(t *testing.T, db *poolgate.DB, want int) {
	t.Helper()
	if got := db.Gate().Stats().InFlight; got != want {
		t.Errorf("%d permits are held, want %d", got, want)
	}
}

// eventually waits for what another goroutine is about to do.
func eventually(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !reached(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}
