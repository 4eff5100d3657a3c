package gate_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// nested takes one permit, waits until all have theirs, and takes another.
type nested struct {
	g       *gate.Gate
	holding sync.WaitGroup
	errs    chan error
}

func nest(g *gate.Gate, n int) *nested {
	all := &nested{g: g, errs: make(chan error, n)}
	all.holding.Add(n)
	return all
}

func (n *nested) run(t *testing.T, first, second gate.Request) {
	go func() {
		outer, err := n.g.AcquireWith(t.Context(), first)
		if err != nil {
			t.Error(err)
		}
		outer.SetOwner()
		n.holding.Done()
		n.holding.Wait()
		inner, err := n.g.AcquireWith(t.Context(), second)
		inner.Release()
		outer.Release()
		n.errs <- err
	}()
}

type statement string

func (s statement) Statement() (string, bool) { return string(s), true }

func TestDeadlocks(t *testing.T) {
	for _, n := range []int{1, 2, 40} {
		inBubble(t, fmt.Sprintf("of %d that hold all permits and wait for others one is refused, and the rest goes on", n), func(t *testing.T) {
			g := newGate(t, gate.Config{Limit: n})
			all := nest(g, n)
			start := time.Now()
			for i := range n {
				all.run(t, gate.Request{Holder: statement(fmt.Sprint("outer ", i))}, gate.Request{})
			}
			refused := 0
			for range n {
				err := <-all.errs
				if err == nil {
					continue
				}
				refused++
				rejected, ok := errors.AsType[*gate.RejectedError](err)
				if !ok || !errors.Is(err, gate.ErrDeadlock) {
					t.Fatalf("got %v", err)
				}
				if len(rejected.Holders) != n {
					t.Errorf("%d holders are named, of %d", len(rejected.Holders), n)
				}
				for _, h := range rejected.Holders {
					if h.Goroutine == 0 || !strings.HasPrefix(h.Statement, "outer ") || h.Waiting <= 0 || h.Held < h.Waiting {
						t.Errorf("holder: %+v", h)
					}
				}
			}
			if took := time.Since(start); refused != 1 || took >= 50*time.Millisecond {
				t.Errorf("%d were refused; all took %v", refused, took)
			}
			if s := g.Stats(); s.Deadlock != 1 || s.Acquired != uint64(2*n-1) {
				t.Errorf("stats: %+v", s)
			}
		})
	}

	inBubble(t, "the error says where the others stand", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2})
		all := nest(g, 2)
		all.run(t, gate.Request{}, gate.Request{})
		all.run(t, gate.Request{}, gate.Request{})
		err := errors.Join(<-all.errs, <-all.errs)
		if text := err.Error(); strings.Count(text, "waits at ") != 2 || strings.Count(text, "deadlock_test.go:") != 2 {
			t.Error(text)
		}
	})

	inBubble(t, "a class that can have no more waits for itself while others go on", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 3, Classes: []gate.Class{{Name: "capped", Max: 1}}})
		done := make(chan struct{})
		go func() {
			defer close(done)
			for range 100 {
				p := acquire(t, g)
				p.SetOwner()
				time.Sleep(time.Millisecond)
				p.Release()
			}
		}()
		all := nest(g, 1)
		all.run(t, gate.Request{Class: "capped"}, gate.Request{Class: "capped"})
		if err := <-all.errs; !errors.Is(err, gate.ErrDeadlock) {
			t.Errorf("got %v", err)
		}
		<-done
	})

	inBubble(t, "who holds what another class needs waits for that class", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2, Classes: []gate.Class{{Name: "a", Max: 1}, {Name: "b", Max: 1}}})
		all := nest(g, 2)
		all.run(t, gate.Request{Class: "a"}, gate.Request{Class: "b"})
		all.run(t, gate.Request{Class: "b"}, gate.Request{Class: "a"})
		if a, b := <-all.errs, <-all.errs; errors.Is(a, gate.ErrDeadlock) == errors.Is(b, gate.ErrDeadlock) {
			t.Errorf("got %v and %v", a, b)
		}
	})

	inBubble(t, "the lane waiting for the limit and the limit for the lane is one too", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		all := nest(g, 2)
		all.run(t, gate.Request{OutOfBand: true}, gate.Request{})
		all.run(t, gate.Request{}, gate.Request{OutOfBand: true})
		if a, b := <-all.errs, <-all.errs; errors.Is(a, gate.ErrDeadlock) == errors.Is(b, gate.ErrDeadlock) {
			t.Errorf("got %v and %v", a, b)
		}
	})

	for _, test := range []struct {
		name   string
		config gate.Config
		hold   func(t *testing.T, g *gate.Gate) // until time passes
	}{
		{"who waits while one holder works is not stuck", gate.Config{Limit: 2}, func(t *testing.T, g *gate.Gate) {
			p := acquire(t, g)
			p.SetOwner()
			time.Sleep(10 * time.Second)
			p.Release()
		}},
		{"who waits while a holder is not known is not stuck", gate.Config{Limit: 2}, func(t *testing.T, g *gate.Gate) {
			p := acquire(t, g)
			go func() {
				time.Sleep(10 * time.Second)
				p.Release()
			}()
		}},
		{"who waits while one comes and goes is not stuck", gate.Config{Limit: 2, Classes: []gate.Class{{Name: "b"}}}, func(t *testing.T, g *gate.Gate) {
			for range 100 {
				p, _ := g.AcquireWith(context.Background(), gate.Request{})
				time.Sleep(20 * time.Millisecond)
				p.Release()
			}
		}},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			g := newGate(t, test.config)
			var holding sync.WaitGroup
			holding.Go(func() { test.hold(t, g) })
			synctest.Wait()
			all := nest(g, 1)
			all.run(t, gate.Request{}, gate.Request{})
			if err := <-all.errs; err != nil {
				t.Error(err)
			}
			holding.Wait()
			synctest.Wait()
		})
	}

	inBubble(t, "a permit that was handed on is the other's, once that one says so", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		p := acquire(t, g)
		p.SetOwner()
		go func() {
			p.SetOwner()
			time.Sleep(time.Second)
			p.Release()
		}()
		synctest.Wait()
		next := acquire(t, g) // by the goroutine that handed it on
		next.Release()
	})

	inBubble(t, "a paused gate is not stuck", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		g.Pause()
		c := call(t.Context(), g)
		time.Sleep(time.Second)
		if !c.waits() {
			t.Errorf("got %v", c.err)
		}
		g.Resume()
		synctest.Wait()
		c.permit.Release()
	})

	inBubble(t, "they can be ignored, and in shadow mode they are counted", func(t *testing.T) {
		for _, config := range []gate.Config{{Limit: 1, IgnoreDeadlocks: true, MaxWait: time.Second}, {Limit: 1, Shadow: true}} {
			g := newGate(t, config)
			all := nest(g, 1)
			all.run(t, gate.Request{}, gate.Request{})
			time.Sleep(time.Minute)
			if s := g.Stats(); config.Shadow {
				if s.Deadlock != 1 || s.Waiting != 1 {
					t.Errorf("shadow: %+v", s)
				}
				g.Close()
			}
			if err := <-all.errs; !errors.Is(err, gate.ErrRejected) || errors.Is(err, gate.ErrDeadlock) {
				t.Errorf("got %v", err)
			}
		}
	})
}

