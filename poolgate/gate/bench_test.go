package gate_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// acquirer is what the benchmarks compare: take one permit, do something, give
// the permit back.
type acquirer interface {
	acquire(ctx context.Context, hold func()) error
}

type gateAcquirer struct{ *gate.Gate }

func (g gateAcquirer) acquire(ctx context.Context, hold func()) error {
	p, err := g.Acquire(ctx)
	if err != nil {
		return err
	}
	hold()
	p.Release()
	return nil
}

type semaphoreAcquirer struct{ *semaphore.Weighted }

func (s semaphoreAcquirer) acquire(ctx context.Context, hold func()) error {
	if err := s.Acquire(ctx, 1); err != nil {
		return err
	}
	hold()
	s.Release(1)
	return nil
}

func acquirers(b *testing.B, limit int) map[string]acquirer {
	g, err := gate.New(gate.Config{Limit: limit})
	if err != nil {
		b.Fatal(err)
	}
	return map[string]acquirer{
		"gate":      gateAcquirer{g},
		"semaphore": semaphoreAcquirer{semaphore.NewWeighted(int64(limit))},
	}
}

// BenchmarkUncontended: nobody waits.
func BenchmarkUncontended(b *testing.B) {
	all := acquirers(b, 4)
	ctxs := map[string]context.Context{"background": context.Background()}
	cancellable, cancel := context.WithCancel(context.Background())
	defer cancel()
	ctxs["cancellable"] = cancellable
	for _, kind := range []string{"background", "cancellable"} {
		ctx := ctxs[kind]
		for _, name := range []string{"gate", "semaphore"} {
			a := all[name]
			b.Run(fmt.Sprintf("ctx=%s/by=%s", kind, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					if err := a.acquire(ctx, nothing); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

func nothing() {}

// BenchmarkWatched is BenchmarkUncontended with somebody who wants to know more.
func BenchmarkWatched(b *testing.B) {
	observer := gate.Observer{
		AcquireEnd: func(context.Context, gate.AcquireEnd) {},
		Release:    func(gate.Release) {},
	}
	for _, w := range []struct {
		name     string
		config   gate.Config
		observed bool
	}{
		{"nothing", gate.Config{Limit: 4}, false},
		{"observer", gate.Config{Limit: 4}, true},
		{"leakafter", gate.Config{Limit: 4, LeakAfter: time.Minute}, false},
		{"stackevery1", gate.Config{Limit: 4, StackEvery: 1}, false},
	} {
		b.Run("by="+w.name, func(b *testing.B) {
			g, err := gate.New(w.config)
			if err != nil {
				b.Fatal(err)
			}
			if w.observed {
				defer g.Observe(observer)()
			}
			ctx := context.Background()
			b.ReportAllocs()
			for b.Loop() {
				p, err := g.Acquire(ctx)
				if err != nil {
					b.Fatal(err)
				}
				p.Release()
			}
		})
	}
}

// BenchmarkContended: many goroutines, few permits. With hold=yield the holder
// lets others run while it has the permit, so that they do have to wait.
func BenchmarkContended(b *testing.B) {
	for _, c := range []struct{ goroutines, limit int }{{100, 4}, {1000, 40}} {
		for _, hold := range []struct {
			name string
			do   func()
		}{{"nothing", nothing}, {"yield", runtime.Gosched}} {
			all := acquirers(b, c.limit)
			for _, name := range []string{"gate", "semaphore"} {
				a := all[name]
				b.Run(fmt.Sprintf("goroutines=%d/limit=%d/hold=%s/by=%s", c.goroutines, c.limit, hold.name, name), func(b *testing.B) {
					b.ReportAllocs()
					ctx, cancel := context.WithCancel(context.Background())
					defer cancel()
					var left atomic.Int64
					left.Store(int64(b.N))
					var wg sync.WaitGroup
					for range c.goroutines {
						wg.Go(func() {
							for left.Add(-1) >= 0 {
								if err := a.acquire(ctx, hold.do); err != nil {
									b.Error(err)
									return
								}
							}
						})
					}
					wg.Wait()
				})
			}
		}
	}
}

// BenchmarkPaired runs the gate and the semaphore in turns, and reports the median of
// how many times as long the gate takes. So it says something on a busy machine too.
func BenchmarkPaired(b *testing.B) {
	for _, c := range []struct{ goroutines, limit, ops int }{
		{1, 4, 20_000}, {100, 4, 20_000}, {10_000, 40, 100_000},
	} {
		b.Run(fmt.Sprintf("goroutines=%d/limit=%d/hold=nothing", c.goroutines, c.limit), func(b *testing.B) {
			g, err := gate.New(gate.Config{Limit: c.limit, MaxWaiting: c.goroutines})
			if err != nil {
				b.Fatal(err)
			}
			both := []acquirer{gateAcquirer{g}, semaphoreAcquirer{semaphore.NewWeighted(int64(c.limit))}}
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			run := func(a acquirer) time.Duration {
				start := time.Now()
				var left atomic.Int64
				left.Store(int64(c.ops))
				one := func() {
					for left.Add(-1) >= 0 {
						if err := a.acquire(ctx, nothing); err != nil {
							b.Error(err)
							return
						}
					}
				}
				if c.goroutines == 1 {
					one()
					return time.Since(start)
				}
				var all sync.WaitGroup
				for range c.goroutines {
					all.Go(one)
				}
				all.Wait()
				return time.Since(start)
			}
			var ratios []float64
			for b.Loop() {
				took := [2]time.Duration{}
				for i := range both { // each is first as often as the other
					k := (i + len(ratios)) % 2
					took[k] = run(both[k])
				}
				ratios = append(ratios, float64(took[0])/float64(took[1]))
			}
			slices.Sort(ratios)
			b.ReportMetric(ratios[len(ratios)/2], "gate/semaphore")
		})
	}
}
