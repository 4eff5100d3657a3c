package compare

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestContenders makes sure that each contender is used as it wants to be: it
// keeps the limit, uses it, loses nobody and looks at the context.
func TestContenders(t *testing.T) {
	for _, one := range contenders {
		t.Run(one.name+" keeps the limit and lets everybody in", func(t *testing.T) {
			const limit, goroutines, acquires = 4, 50, 2000
			c := one.make(t, limit, goroutines)
			defer c.close()
			var inFlight, most, total atomic.Int64
			l := load{goroutines: goroutines, sampled: 1, hold: hold{do: func() {
				n := inFlight.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				total.Add(1)
				time.Sleep(10 * time.Microsecond)
				inFlight.Add(-1)
			}}}
			o := l.run(t.Context(), c, acquires)
			if o.failed != nil || o.gaveUp != 0 || o.took <= 0 {
				t.Errorf("failed with %v, %d gave up, took %v", o.failed, o.gaveUp, o.took)
			}
			if n := total.Load(); n < acquires+goroutines {
				t.Errorf("%d were let in, not %d", n, acquires+goroutines)
			}
			if m := most.Load(); m != limit {
				t.Errorf("%d were in at once, the limit is %d", m, limit)
			}
			if n := len(o.waits); n != acquires {
				t.Errorf("%d waits were measured", n)
			}
		})
		t.Run(one.name+" admits nobody whose context ends first", func(t *testing.T) {
			c := one.make(t, 1, 2)
			defer c.close()
			var second error
			ctx, cancel := context.WithTimeout(classOf(t.Context(), 0), 10*time.Millisecond)
			defer cancel()
			err := c.do(classOf(t.Context(), 1), func() {
				second = c.do(ctx, func() { t.Error("let in") })
			})
			if err != nil || second == nil {
				t.Errorf("the first got %v, the second %v", err, second)
			}
			if err := c.do(classOf(t.Context(), 0), nothing.do); err != nil {
				t.Errorf("afterwards: %v", err)
			}
		})
	}
}