func TestHeavyWaitersAndDeadlocks(t *testing.T) {
	const ms = time.Millisecond
	inBubble(t, "one that was passed over too often does not stop a holder that the others wait for", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 4, Classes: []gate.Class{{Name: "a"}, {Name: "b"}}})
		w := newWorker(t)
		outer := w.call(t.Context(), g, gate.Request{Class: "b"})
		held := acquire(t, g)
		heavy := callWith(t.Context(), g, gate.Request{Class: "a", Weight: 4})
		for range 20 { // of class b pass it over
			next := callWith(t.Context(), g, gate.Request{Class: "b"})
			held.Release()
			synctest.Wait()
			if !next.holds() {
				held = gate.Permit{}
				break
			}
			held = next.permit
		}
		inner := w.call(t.Context(), g, gate.Request{Class: "b"})
		if !inner.holds() || !heavy.waits() {
			t.Fatalf("the holder: %v", inner.err)
		}
		inner.permit.Release()
		outer.permit.Release()
		held.Release()
		synctest.Wait()
		g.Close()
		heavy.permit.Release()
	})

	inBubble(t, "one that needs more than all others ever give back is refused, and only that one", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 4})
		w, other := newWorker(t), newWorker(t)
		outer := w.call(t.Context(), g, gate.Request{Weight: 2})
		working := other.call(t.Context(), g, gate.Request{})
		inner := w.call(t.Context(), g, gate.Request{Weight: 3})
		newcomer := call(t.Context(), g)
		time.Sleep(50 * ms)
		synctest.Wait()
		if !errors.Is(inner.err, gate.ErrDeadlock) || !newcomer.holds() {
			t.Errorf("got %v; the newcomer: %v", inner.err, newcomer.err)
		}
		newcomer.permit.Release()
		working.permit.Release()
		outer.permit.Release()
	})
}

