package fleet_test

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/fleet"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// patience is how long something that has to happen may take on a slow machine.
const patience = time.Minute

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// Three DBs with a limit of 20 each share eight connections.
func TestJoin(t *testing.T) {
	const budget, members = 8, 3
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			dsn := pgserver.ForTest(t).CreateDatabase(t)
			ctx := t.Context()
			admin, err := driver.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1}})
			if err != nil {
				t.Fatal(err)
			}
			defer admin.Close()
			learnt(t, admin.DB)
			var dbs []*poolgate.DB
			var fleets []*fleet.Fleet
			for range members {
				db, err := driver.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 20, MaxWait: patience}})
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				f, err := fleet.Join(ctx, db, fleet.Config{Name: "f", Budget: budget})
				if err != nil {
					t.Fatal(err)
				}
				dbs, fleets = append(dbs, db), append(fleets, f)
			}
			working, rest := context.WithCancel(ctx)
			var all sync.WaitGroup
			for i, db := range dbs {
				for range 10 {
					all.Go(func() {
						for working.Err() == nil {
							if _, err := db.ExecContext(ctx, "SELECT pg_sleep(0.002)"); err != nil && !errors.Is(err, gate.ErrClosed) {
								t.Errorf("member %d: %v", i, err)
								return
							}
						}
					})
				}
			}
			var most int
			stop := make(chan struct{})
			var sampler sync.WaitGroup
			sampler.Go(func() {
				for {
					select {
					case <-stop:
						return
					case <-time.After(5 * time.Millisecond):
					}
					var n int
					err := admin.QueryRowContext(ctx, `SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()`).Scan(&n)
					if err != nil {
						t.Error(err)
						return
					}
					most = max(most, n)
				}
			})
			eventually(t, "every member has a share", func() bool {
				for _, f := range fleets {
					if f.Stats().Permits == 0 {
						return false
					}
				}
				return true
			})
			eventually(t, "the shares are about equal, and most of the budget is used", func() bool {
				sum := 0
				for _, f := range fleets {
					if n := f.Stats().Permits; n > 4 {
						return false
					}
					sum += f.Stats().Permits
				}
				return sum >= budget-2
			})
			rest()
			all.Wait()
			for i := range 2 {
				if err := fleets[i].Leave(ctx); err != nil {
					t.Errorf("member %d leaves: %v", i, err)
				}
				if n := dbs[i].Stats().OpenConnections; n > 0 {
					t.Errorf("member %d has left with %d connections", i, n)
				}
			}
			working, rest = context.WithCancel(ctx)
			for range 20 {
				all.Go(func() {
					for working.Err() == nil {
						if _, err := dbs[2].ExecContext(ctx, "SELECT pg_sleep(0.002)"); err != nil {
							t.Error(err)
							return
						}
					}
				})
			}
			eventually(t, "the last member has nearly all", func() bool { return fleets[2].Stats().Permits >= budget-1 })
			rest()
			all.Wait()
			if err := fleets[2].Leave(ctx); err != nil {
				t.Error(err)
			}
			var rows int
			if err := admin.QueryRow("SELECT count(*) FROM poolgate_fleet.member_v1").Scan(&rows); err != nil || rows != 0 {
				t.Errorf("%d rows of members are left (%v)", rows, err)
			}
			close(stop)
			sampler.Wait()
			// Besides the budget: a heartbeat of each, and admin's one.
			if limit := budget + members + 1; most > limit {
				t.Errorf("the server had %d connections, and %d are allowed", most, limit)
			}
		})
	}
}

// Callers that hold their permits get what they need, if the budget has it, also where
// a part of the share is the lane's.
func TestShareHasRoomForTheLane(t *testing.T) {
	db, err := bothdrivers.All[0].Open("postgres://127.0.0.1:1/none?sslmode=disable", poolgate.Config{Gate: gate.Config{Limit: 20, MaxWait: patience}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	store := fleet.NewMemory()
	if _, err := store.Write(t.Context(), fleet.Heartbeat{Key: "nobody", Seq: 1, Budget: 40, Weight: 1}); err != nil {
		t.Fatal(err)
	}
	fleet.AdvanceMemory(store, 31)
	if _, err := fleet.Join(t.Context(), db, fleet.Config{Name: "f", Budget: 40, Store: store}); err != nil {
		t.Fatal(err)
	}
	for i := range 6 {
		p, err := db.Gate().Acquire(t.Context())
		if err != nil {
			t.Fatalf("permit %d: %v", i, err)
		}
		defer p.Release()
	}
	// With many more callers than the limit lets in, the member asks for no more than it can use.
	ctx, cancel := context.WithCancel(t.Context())
	var all sync.WaitGroup
	defer all.Wait()
	defer cancel()
	for range 60 {
		all.Go(func() {
			if p, err := db.Gate().Acquire(ctx); err == nil {
				<-ctx.Done()
				p.Release()
			}
		})
	}
	eventually(t, "all permits of the limit are in use", func() bool { return db.Gate().Stats().InFlight == 20 })
	if s := db.Gate().Stats().Share; s.Permits != 25 {
		t.Errorf("the share is %d, and 25 is all that a limit of 20 and its lane can use", s.Permits)
	}
}

// learnt creates the store, and has it know that it has seen all members.
func learnt(t testing.TB, db *sql.DB) {
	t.Helper()
	if _, err := db.Exec(fleet.Setup(fleet.DefaultSchema)); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("INSERT INTO poolgate_fleet.fleet_v1 VALUES ('f', 100, now(), 0, left(pg_walfile_name(pg_current_wal_lsn()), 8))"); err != nil {
		t.Fatal(err)
	}
}

func TestJoinRefuses(t *testing.T) {
	db, err := bothdrivers.All[0].Open("postgres://127.0.0.1:1/none?sslmode=disable", poolgate.Config{Gate: gate.Config{Limit: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for field, config := range map[string]fleet.Config{
		"Name":   {Budget: 1},
		"Budget": {Name: "f"},
		"Min":    {Name: "f", Budget: 1, Min: 2},
		"Max":    {Name: "f", Budget: 5, Min: 3, Max: 2},
		"Weight": {Name: "f", Budget: 1, Weight: -1},
		"Margin": {Name: "f", Budget: 1, Margin: 1},
	} {
		if _, err := fleet.Join(t.Context(), db, config); err == nil || !strings.Contains(err.Error(), "Config."+field) {
			t.Errorf("the error is %v, want one about %s", err, field)
		}
	}
	for _, config := range []fleet.Config{{Name: "f", Budget: 1}, {Name: "f", Margin: 1}} {
		if _, err := fleet.Join(t.Context(), db, config); err == nil || !strings.HasPrefix(err.Error(), "fleet: ") {
			t.Errorf("where the server cannot be reached the error is %v", err)
		}
	}
}
