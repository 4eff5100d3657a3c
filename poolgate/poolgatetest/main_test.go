package poolgatetest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/poolgatetest"
	"github.com/poolgate/poolgate/poolgate/rows"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

const schema = `
	CREATE TABLE texts (text text NOT NULL);
	CREATE TABLE parents (id int PRIMARY KEY);
	CREATE TABLE children (parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)`

// onBoth runs f with each driver, and hands it run, which is t.Run with a DB of
// Begin. After each test the database must be as before, with nothing held and
// no goroutine left.
func onBoth(t *testing.T, f func(run func(name string, test func(t *testing.T, db *poolgate.DB)))) {
	t.Helper()
	onPool(t, func(run func(string, func(*testing.T, *poolgate.DB))) {
		f(func(name string, test func(*testing.T, *poolgate.DB)) {
			run(name, func(t *testing.T, pool *poolgate.DB) {
				test(t, poolgatetest.Begin(t, pool.DB, poolgate.Config{}))
			})
		})
	})
}

// onPool is onBoth with the pool that Begin takes.
func onPool(t *testing.T, f func(run func(name string, test func(t *testing.T, pool *poolgate.DB)))) {
	t.Helper()
	server := pgserver.ForTest(t)
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			dsn := server.CreateDatabase(t)
			open := func() *poolgate.DB {
				connector, err := driver.Connector(dsn)
				must(t, err)
				pool, err := poolgate.Wrap(sql.OpenDB(connector), poolgate.Config{Gate: gate.Config{Limit: 8}, CloseInner: true})
				must(t, err)
				return pool
			}
			pool := open()
			exec(t, pool, schema)
			must(t, pool.Close())
			f(func(name string, test func(*testing.T, *poolgate.DB)) {
				leaks := goleak.IgnoreCurrent()
				pool := open()
				t.Run(name, func(t *testing.T) { test(t, pool) })
				poolgatetest.NothingHeld(t, pool)
				has(t, pool)
				must(t, pool.Close())
				goleak.VerifyNone(t, leaks)
			})
		})
	}
}

// recorder is a testing.TB that is told of failures that a test wants to see.
type recorder struct {
	testing.TB
	mu       sync.Mutex // guards what follows
	failures []string
	cleanups []func()
}

func (r *recorder) Helper()          {}
func (r *recorder) Cleanup(f func()) { r.cleanups = append(r.cleanups, f) }

func (r *recorder) Errorf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failures = append(r.failures, fmt.Sprintf(format, args...))
}

type fatal struct{}

func (r *recorder) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	panic(fatal{})
}

// failures returns those of test, which gets a testing.TB of its own.
func failures(t *testing.T, test func(t testing.TB)) []string {
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
	return r.failures
}

// failsWith wants one failure, with text in it.
func failsWith(t *testing.T, text string, test func(t testing.TB)) {
	t.Helper()
	got := failures(t, test)
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

func is(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
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

func insert(ctx context.Context, db execer, text string) error {
	_, err := db.ExecContext(ctx, "INSERT INTO texts VALUES ($1)", text)
	return err
}

// has wants exactly these texts to be there.
func has(t testing.TB, db rows.Queryer, want ...string) {
	t.Helper()
	got, err := rows.Collect[string](context.Background(), db, "SELECT text FROM texts ORDER BY text")
	must(t, err)
	equal(t, got, append([]string{}, want...))
}

func state(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return e.SQLState()
	}
	return ""
}
