package gate

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// BenchmarkDeadlockSearch is one look at who waits for whom, as the timer takes
// where nothing has moved for a while: 40 permits whose owners do not wait.
func BenchmarkDeadlockSearch(b *testing.B) {
	for _, waiters := range []int{1, 1000, 100_000} {
		b.Run(fmt.Sprintf("permits=40/waiters=%d", waiters), func(b *testing.B) {
			g, err := New(Config{Limit: 40, MaxWaiting: waiters})
			if err != nil {
				b.Fatal(err)
			}
			for range 40 {
				p, err := g.Acquire(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				p.SetOwner()
				defer p.Release()
			}
			g.mu.Lock()
			for i := range waiters {
				g.enqueue(context.Background(), g.classes[0], Request{Weight: 1}).goroutine = -1 - int64(i)
			}
			b.ReportAllocs()
			for b.Loop() {
				now := g.now()
				g.classes[0].movement.at = now - time.Second
				g.breakDeadlock(now)
			}
			for q := &g.classes[0].queue; q.n > 0; {
				g.dequeue(q.head, g.now())
			}
			g.mu.Unlock()
		})
	}
}

// BenchmarkOwn is what each use of a connection costs beside.
func BenchmarkOwn(b *testing.B) {
	g, err := New(Config{Limit: 1})
	if err != nil {
		b.Fatal(err)
	}
	p, err := g.Acquire(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		p.SetOwner()
	}
	p.Release()
}