// need is what a goroutine of TestDeadlockSearch holds or waits for.
type need struct {
	class  string
	weight int
}

// hopeless reports whether the goroutine that waits for its last need would wait
// forever if every goroutine that does not wait gave back what it holds, and every
// one that got what it waits for too.
func hopeless(config gate.Config, goroutines [][]need, waits []bool, who int) bool {
	for {
		held := map[string]int{}
		all := 0
		for i, needs := range goroutines {
			if !waits[i] {
				continue
			}
			for _, n := range needs[:len(needs)-1] {
				held[n.class] += n.weight
				if n.class != gate.OutOfBandClass {
					all += n.weight
				}
			}
		}
		moved := false
		for i, needs := range goroutines {
			if !waits[i] {
				continue
			}
			n := needs[len(needs)-1]
			fits := all+n.weight <= config.Limit
			if n.class == gate.OutOfBandClass {
				fits = held[n.class]+n.weight <= config.OutOfBand
			}
			for _, c := range config.Classes {
				fits = fits && (c.Name != n.class || c.Max == 0 || held[n.class]+n.weight <= c.Max)
			}
			if fits {
				if i == who {
					return false
				}
				waits[i], moved = false, true
				break
			}
		}
		if !moved {
			return true
		}
	}
}

// TestDeadlockSearch has goroutines take permits one after the other, of any class
// and weight, and give them all back at the end. They can only all come to it if
// every deadlock is found; and every goroutine that is refused must have been in one.
func TestDeadlockSearch(t *testing.T) {
	for _, mode := range []gate.Mode{gate.Sliding, gate.Chunked} {
		t.Run(mode.String(), func(t *testing.T) {
			found := uint64(0)
			for seed := range uint64(200) {
				synctest.Test(t, func(t *testing.T) { found += search(t, mode, seed) })
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
			if t.Logf("%d deadlocks", found); found < 100 {
				t.Error("these are too few to say anything")
			}
		})
	}
}

func search(t *testing.T, mode gate.Mode, seed uint64) (found uint64) {
	random := rand.New(rand.NewPCG(seed, uint64(mode)))
	config := gate.Config{
		Limit: 2 + random.IntN(5), Mode: mode, MaxWait: time.Hour, OutOfBand: 1 + random.IntN(2),
		Classes: []gate.Class{{Name: "capped", Max: 1 + random.IntN(2)}, {Name: "high", Priority: 1}},
	}
	g := newGate(t, config)
	var mu sync.Mutex // guards both
	goroutines := make([][]need, 2+random.IntN(8))
	waits := make([]bool, len(goroutines))
	var all sync.WaitGroup
	for i := range goroutines {
		random := rand.New(rand.NewPCG(seed, uint64(i+10)))
		all.Go(func() {
			var permits []gate.Permit
			defer func() {
				mu.Lock()
				defer mu.Unlock()
				goroutines[i], waits[i] = nil, false
				for _, p := range permits {
					p.Release()
				}
			}()
			pause := func() { // ends when nothing else happens
				time.Sleep(time.Duration(random.IntN(30))*time.Millisecond + time.Duration(1+random.IntN(900))*time.Microsecond)
			}
			for range 1 + random.IntN(4) {
				pause()
				n := need{[]string{gate.DefaultClass, "capped", "high", gate.OutOfBandClass}[random.IntN(4)], 1 + random.IntN(2)}
				r := gate.Request{Class: n.class, Weight: n.weight}
				if n.class == gate.OutOfBandClass {
					r = gate.Request{OutOfBand: true, Weight: n.weight}
				}
				mu.Lock()
				goroutines[i], waits[i] = append(goroutines[i], n), true
				mu.Unlock()
				p, err := g.AcquireWith(t.Context(), r)
				mu.Lock()
				if errors.Is(err, gate.ErrDeadlock) && mode == gate.Sliding && !hopeless(config, goroutines, slices.Clone(waits), i) {
					t.Errorf("refused without a deadlock: %v", goroutines)
				}
				if waits[i] = false; err != nil {
					goroutines[i] = goroutines[i][:len(goroutines[i])-1]
				}
				mu.Unlock()
				switch {
				case err == nil:
					p.SetOwner()
					permits = append(permits, p)
				case errors.Is(err, gate.ErrTooHeavy):
				case errors.Is(err, gate.ErrDeadlock):
					return
				default:
					t.Error(err)
					return
				}
			}
			pause()
		})
	}
	all.Wait()
	return g.Stats().Deadlock
}
