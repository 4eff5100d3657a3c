package gate_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sync/semaphore"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// acquirer is what the benchmarks compare: take one permit, give it back.
type acquirer interface {
	acquireAndRelease(ctx context.Context) error
}

type gateAcquirer struct{ *gate.Gate }

func (g gateAcquirer) acquireAndRelease(ctx context.Context) error {
	p, err := g.Acquire(ctx)
	if err != nil {
		return err
	}
	p.Release()
	return nil
}

type semaphoreAcquirer struct{ *semaphore.Weighted }

func (s semaphoreAcquirer) acquireAndRelease(ctx context.Context) error {
	if err := s.Acquire(ctx, 1); err != nil {
		return err
	}
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
					if err := a.acquireAndRelease(ctx); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkContended: many goroutines, few permits.
func BenchmarkContended(b *testing.B) {
	for _, c := range []struct{ goroutines, limit int }{{100, 4}, {1000, 40}} {
		all := acquirers(b, c.limit)
		for _, name := range []string{"gate", "semaphore"} {
			a := all[name]
			b.Run(fmt.Sprintf("goroutines=%d/limit=%d/by=%s", c.goroutines, c.limit, name), func(b *testing.B) {
				b.ReportAllocs()
				ctx, cancel := context.WithCancel(context.Background())
				defer cancel()
				var left atomic.Int64
				left.Store(int64(b.N))
				var wg sync.WaitGroup
				for range c.goroutines {
					wg.Go(func() {
						for left.Add(-1) >= 0 {
							if err := a.acquireAndRelease(ctx); err != nil {
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
