//go:build !race

package gate_test

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// TestAWaiterIsSmall has 20,000 goroutines wait for a gate, and as many for
// something else that they wait for in the same way, and compares how much is
// allocated. What is allocated only grows, so the result does not depend on when
// the garbage collector runs. The race detector adds to every object, so it is
// left out there.
func TestAWaiterIsSmall(t *testing.T) {
	const waiters, most = 20_000, 260
	allocated := func() uint64 {
		var stats runtime.MemStats
		runtime.ReadMemStats(&stats)
		return stats.TotalAlloc
	}
	// block has all wait with f, and returns what that allocates.
	block := func(f func(ctx context.Context), waiting func() int) uint64 {
		runtime.GC()
		runtime.GC() // twice, for pools keep what they have for one
		ctx, cancel := context.WithCancel(t.Context())
		ready, start := sync.WaitGroup{}, make(chan struct{})
		var wg sync.WaitGroup
		ready.Add(waiters)
		for range waiters {
			wg.Go(func() {
				ready.Done()
				<-start
				f(ctx)
			})
		}
		ready.Wait()
		before := allocated()
		close(start)
		for waiting() < waiters {
			time.Sleep(time.Millisecond)
		}
		size := allocated() - before
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
	var n atomic.Int64
	elsewhere := func() uint64 {
		n.Store(0)
		never := make(chan struct{})
		return block(func(ctx context.Context) {
			n.Add(1)
			select {
			case <-never:
			case <-ctx.Done():
			}
		}, func() int { return int(n.Load()) })
	}
	elsewhere() // the runtime keeps what it needs for so many goroutines
	without := elsewhere()
	with := atGate()
	each := (int64(with) - int64(without)) / waiters
	t.Logf("a waiter allocates %d bytes", each)
	if each < 1 || each >= most {
		t.Errorf("a waiter allocates %d bytes, want 1 to %d", each, most-1)
	}
}
