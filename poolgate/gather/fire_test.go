package gather_test

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/session"
)

// TestUnderFire gathers in many goroutines on few permits, inside units and
// outside, with statements that fail, panic, lose their connection, and contexts
// that end at any moment. What matters is that all of them return, and what
// onBoth looks for afterwards.
func TestUnderFire(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *fixture))) {
		run("every gather returns, with nothing held", func(t *testing.T, db *fixture) {
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			var all sync.WaitGroup
			var succeeded atomic.Int64
			for i := range 12 {
				random := rand.New(rand.NewPCG(seed, uint64(i)))
				all.Go(func() {
					for range 12 {
						work := func(ctx context.Context) error {
							err := misfire(ctx, t, random, db)
							if err == nil {
								succeeded.Add(1)
							}
							return err
						}
						ctx, cancel := context.WithTimeout(patiently(t), time.Duration(random.IntN(100))*time.Millisecond)
						if random.IntN(3) > 0 {
							cancel()
							ctx, cancel = context.WithCancel(patiently(t))
						}
						if random.IntN(2) == 0 {
							session.Run(ctx, func(ctx context.Context) error {
								if _, err := session.DB(ctx, db.DB.DB).ExecContext(ctx, "SELECT 1"); err != nil {
									return err
								}
								return work(ctx)
							})
						} else {
							work(ctx)
						}
						cancel()
					}
				})
			}
			all.Wait()
			if n := succeeded.Load(); n == 0 || n == 144 {
				t.Errorf("%d of 144 succeeded", n)
			}
			// what the gathers' last contexts had cancelled may still come back
			eventually(t, "everything is given back", func() bool { return db.Stats().InUse == 0 })
		})
	})
}

// misfire gathers at random. If all goes well the results are as they must be.
func misfire(ctx context.Context, t *testing.T, random *rand.Rand, db *fixture) (err error) {
	o := gather.Options{
		Consistency: gather.Consistency(random.IntN(4)),
		Limit:       random.IntN(6),
		Chunked:     random.IntN(2) == 0,
		AllErrors:   random.IntN(2) == 0,
	}
	if o.Consistency == gather.Pipelined {
		o.OrSerial, o.ReadWrite = true, random.IntN(2) == 0
	}
	results := make([]int, random.IntN(20))
	statements := make([]gather.Statement, len(results))
	for i := range statements {
		statements[i] = gather.One(&results[i], "SELECT $1::int", i)
		switch random.IntN(60) {
		case 0:
			statements[i] = gather.Discard("SELECT 1/0")
		case 1:
			statements[i] = gather.Discard("SELECT pg_terminate_backend(pg_backend_pid())")
		case 2:
			statements[i] = func(context.Context, session.DBTX) error { panic("boom") }
		case 5, 6: // several calls, and rows that may stay open
			open := random.IntN(2) == 0
			statements[i] = func(ctx context.Context, db session.DBTX) error {
				if _, err := db.ExecContext(ctx, "SELECT 1"); err != nil {
					return err
				}
				rows, err := db.QueryContext(ctx, "SELECT generate_series(1, 1000)")
				if err == nil && !open {
					err = rows.Close()
				}
				return err
			}
		case 3, 4:
			statements[i] = gather.Discard("SELECT pg_sleep(0.005)")
		}
	}
	defer func() {
		switch p := recover().(type) {
		case nil:
		case *gather.PanicError:
			err = p
		default:
			panic(p)
		}
	}()
	if err := gather.Run(ctx, db.DB, o, statements...); err != nil {
		return err
	}
	for i, got := range results {
		if got != i && got != 0 { // 0 of one that reads nothing
			t.Errorf("statement %d has the result of %d", i, got)
		}
	}
	return nil
}
