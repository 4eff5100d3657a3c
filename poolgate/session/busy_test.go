package session_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/petermattis/goid"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/session"
)

func TestBusy(t *testing.T) {
	ctx := context.Background()
	onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
		// sleeping has another goroutine be in a statement while f runs.
		sleeping := func(t *testing.T, db *fixture, ctx context.Context, f func(holder int64)) {
			t.Helper()
			var wg sync.WaitGroup
			ids := make(chan int64, 1)
			wg.Go(func() {
				ids <- goid.Get()
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "waited"))
				_, err := session.DB(ctx, db.DB.DB).ExecContext(ctx, "SELECT pg_sleep(0.3)")
				must(t, err)
			})
			holder := <-ids
			eventually(t, "the statement runs", func() bool {
				var n int
				must(t, db.QueryRowContext(context.Background(),
					"SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'").Scan(&n))
				return n == 1
			})
			f(holder)
			wg.Wait()
		}
		run("a second goroutine is refused, with both names, and the first none the worse", func(t *testing.T, db *fixture) {
			must(t, session.Run(ctx, func(ctx context.Context) error {
				sleeping(t, db, ctx, func(holder int64) {
					dbtx := session.DB(ctx, db.DB.DB)
					_, err := dbtx.ExecContext(ctx, "SELECT 1")
					busy := as[*session.BusyError](t, err)
					if want := (session.BusyError{Goroutine: goid.Get(), Call: "ExecContext", Holder: holder, HolderCall: "ExecContext"}); *busy != want {
						t.Errorf("got %+v, want %+v", *busy, want)
					}
					for _, part := range []string{fmt.Sprint("goroutine ", holder), fmt.Sprint("goroutine ", goid.Get()), "RunNew"} {
						if !strings.Contains(err.Error(), part) {
							t.Errorf("%q is not in %q", part, err)
						}
					}
					_, err = dbtx.QueryContext(ctx, "SELECT 1")
					is(t, err, session.ErrBusy)
					_, err = dbtx.PrepareContext(ctx, "SELECT 1")
					is(t, err, session.ErrBusy)
					is(t, dbtx.QueryRowContext(ctx, "SELECT 1").Scan(new(int)), session.ErrBusy)
					is(t, session.From(ctx).Commit(), session.ErrBusy)
					is(t, session.From(ctx).Rollback(), session.ErrBusy)
					must(t, insert(ctx, session.DB(ctx, db.other.DB), "other")) // another database may be used
				})
				return insert(ctx, session.DB(ctx, db.DB.DB), "after")
			}))
			has(t, db.DB, "after", "waited")
			has(t, db.other, "other")
		})
		run("a unit that ends while a goroutine uses it is rolled back, after that", func(t *testing.T, db *fixture) {
			var wg sync.WaitGroup
			started := make(chan bool)
			err := session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				wg.Go(func() {
					close(started)
					for err := session.ErrBusy; errors.Is(err, session.ErrBusy); { // while it is looked at, below
						_, err = session.DB(ctx, db.DB.DB).ExecContext(ctx, "SELECT pg_sleep(0.2)")
					}
				})
				<-started
				eventually(t, "it is busy", func() bool {
					_, err := session.DB(ctx, db.DB.DB).ExecContext(ctx, "SELECT 1")
					return err != nil
				})
				return nil
			})
			is(t, err, session.ErrBusy)
			nothingHeld(t, db.DB)
			wg.Wait()
			has(t, db.DB)
		})
		run("one that waits for the gate holds the unit, and is sent away when it ends", func(t *testing.T, db *fixture) {
			small, err := db.open(poolgate.Config{Gate: gate.Config{Limit: 1, MaxWait: time.Minute}})
			must(t, err)
			defer small.Close()
			permit, err := small.Gate().Acquire(ctx)
			must(t, err)
			var wg sync.WaitGroup
			is(t, session.Run(ctx, func(ctx context.Context) error {
				wg.Go(func() { is(t, insert(ctx, session.DB(ctx, small.DB), "a"), session.ErrClosed) })
				eventually(t, "it waits", func() bool { return small.Gate().Stats().Waiting == 1 })
				is(t, insert(ctx, session.DB(ctx, small.DB), "b"), session.ErrBusy)
				return nil
			}), session.ErrBusy)
			if waiting := small.Gate().Stats().Waiting; waiting != 0 {
				t.Errorf("%d still wait when Run has returned", waiting)
			}
			wg.Wait()
			permit.Release()
			nothingHeld(t, small)
		})
		run("rows that are open are in the way, also in the same goroutine, and the transaction lives on", func(t *testing.T, db *fixture) {
			must(t, session.Run(ctx, func(ctx context.Context) error {
				dbtx := session.DB(ctx, db.DB.DB)
				must(t, insert(ctx, dbtx, "a"))
				rows, err := dbtx.QueryContext(ctx, "SELECT generate_series(1, 5000)")
				must(t, err)
				if !rows.Next() {
					t.Fatal(rows.Err())
				}
				busy := as[*session.BusyError](t, insert(ctx, dbtx, "b"))
				if want := (session.BusyError{Goroutine: goid.Get(), Call: "ExecContext", Holder: goid.Get(), HolderCall: "QueryContext", Rows: true}); *busy != want {
					t.Errorf("got %+v", *busy)
				}
				var wg sync.WaitGroup
				wg.Go(func() {
					busy := as[*session.BusyError](t, insert(ctx, dbtx, "b"))
					if !busy.Rows || busy.Holder == busy.Goroutine || busy.Goroutine != goid.Get() {
						t.Errorf("got %+v", *busy)
					}
				})
				wg.Wait()
				is(t, session.From(ctx).Commit(), session.ErrBusy) // it would end them in the middle
				n := 1
				for rows.Next() {
					n++
				}
				if n != 5000 || rows.Err() != nil {
					t.Errorf("%d rows, %v", n, rows.Err())
				}
				must(t, insert(ctx, dbtx, "b")) // read to their end they are closed
				rows, err = dbtx.QueryContext(ctx, "SELECT generate_series(1, 5000)")
				must(t, err)
				must(t, rows.Close())
				return insert(ctx, dbtx, "c")
			}))
			has(t, db.DB, "a", "b", "c")
		})
		run("a unit may go from goroutine to goroutine", func(t *testing.T, db *fixture) {
			must(t, session.Run(ctx, func(ctx context.Context) error {
				for range 20 {
					done := make(chan error)
					go func() {
						rows, err := session.DB(ctx, db.DB.DB).QueryContext(ctx, "SELECT 1")
						if err == nil {
							err = rows.Close()
						}
						done <- err
					}()
					must(t, <-done)
				}
				return nil
			}))
		})
		run("many at once get either their turn or that error, and nothing else", func(t *testing.T, db *fixture) {
			var mu sync.Mutex
			done, refused := 0, 0
			must(t, session.Run(ctx, func(ctx context.Context) error {
				var wg sync.WaitGroup
				for range 8 {
					wg.Go(func() {
						for range 25 {
							err := insert(ctx, session.DB(ctx, db.DB.DB), "x")
							mu.Lock()
							if err == nil {
								done++
							} else {
								refused++
								is(t, err, session.ErrBusy)
							}
							mu.Unlock()
						}
					})
				}
				wg.Wait()
				return nil
			}))
			var n int
			must(t, db.QueryRowContext(ctx, "SELECT count(*) FROM texts").Scan(&n))
			if n != done || done == 0 || refused == 0 {
				t.Errorf("%d rows, %d done, %d refused", n, done, refused)
			}
		})
	})
}
