package gather_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/session"
)

func TestSnapshot(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *fixture))) {
		run("statements run side by side on one snapshot, while others write", func(t *testing.T, db *fixture) {
			writing, stop := context.WithCancel(t.Context())
			var writer sync.WaitGroup
			writer.Go(func() {
				for i := 0; writing.Err() == nil; i++ {
					exec(t, db.watch, "INSERT INTO numbers VALUES ($1)", i)
				}
			})
			snapshots := make([]string, 4)
			var inside atomic.Int64
			statements := make([]gather.Statement, 4)
			for i := range statements {
				statements[i] = func(ctx context.Context, conn session.DBTX) error {
					inside.Add(1)
					eventually(t, "all are at work at once", func() bool { return inside.Load() == 4 })
					return gather.One(&snapshots[i], "SELECT pg_current_snapshot()::text")(ctx, conn)
				}
			}
			must(t, gather.Run(patiently(t), db, gather.Options{Consistency: gather.Snapshot}, statements...))
			stop()
			writer.Wait()
			if len(slices.Compact(snapshots)) != 1 || snapshots[0] == "" {
				t.Errorf("snapshots %q", snapshots)
			}
		})

		run("one connection is enough, and the others are called off", func(t *testing.T, db *fixture) {
			var holders []interface{ Close() error }
			for range 3 {
				conn, err := db.Conn(t.Context())
				must(t, err)
				holders = append(holders, conn)
			}
			var sum int
			statements := slices.Repeat([]gather.Statement{gather.One(&sum, "SELECT 3")}, 10)
			must(t, gather.Run(patiently(t), db, gather.Options{Consistency: gather.Snapshot}, statements...))
			equal(t, sum, 3)
			equal(t, db.Gate().Stats().Waiting, 0)
			for _, h := range holders {
				must(t, h.Close())
			}
		})
	})
}

// Every gather has its first connection and wants more, which nobody gives
// back before it has ended.
func TestSnapshotsOnAsManyPermits(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *fixture))) {
		for _, k := range []int{1, 2, 4} {
			for _, waiting := range []int{0, gate.NoWaiting} {
				run(fmt.Sprintf("%d gathers all finish, with MaxWaiting %d", k, waiting), func(t *testing.T, f *fixture) {
					db := f.open(gate.Config{Limit: k, MaxWaiting: waiting})
					var all errgroup.Group
					var finished atomic.Int64
					for g := range k {
						all.Go(func() error {
							statements := make([]gather.SQL, 10)
							for i := range statements {
								statements[i] = gather.SQL{Query: "SELECT $1::int", Args: []any{g*100 + i}}
							}
							for range 5 {
								results, err := gather.Collect[int](patiently(t), db, gather.Options{Consistency: gather.Snapshot}, statements...)
								if waiting == gate.NoWaiting && errors.Is(err, gate.ErrQueueFull) {
									continue // others had all permits, and nobody may wait
								}
								if err != nil {
									return err
								}
								finished.Add(1)
								for i, r := range results {
									equal(t, r.Rows(), []int{g*100 + i})
								}
							}
							return nil
						})
					}
					must(t, all.Wait())
					if finished.Load() == 0 {
						t.Error("none has finished")
					}
				})
			}
		}
	})
}

// tornGathers is how many gathers of each kind are looked at for torn reads:
// POOLGATE_GATHERS, or enough to find a gather that tears one time in 50.
func tornGathers(t *testing.T) int {
	n, err := strconv.Atoi(cmp.Or(os.Getenv("POOLGATE_GATHERS"), "150"))
	must(t, err)
	return n
}

func TestTornReads(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *fixture))) {
		run("independent gathers are, those on a snapshot and pipelined ones never", func(t *testing.T, f *fixture) {
			db := f.open(gate.Config{Limit: 8})
			exec(t, db, "CREATE TABLE accounts (id int PRIMARY KEY, balance int NOT NULL)")
			exec(t, db, "INSERT INTO accounts SELECT n, 100 FROM generate_series(0, 7) n")

			ctx, stop := context.WithCancel(t.Context())
			var transfers sync.WaitGroup
			for from := range 2 {
				transfers.Go(func() {
					for i := 0; ctx.Err() == nil; i++ {
						// one statement, and so one transaction; the order of the rows is fixed, so nobody deadlocks
						db.ExecContext(ctx, "WITH a AS (SELECT id FROM accounts WHERE id IN ($1, $2) ORDER BY id FOR UPDATE) "+
							"UPDATE accounts SET balance = balance + CASE id WHEN $1 THEN -1 ELSE 1 END WHERE id IN (SELECT id FROM a)",
							(from+i)%8, (from+3*i+1)%8)
					}
				})
			}
			defer transfers.Wait()
			defer stop()

			statements := make([]gather.SQL, 8)
			for i := range statements {
				statements[i] = gather.SQL{Query: "SELECT balance FROM accounts WHERE id = $1", Args: []any{i}}
			}
			torn := func(c gather.Consistency) bool {
				o := gather.Options{Consistency: c, OrSerial: c == gather.Pipelined} // with lib/pq
				results, err := gather.Collect[int](ctx, db, o, statements...)
				must(t, err)
				sum := 0
				for _, r := range results {
					sum += r.At(0)
				}
				return sum != 800
			}

			n := tornGathers(t)
			independent, snapshot, pipelined := 0, 0, 0
			for range n {
				if torn(gather.Independent) {
					independent++
				}
				if torn(gather.Snapshot) {
					snapshot++
				}
				if torn(gather.Pipelined) {
					pipelined++
				}
			}
			for extra := 0; independent == 0 && extra < 10_000; extra++ { // on a machine that runs them one after another
				if torn(gather.Independent) {
					independent++
				}
			}
			t.Logf("of %d gathers, torn: %d independent, %d on a snapshot, %d pipelined", n, independent, snapshot, pipelined)
			if snapshot+pipelined > 0 {
				t.Errorf("%d gathers on a snapshot and %d pipelined ones were torn", snapshot, pipelined)
			}
			if independent == 0 {
				t.Error("no independent gather was torn: the test shows nothing")
			}
		})
	})
}
