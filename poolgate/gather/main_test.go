package gather_test

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
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/rows"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

var consistencies = []gather.Consistency{gather.Independent, gather.Snapshot, gather.Serial}

// A fixture is a gated pool on a database with a table, numbers, that is empty.
type fixture struct {
	*poolgate.DB
	open  func(gate.Config) *poolgate.DB // another pool on the same, which is closed after the test
	watch *poolgate.DB                   // one to look from outside

	pipelines bool // the driver has a pipeline
}

// sleeping returns how many statements sleep in the server. One that is
// cancelled before it arrives there is not cancelled by lib/pq.
func (f *fixture) sleeping(t testing.TB) int {
	t.Helper()
	n, err := rows.One[int](context.Background(), f.watch,
		"SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'")
	must(t, err)
	return n
}

// onBoth runs f with each driver, against a database of its own, and hands it
// run, which is t.Run with a fresh pool of four. After each test nothing may be
// held: no permit, no waiter, no connection, no goroutine.
func onBoth(t *testing.T, f func(run func(name string, test func(t *testing.T, db *fixture)))) {
	t.Helper()
	with(t, bothdrivers.All, f)
}

// onPgx is onBoth with the driver that has a pipeline.
func onPgx(t *testing.T, f func(run func(name string, test func(t *testing.T, db *fixture)))) {
	t.Helper()
	with(t, bothdrivers.All[:1], f)
}

func with(t *testing.T, drivers []bothdrivers.Driver, f func(run func(name string, test func(t *testing.T, db *fixture)))) {
	t.Helper()
	server := pgserver.ForTest(t)
	for _, driver := range drivers {
		t.Run(driver.Name, func(t *testing.T) {
			dsn := server.CreateDatabase(t)
			open := func(config gate.Config) *poolgate.DB {
				db, err := driver.Open(dsn, poolgate.Config{Gate: config})
				must(t, err)
				return db
			}
			watch := open(gate.Config{Limit: 1})
			exec(t, watch, "CREATE TABLE numbers (n int PRIMARY KEY)")
			f(func(name string, test func(*testing.T, *fixture)) {
				t.Run(name, func(t *testing.T) {
					leaks := goleak.IgnoreCurrent()
					exec(t, watch, "TRUNCATE numbers")
					var pools []*poolgate.DB
					openOne := func(config gate.Config) *poolgate.DB {
						pools = append(pools, open(config))
						return pools[len(pools)-1]
					}
					test(t, &fixture{openOne(gate.Config{Limit: 4}), openOne, watch, driver.Name == "pgx"})
					for _, db := range pools {
						nothingHeld(t, db)
						must(t, db.Close())
					}
					goleak.VerifyNone(t, leaks)
				})
			})
			must(t, watch.Close())
		})
	}
}

// nothingHeld checks that all is given back. It looks for a while: a connection
// whose statement was cancelled keeps its permit until it is closed.
func nothingHeld(t testing.TB, db *poolgate.DB) {
	t.Helper()
	eventually(t, "no permit is held and no connection in use", func() bool {
		stats := db.Gate().Stats()
		return stats.InFlight+stats.OutOfBand.InFlight == 0 && stats.Waiting == 0 && db.Stats().InUse == 0
	})
}

// patiently is a context that ends what would hang.
func patiently(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	return ctx
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

// eventually waits for what another goroutine is about to do.
func eventually(t testing.TB, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !reached(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}
