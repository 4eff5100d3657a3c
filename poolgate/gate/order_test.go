package gate_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// worker is a goroutine that acquires when it is told to, so that it can hold one
// permit and wait for another.
type worker struct{ acquire chan func() }

func newWorker(t *testing.T) *worker {
	w := &worker{make(chan func())}
	go func() {
		for f := range w.acquire {
			f()
		}
	}()
	t.Cleanup(func() { close(w.acquire) })
	return w
}

// call has the worker acquire, and own what it gets. It returns when the worker
// waits or is through.
func (w *worker) call(ctx context.Context, g *gate.Gate, r gate.Request) *caller {
	c := new(caller)
	w.acquire <- func() {
		c.permit, c.err = g.AcquireWith(ctx, r)
		c.permit.SetOwner()
		c.done.Store(true)
	}
	synctest.Wait()
	return c
}

func TestHoldersGoFirst(t *testing.T) {
	const ms = time.Millisecond
	for workers, want := range map[int]int{8: 6, 20: 15, 40: 30} {
		inBubble(t, fmt.Sprintf("of %d that take one permit of 4 and then another, %d come to their end", workers, want), func(t *testing.T) {
			g := newGate(t, gate.Config{Limit: 4})
			var mu sync.Mutex // guards done
			done := 0
			var all sync.WaitGroup
			for range workers {
				all.Go(func() {
					outer := acquire(t, g)
					outer.SetOwner()
					defer outer.Release()
					time.Sleep(ms)
					inner, err := g.Acquire(t.Context())
					if err != nil {
						if !errors.Is(err, gate.ErrDeadlock) {
							t.Error(err)
						}
						return
					}
					time.Sleep(ms)
					inner.Release()
					mu.Lock()
					defer mu.Unlock()
					done++
				})
			}
			all.Wait()
			if done < want {
				t.Errorf("%d did", done)
			}
		})
	}

	inBubble(t, "no newcomer overtakes a holder, whatever its priority, its reservation and how often it was passed over", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 3, Classes: []gate.Class{
			{Name: "high", Priority: 9}, {Name: "owner", Reserved: 1}, {Name: "low", Priority: -9}, {Name: "other"},
		}})
		w := newWorker(t)
		outer := w.call(t.Context(), g, gate.Request{Class: "low"})
		first, second := acquire(t, g), acquire(t, g)
		var newcomers []*caller
		for _, class := range []string{"other", "owner", "high"} {
			for range 20 {
				newcomers = append(newcomers, callWith(t.Context(), g, gate.Request{Class: class}))
			}
		}
		for range 30 { // "other" is passed over
			first.Release()
			synctest.Wait()
			next := slices.IndexFunc(newcomers, (*caller).holds)
			first = newcomers[next].permit
			newcomers = slices.Delete(newcomers, next, next+1)
		}
		inner := w.call(t.Context(), g, gate.Request{Class: "low"})
		second.Release()
		synctest.Wait()
		if !inner.holds() {
			t.Error("a newcomer was served before it")
		}
		g.Close()
		first.Release()
		inner.permit.Release()
		outer.permit.Release()
	})

	inBubble(t, "holders go in the order in which they came, and one that fits passes one that does not", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 4})
		a, b := newWorker(t), newWorker(t)
		holdA, holdB := a.call(t.Context(), g, gate.Request{}), b.call(t.Context(), g, gate.Request{})
		p, q := acquire(t, g), acquire(t, g)
		heavy := a.call(t.Context(), g, gate.Request{Weight: 3})
		newcomer := call(t.Context(), g)
		light := b.call(t.Context(), g, gate.Request{})
		p.Release()
		synctest.Wait()
		if !light.holds() || !heavy.waits() || !newcomer.waits() {
			t.Fatal("want the light one let in, and the others waiting")
		}
		q.Release()
		synctest.Wait()
		if !heavy.waits() || !newcomer.waits() {
			t.Fatal("a newcomer took a permit that a holder waits for")
		}
		light.permit.Release()
		holdB.permit.Release()
		synctest.Wait()
		if !heavy.holds() || !newcomer.waits() {
			t.Fatal("the heavy one was not let in")
		}
		heavy.permit.Release()
		synctest.Wait()
		if !newcomer.holds() {
			t.Fatal("the newcomer was not let in")
		}
		newcomer.permit.Release()
		holdA.permit.Release()
	})

	inBubble(t, "a holder does not stand in the queue of the newcomers, and may not wait where nobody may", func(t *testing.T) {
		for _, waiting := range []int{1, gate.NoWaiting} {
			g := newGate(t, gate.Config{Limit: 2, MaxWaiting: waiting})
			w := newWorker(t)
			outer, p := w.call(t.Context(), g, gate.Request{}), acquire(t, g)
			newcomer := call(t.Context(), g)
			inner := w.call(t.Context(), g, gate.Request{})
			if inner.waits() != (waiting == 1) || errors.Is(inner.err, gate.ErrQueueFull) != (waiting != 1) {
				t.Errorf("MaxWaiting %d: waits: %v, error %v", waiting, inner.waits(), inner.err)
			}
			if s := g.Stats(); waiting == 1 && (s.Waiting != 2 || s.Classes[0].Waiting != 2) {
				t.Errorf("%d are waiting", s.Waiting)
			}
			g.Close()
			synctest.Wait()
			if waiting == 1 && (!errors.Is(inner.err, gate.ErrClosed) || !errors.Is(newcomer.err, gate.ErrClosed)) {
				t.Errorf("got %v and %v", inner.err, newcomer.err)
			}
			outer.permit.Release()
			p.Release()
		}
	})

	inBubble(t, "the Max of its class stops a holder, and no other class", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2, IgnoreDeadlocks: true, Classes: []gate.Class{{Name: "one", Max: 1}}})
		w := newWorker(t)
		outer := w.call(t.Context(), g, gate.Request{Class: "one"})
		p := acquire(t, g)
		inner := w.call(t.Context(), g, gate.Request{Class: "one"})
		newcomer := call(t.Context(), g)
		p.Release()
		synctest.Wait()
		if !newcomer.holds() || !inner.waits() {
			t.Error("want the newcomer let in")
		}
		outer.permit.Release()
		synctest.Wait()
		if !inner.holds() {
			t.Error("want the holder let in")
		}
		inner.permit.Release()
		newcomer.permit.Release()
	})

	inBubble(t, "in the lane too, where the time of each is its own", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, OutOfBand: 1, MaxWait: time.Second})
		w := newWorker(t)
		outer := w.call(t.Context(), g, gate.Request{})
		lane := callWith(t.Context(), g, gate.Request{OutOfBand: true})
		newcomer := callWith(t.Context(), g, gate.Request{OutOfBand: true})
		time.Sleep(300 * ms)
		another := callWith(t.Context(), g, gate.Request{OutOfBand: true})
		time.Sleep(300 * ms)
		inner := w.call(t.Context(), g, gate.Request{OutOfBand: true})
		time.Sleep(400 * ms)
		synctest.Wait()
		if !errors.Is(newcomer.err, gate.ErrWaitTimeout) || !inner.waits() || g.Stats().OutOfBand.OldestWait != 700*ms {
			t.Errorf("newcomer: %v; inner waits: %v; %+v", newcomer.err, inner.waits(), g.Stats().OutOfBand)
		}
		lane.permit.Release()
		synctest.Wait()
		if !inner.holds() || !another.waits() {
			t.Error("want the holder let in")
		}
		inner.permit.Release()
		synctest.Wait()
		another.permit.Release()
		outer.permit.Release()
	})

	inBubble(t, "a permit that was handed on makes the other one a holder, and no longer the first", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2})
		a, b := newWorker(t), newWorker(t)
		handed := a.call(t.Context(), g, gate.Request{})
		p := acquire(t, g)
		b.acquire <- func() { handed.permit.SetOwner() }
		synctest.Wait()
		byA, byB := a.call(t.Context(), g, gate.Request{}), b.call(t.Context(), g, gate.Request{})
		p.Release()
		synctest.Wait()
		if !byB.holds() || !byA.waits() {
			t.Error("want the one let in that the permit was handed to")
		}
		byB.permit.Release()
		synctest.Wait()
		byA.permit.Release()
		handed.permit.Release()
	})
}

