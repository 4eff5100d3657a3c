package gate

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// BenchmarkDeadlockSearch is one look at who waits for whom, as the timer takes
// where nothing has moved for a while: all that hold permits wait for others, but
// for one, and newcomers wait too.
func BenchmarkDeadlockSearch(b *testing.B) {
	for _, c := range []struct{ permits, newcomers int }{{40, 0}, {40, 100_000}, {1000, 0}} {
		b.Run(fmt.Sprintf("permits=%d/newcomers=%d", c.permits, c.newcomers), func(b *testing.B) {
			g, err := New(Config{Limit: c.permits, MaxWaiting: c.newcomers + 1})
			if err != nil {
				b.Fatal(err)
			}
			var permits []Permit
			for range c.permits {
				p, err := g.Acquire(context.Background())
				if err != nil {
					b.Fatal(err)
				}
				permits = append(permits, p)
			}
			g.mu.Lock()
			for range c.newcomers {
				g.enqueue(context.Background(), g.classes[0], Request{Weight: 1})
			}
			for i, p := range permits[1:] {
				p.SetOwner()
				w := g.enqueue(context.Background(), g.classes[0], Request{Weight: 1})
				w.goroutine = -1 - int64(i)
				g.owners.set(p.hold, w.goroutine)
			}
			b.ReportAllocs()
			for b.Loop() {
				now := g.now()
				g.classes[0].movement.at = now - time.Second
				g.breakDeadlock(now)
			}
			if n := g.classes[0].counts.Deadlock; n > 0 || g.nested.n != c.permits-1 {
				b.Fatalf("%d deadlocks, %d nested", n, g.nested.n)
			}
			for q := range g.everyQueue {
				for q.n > 0 {
					g.dequeue(q.head, g.now())
				}
			}
			g.mu.Unlock()
			for _, p := range permits {
				p.Release()
			}
		})
	}
}

// BenchmarkSetOwner is what each use of a connection costs in addition: by the
// owner, and by a goroutine that takes over, which the release has to undo.
func BenchmarkSetOwner(b *testing.B) {
	g, err := New(Config{Limit: 1})
	if err != nil {
		b.Fatal(err)
	}
	p, err := g.Acquire(context.Background())
	if err != nil {
		b.Fatal(err)
	}
	defer p.Release()
	b.Run("owner=same", func(b *testing.B) {
		for b.Loop() {
			p.SetOwner()
		}
	})
	b.Run("owner=new", func(b *testing.B) {
		for b.Loop() {
			p.SetOwner()
			g.owners.set(p.hold, 0)
		}
	})
}

// BenchmarkShedTick is one look at the queues of a gate that sheds, where each class
// has waiters and holds of its own to remember.
func BenchmarkShedTick(b *testing.B) {
	for _, classes := range []int{10, 100, 300} {
		b.Run(fmt.Sprintf("classes=%d", classes), func(b *testing.B) {
			config := Config{Limit: classes, Shed: true}
			for i := range classes {
				config.Classes = append(config.Classes, Class{Name: fmt.Sprint(i), Max: 1})
			}
			g, err := New(config)
			if err != nil {
				b.Fatal(err)
			}
			for _, c := range config.Classes {
				for range 2 {
					p, err := g.AcquireWith(context.Background(), Request{Class: c.Name})
					if err != nil {
						b.Fatal(err)
					}
					p.Release()
				}
			}
			g.mu.Lock()
			for _, c := range g.classes[1:] {
				g.enqueue(context.Background(), c, Request{Weight: 1})
			}
			now := g.now()
			b.ReportAllocs()
			for b.Loop() {
				now += leastInterval // every interval has ended
				g.overload.next = now + time.Hour
				g.overload.tick(g, now)
			}
			for _, c := range g.classes {
				for c.queue.n > 0 {
					g.dequeue(c.queue.head, now)
				}
			}
			g.clock.timer.Stop()
			g.mu.Unlock()
		})
	}
}
