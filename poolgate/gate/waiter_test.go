//go:build !race

package gate_test

import (
	"context"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// TestAWaiterIsSmall has 100,000 goroutines wait for a gate, and as many for
// something else that they wait for in the same way, and compares what is on the
// heap. The race detector adds to every object, so it is left out there.
func TestAWaiterIsSmall(t *testing.T) {
	if testing.Short() {
		t.Skip("takes 400 MB for the goroutines' stacks")
	}
	const waiters, most = 100_000, 260
	heap := func() uint64 {
		runtime.GC()
		runtime.GC() // the first one only empties the pools
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.HeapAlloc
	}
	// block has all wait with f, and returns what is on the heap meanwhile.
	block := func(f func(ctx context.Context), waiting func() int) uint64 {
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for range waiters {
			wg.Go(func() { f(ctx) })
		}
		for waiting() < waiters {
			time.Sleep(10 * time.Millisecond)
		}
		size := heap()
		cancel()
		wg.Wait()
		return size
	}

	g := newGate(t, gate.Config{Limit: 1, MaxWaiting: waiters, MaxWait: time.Hour})
	p := acquire(t, g)
	defer p.Release()
	atGate := func() uint64 {
		return block(func(ctx context.Context) {
			p, _ := g.Acquire(ctx)
			p.Release()
		}, func() int { return g.Stats().Waiting })
	}
	var mu sync.Mutex // guards n
	elsewhere := func() uint64 {
		n, never := 0, make(chan struct{})
		return block(func(ctx context.Context) {
			mu.Lock()
			n++
			mu.Unlock()
			select {
			case <-never:
			case <-ctx.Done():
			}
		}, func() int {
			mu.Lock()
			defer mu.Unlock()
			return n
		})
	}
	atGate() // now there are goroutines enough to be used again
	without := elsewhere()
	with := atGate()
	each := (int64(with) - int64(without)) / waiters
	if t.Logf("a waiter takes %d bytes", each); each >= most {
		t.Errorf("want less than %d", most)
	}
}
