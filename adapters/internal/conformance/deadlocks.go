package conformance

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// testDeadlocks checks that code which waits for itself is told so, and at once:
// a function that holds a connection, in whatever form, and asks the pool for
// another.
func testDeadlocks(t *testing.T, d Driver) {
	const limit = 3
	for _, test := range []struct {
		name string
		// run holds a connection, waits until all others do, and asks for
		// another. It gives everything back, and returns the last error.
		run func(f *fixture, all *sync.WaitGroup) error
	}{
		{"a query next to a transaction", func(f *fixture, all *sync.WaitGroup) error {
			tx, err := f.Begin()
			if err != nil {
				return err
			}
			defer tx.Rollback()
			together(all)
			_, err = f.Exec("select 1")
			return err
		}},
		{"a query between rows that are open", func(f *fixture, all *sync.WaitGroup) error {
			rows, err := f.Query("select generate_series(1, 1000)")
			if err != nil {
				return err
			}
			defer rows.Close()
			rows.Next()
			together(all)
			_, err = f.Exec("select 1")
			return err
		}},
		{"a transaction inside of another", func(f *fixture, all *sync.WaitGroup) error {
			outer, err := f.Begin()
			if err != nil {
				return err
			}
			defer outer.Rollback()
			if _, err := outer.Exec("select 1"); err != nil {
				return err
			}
			together(all)
			inner, err := f.Begin()
			if err == nil {
				inner.Rollback()
			}
			return err
		}},
		{"a statement that is prepared on the pool next to a transaction", func(f *fixture, all *sync.WaitGroup) error {
			tx, err := f.Begin()
			if err != nil {
				return err
			}
			defer tx.Rollback()
			together(all)
			stmt, err := f.Prepare("select 1")
			if err == nil {
				stmt.Close()
			}
			return err
		}},
	} {
		t.Run(test.name+" is refused, and the others go on", func(t *testing.T) {
			f := open(t, d, limit)
			var all, done sync.WaitGroup
			all.Add(limit)
			errs := make([]error, limit)
			var waited time.Duration
			for i := range limit {
				done.Go(func() { errs[i] = test.run(f, &all) })
			}
			done.Wait()
			refused := 0
			for _, err := range errs {
				rejected, ok := errors.AsType[*gate.RejectedError](err)
				switch {
				case err == nil:
				case !ok || !errors.Is(err, gate.ErrDeadlock):
					t.Error(err)
				default:
					refused++
					waited = rejected.Waited
					if len(rejected.Holders) != limit || strings.Count(err.Error(), "deadlocks.go:") != limit {
						t.Errorf("%d holders: %v", len(rejected.Holders), err)
					}
				}
			}
			// 50 ms on a machine that has time for it; the timer itself takes 30.
			if refused != 1 || waited > time.Second {
				t.Errorf("%d were refused, after %v", refused, waited)
			}
			t.Logf("found after %v", waited)
		})
	}

	t.Run("of many that need a second connection at least as many come to their end as are refused", func(t *testing.T) {
		f := open(t, d, 4)
		const goroutines, tries = 40, 3
		var done sync.WaitGroup
		var committed, refused atomic.Int64
		try := func() error {
			tx, err := f.Begin()
			if err != nil {
				return err
			}
			defer tx.Rollback()
			if _, err := tx.Exec("select 1"); err != nil {
				return err
			}
			if _, err := f.Exec("select 1"); err != nil {
				return err
			}
			return tx.Commit()
		}
		for range goroutines {
			done.Go(func() {
				for range tries {
					switch err := try(); {
					case err == nil:
						committed.Add(1)
					case errors.Is(err, gate.ErrDeadlock):
						refused.Add(1)
					default:
						t.Error(err)
					}
				}
			})
		}
		done.Wait()
		t.Logf("%d committed, %d were refused", committed.Load(), refused.Load())
		if committed.Load() < refused.Load() {
			t.Errorf("%d committed, %d were refused", committed.Load(), refused.Load())
		}
	})

	t.Run("a transaction that another goroutine works with is none", func(t *testing.T) {
		f := open(t, d, 1)
		tx, err := f.Begin()
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := tx.Exec("select pg_sleep(0.3)")
			done <- errors.Join(err, tx.Commit())
		}()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		time.Sleep(time.Millisecond) // or the other has not said yet that it works with it
		if _, err := f.ExecContext(ctx, "select 1"); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// together waits until all have come here.
func together(all *sync.WaitGroup) {
	all.Done()
	all.Wait()
}
