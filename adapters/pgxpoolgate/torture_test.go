package pgxpoolgate_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolgate/poolgate/adapters/pgxpoolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// Many callers use every method, with contexts that end at any moment, while
// somebody ends their connections and resets the pool. Nothing is left held, and no
// caller gets the value of another.
func TestTorture(t *testing.T) {
	const callers, tries, limit = 16, 60, 4
	both(t, gate.Config{Limit: limit, OutOfBand: 1}, func(t *testing.T, f *fixture) {
		if _, err := f.Exec(t.Context(), "create table tortured (n int)"); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
		defer cancel()
		check := func(got, want int, err error) {
			if err == nil && got != want {
				t.Errorf("got %d, want %d", got, want)
			}
		}
		calls := []func(ctx context.Context, n int) error{
			func(ctx context.Context, n int) error {
				var got int
				err := f.QueryRow(ctx, "select $1::int from pg_sleep(0.001)", n).Scan(&got)
				check(got, n, err)
				return err
			},
			func(ctx context.Context, n int) error {
				rows, err := f.Query(ctx, "select $1::int from generate_series(1, 500)", n)
				if err != nil {
					return err
				}
				all, err := pgx.CollectRows(rows, pgx.RowTo[int])
				for _, got := range all {
					check(got, n, err)
				}
				return err
			},
			func(ctx context.Context, n int) error {
				return pgx.BeginFunc(ctx, f, func(tx pgx.Tx) error {
					if _, err := tx.Exec(ctx, "insert into tortured values ($1)", n); err != nil {
						return err
					}
					var got int
					err := tx.QueryRow(ctx, "select n from tortured where n = $1 limit 1", n).Scan(&got)
					check(got, n, err)
					if err == nil && n%2 == 0 {
						err = errOwn
					}
					return err
				})
			},
			func(ctx context.Context, n int) error {
				b := new(pgx.Batch)
				for i := range 5 {
					b.Queue("select $1::int", n+i).QueryRow(func(row pgx.Row) error {
						var got int
						err := row.Scan(&got)
						check(got, n+i, err)
						return err
					})
				}
				return f.SendBatch(ctx, b).Close()
			},
			func(ctx context.Context, n int) error {
				_, err := f.CopyFrom(ctx, pgx.Identifier{"tortured"}, []string{"n"}, pgx.CopyFromRows([][]any{{n}, {n}}))
				return err
			},
			func(ctx context.Context, n int) error {
				return f.AcquireFunc(ctx, func(c *pgxpoolgate.Conn) error {
					if n%3 == 0 {
						_, err := c.Exec(ctx, "begin")
						return err
					}
					_, err := f.OutOfBand().Exec(ctx, "select 1")
					return err
				})
			},
			func(ctx context.Context, n int) error {
				for _, c := range f.AcquireAllIdle(ctx) {
					c.Release()
				}
				return f.Ping(ctx)
			},
		}
		var done sync.WaitGroup
		for caller := range callers {
			random := rand.New(rand.NewPCG(1, uint64(caller)))
			done.Go(func() {
				for try := range tries {
					own, cancel := context.WithTimeout(ctx, time.Duration(random.IntN(40_000))*time.Microsecond)
					if random.IntN(3) == 0 {
						cancel()
						own, cancel = context.WithCancel(ctx)
					}
					calls[random.IntN(len(calls))](own, caller*tries+try)
					cancel()
				}
			})
		}
		ended := make(chan struct{})
		go func() { done.Wait(); close(ended) }()
		for working := true; working; {
			select {
			case <-ended:
				working = false
			case <-time.After(20 * time.Millisecond):
				f.side.Exec(ctx, "select pg_terminate_backend(pid) from pg_stat_activity "+
					"where datname = current_database() and application_name = 'gated' order by random() limit 1")
				if rand.IntN(10) == 0 {
					f.Reset()
				}
			}
		}
		if ctx.Err() != nil {
			t.Error("some callers never came back")
		}
		if s := f.Gate().Stats(); s.Acquired < callers*tries/4 {
			t.Errorf("only %d permits were given", s.Acquired)
		}
		f.settled(t)
		f.Reset() // what was ended while it was idle
		f.usable(t)
	})
}