func TestOwnersUnderFire(t *testing.T) {
	g := newGate(t, gate.Config{Limit: 8})
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 200 {
				p, q := acquire(t, g), gate.Permit{}
				p.SetOwner()
				if p2, ok := g.TryAcquire(t.Context()); ok {
					q = p2
				}
				var both sync.WaitGroup
				for range 2 {
					both.Go(func() {
						p.SetOwner()
						q.SetOwner()
					})
				}
				both.Wait()
				q.Release()
				p.Release()
			}
		})
	}
	all.Wait()
	for _, h := range g.Holders() {
		t.Errorf("holder: %+v", h)
	}
}

// flood keeps n callers of the class waiting until ctx ends; each holds its permit
// for about that long.
func flood(ctx context.Context, g *gate.Gate, class string, n int, about time.Duration) {
	for i := range n {
		random := rand.New(rand.NewPCG(uint64(i), uint64(len(class))))
		go func() {
			for {
				hold := about/2 + time.Duration(random.Int64N(int64(about)))
				p, err := g.AcquireWith(ctx, gate.Request{Class: class})
				if ctx.Err() != nil {
					p.Release()
					return
				}
				if err == nil {
					time.Sleep(hold)
					p.Release()
				} else {
					time.Sleep(hold)
				}
			}
		}()
	}
}

