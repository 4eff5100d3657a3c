package fleet_test

import (
	"context"
	"database/sql"
	"fmt"
	"sync"
	"testing"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/fleet"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A pool that somebody else has made is a member like others: it gives back
// connections that the others need, however many idle ones it would keep, and
// leaves.
func TestJoinWrapped(t *testing.T) {
	const budget = 10
	for _, idle := range []int{0, budget} {
		for _, driver := range bothdrivers.All {
			t.Run(fmt.Sprintf("%s/idle=%d", driver.Name, idle), func(t *testing.T) {
				dsn := pgserver.ForTest(t).CreateDatabase(t)
				connector, err := driver.Connector(dsn)
				if err != nil {
					t.Fatal(err)
				}
				inner := sql.OpenDB(connector)
				defer inner.Close()
				learnt(t, inner)
				config := poolgate.Config{Gate: gate.Config{Limit: budget, OutOfBand: gate.NoOutOfBand, MaxWait: patience}}
				wrapped, err := poolgate.Wrap(inner, poolgate.Config{Gate: config.Gate, MaxIdle: idle})
				if err != nil {
					t.Fatal(err)
				}
				defer wrapped.Close()
				opened, err := driver.Open(dsn, config)
				if err != nil {
					t.Fatal(err)
				}
				defer opened.Close()

				ctx, rest := context.WithCancel(t.Context())
				var all sync.WaitGroup
				defer all.Wait()
				defer rest()
				work := func(db *poolgate.DB, callers int) *fleet.Fleet {
					t.Helper()
					f, err := fleet.Join(t.Context(), db, fleet.Config{Name: "f", Budget: budget})
					if err != nil {
						t.Fatal(err)
					}
					for range callers {
						all.Go(func() {
							for ctx.Err() == nil {
								if _, err := db.ExecContext(t.Context(), "SELECT pg_sleep(0.005)"); err != nil {
									t.Error(err)
									return
								}
							}
						})
					}
					return f
				}
				first := work(wrapped, 2*budget)
				eventually(t, "the first has nearly all", func() bool { return wrapped.Stats().OpenConnections >= budget-1 })
				second := work(opened, 2*budget)
				eventually(t, "the second has half of it", func() bool {
					return second.Stats().Permits >= budget/2-1 && wrapped.Stats().OpenConnections <= first.Stats().Permits+1
				})
				rest()
				all.Wait()
				for _, f := range []*fleet.Fleet{first, second} {
					leaving, cancel := context.WithTimeout(t.Context(), patience)
					defer cancel()
					if err := f.Leave(leaving); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
}

// Heartbeats, whose texts differ, leave no prepared statements behind.
func TestHeartbeatsPrepareNothing(t *testing.T) {
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			db, err := driver.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1}})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			s, err := fleet.NewPostgreSQL(t.Context(), db.Ungated(), driver.Name, "")
			if err != nil {
				t.Fatal(err)
			}
			for i := range 10 {
				h := fleet.Heartbeat{Key: "00000000-0000-4000-8000-000000000001", Seq: int64(i + 1), Token: 5, Tokens: []int64{5}, Budget: 1, Weight: 1, Seconds: 10}
				if _, err := s.Write(t.Context(), h); err != nil {
					t.Fatal(err)
				}
			}
			var n int
			if err := db.Ungated().QueryRow("SELECT count(*) FROM pg_prepared_statements").Scan(&n); err != nil || n > 0 {
				t.Errorf("%d statements are prepared (%v)", n, err)
			}
		})
	}
}
