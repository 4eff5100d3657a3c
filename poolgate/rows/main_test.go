package rows_test

import (
	"context"
	"errors"
	"reflect"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

// onBoth runs f with each driver against a database of its own, and hands it
// run, which is t.Run with a fresh pool. After each test nothing may be held:
// no permit, no waiter, no connection, no goroutine.
func onBoth(t *testing.T, schema string, f func(run func(name string, test func(t *testing.T, db *poolgate.DB)))) {
	server := pgserver.ForTest(t)
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			dsn := server.CreateDatabase(t)
			open := func() *poolgate.DB {
				db, err := driver.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 2, MaxWait: 5 * time.Second}})
				must(t, err)
				return db
			}
			if schema != "" {
				db := open()
				exec(t, db, schema)
				must(t, db.Close())
			}
			f(func(name string, test func(*testing.T, *poolgate.DB)) {
				t.Run(name, func(t *testing.T) {
					leaks := goleak.IgnoreCurrent()
					db := open()
					test(t, db)
					nothingHeld(t, db)
					must(t, db.Close())
					goleak.VerifyNone(t, leaks)
				})
			})
		})
	}
}

func nothingHeld(t testing.TB, db *poolgate.DB) {
	t.Helper()
	if stats := db.Gate().Stats(); stats.InFlight != 0 || stats.Waiting != 0 {
		t.Errorf("%d permits held, %d waiting", stats.InFlight, stats.Waiting)
	}
	if used := db.Stats().InUse; used != 0 {
		t.Errorf("%d connections in use", used)
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

// says wants an error with exactly this text.
func says(t testing.TB, err error, want string) {
	t.Helper()
	if err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func equal[T any](t testing.TB, got, want T) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func exec(t testing.TB, db *poolgate.DB, query string, args ...any) {
	t.Helper()
	_, err := db.ExecContext(context.Background(), query, args...)
	must(t, err)
}

func state(err error) string {
	var e interface{ SQLState() string }
	if errors.As(err, &e) {
		return e.SQLState()
	}
	return ""
}