// visit has callers of the class come at that rate, for as long as this, and
// returns how long each waited who was let in, in order, and how many came.
func visit(t *testing.T, g *gate.Gate, class string, rate float64, for_, hold, patience time.Duration) (waits []time.Duration, came int) {
	random := rand.New(rand.NewPCG(1, 2))
	var mu sync.Mutex // guards waits
	var all sync.WaitGroup
	for start := time.Now(); time.Since(start) < for_; came++ {
		time.Sleep(time.Duration(random.ExpFloat64() / rate * float64(time.Second)))
		all.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			start := time.Now()
			p, err := g.AcquireWith(undated{ctx}, gate.Request{Class: class})
			if err != nil {
				return
			}
			mu.Lock()
			waits = append(waits, time.Since(start))
			mu.Unlock()
			time.Sleep(hold)
			p.Release()
		})
	}
	all.Wait()
	slices.Sort(waits)
	return waits, came
}

func TestReservationsBesideManyClasses(t *testing.T) {
	const ms = time.Millisecond
	for _, others := range []int{1, 2, 8, 16, 20, 40, 100} {
		inBubble(t, fmt.Sprintf("%d classes that flood do not take away what is reserved", others), func(t *testing.T) {
			classes := []gate.Class{{Name: "web", Reserved: 10}}
			for i := range others {
				classes = append(classes, gate.Class{Name: fmt.Sprint("flood ", i)})
			}
			g := newGate(t, gate.Config{Limit: 20, Classes: classes})
			ctx, stop := context.WithCancel(t.Context())
			for _, c := range classes[1:] {
				flood(ctx, g, c.Name, 40, 40*ms)
			}
			waits, came := visit(t, g, "web", 100, 5*time.Second, 40*ms, 10*time.Second)
			stop()
			time.Sleep(time.Second)
			if median, p99 := waits[len(waits)/2], waits[len(waits)*99/100]; len(waits) != came || median > 5*ms || p99 > 40*ms {
				t.Errorf("%d of %d were let in, the median wait is %v, the 99th percentile %v", len(waits), came, median, p99)
			}
			least := uint64(1 << 62)
			for _, c := range g.Stats().Classes[2:] {
				least = min(least, c.Acquired)
			}
			if least == 0 {
				t.Error("a class starved")
			}
		})
	}
}

func TestNobodyStarves(t *testing.T) {
	const ms = time.Millisecond
	inBubble(t, "a low class gets one permit in seventeen, whether its callers are patient or not", func(t *testing.T) {
		for _, patience := range []time.Duration{time.Hour, 300 * ms, 100 * ms} {
			g := newGate(t, gate.Config{Limit: 2, Classes: []gate.Class{{Name: "high", Priority: 1}, {Name: "low", Priority: -1}}})
			ctx, stop := context.WithCancel(t.Context())
			flood(ctx, g, "high", 6, 10*ms)
			visit(t, g, "low", 100, 5*time.Second, 10*ms, patience)
			stop()
			time.Sleep(time.Second)
			if s := g.Stats(); s.Classes[2].Acquired*100 < 5*s.Acquired*95/100 {
				t.Errorf("patience %v: %d of %d", patience, s.Classes[2].Acquired, s.Acquired)
			}
		}
	})

	inBubble(t, "Shed starves no class for one whose queue stands", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 10, Shed: true, Classes: []gate.Class{
			{Name: "web", Reserved: 5, Priority: 2}, {Name: "api", Priority: 1}, {Name: "batch"},
		}})
		ctx, stop := context.WithCancel(t.Context())
		flood(ctx, g, "api", 500, 10*ms)
		flood(ctx, g, "batch", 500, 10*ms)
		waits, came := visit(t, g, "web", 300, 5*time.Second, 10*ms, time.Second)
		stop()
		time.Sleep(time.Second)
		if len(waits) < came*99/100 || waits[len(waits)-1] > 30*ms {
			t.Errorf("%d of %d were let in, the last after %v", len(waits), came, waits[len(waits)-1])
		}
	})

	inBubble(t, "two classes whose queues stand share what is left", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 10, Shed: true, Classes: []gate.Class{{Name: "a"}, {Name: "b"}}})
		ctx, stop := context.WithCancel(t.Context())
		flood(ctx, g, "a", 300, 10*ms)
		flood(ctx, g, "b", 300, 10*ms)
		time.Sleep(5 * time.Second)
		stop()
		time.Sleep(time.Second)
		if s := g.Stats(); min(s.Classes[1].Acquired, s.Classes[2].Acquired) < s.Acquired/3 {
			t.Errorf("a got %d, b %d", s.Classes[1].Acquired, s.Classes[2].Acquired)
		}
	})
}
