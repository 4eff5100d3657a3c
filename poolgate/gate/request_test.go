package gate_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

func callWith(ctx context.Context, g *gate.Gate, r gate.Request) *caller {
	c := new(caller)
	go func() {
		c.permit, c.err = g.AcquireWith(ctx, r)
		c.done.Store(true)
	}()
	synctest.Wait()
	return c
}

func TestWeights(t *testing.T) {
	inBubble(t, "several are taken at once, and given back at once", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 5})
		heavy := callWith(t.Context(), g, gate.Request{Weight: 3})
		if s := g.Stats(); s.InFlight != 3 || s.Acquired != 1 {
			t.Errorf("stats: %+v", s)
		}
		heavy.permit.Release()
		if n := g.Stats().InFlight; n != 0 {
			t.Errorf("%d in flight", n)
		}
	})

	inBubble(t, "who needs several goes when it is its turn, and those behind it wait", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2})
		a, b := acquire(t, g), acquire(t, g)
		heavy := callWith(t.Context(), g, gate.Request{Weight: 2})
		single := call(t.Context(), g)
		a.Release()
		synctest.Wait()
		if !heavy.waits() || !single.waits() {
			t.Fatal("one permit is free, and somebody has taken it")
		}
		b.Release()
		synctest.Wait()
		if !heavy.holds() || !single.waits() {
			t.Fatal("it was not its turn")
		}
		heavy.permit.Release()
		synctest.Wait()
		if !single.holds() {
			t.Fatal("the single one was forgotten")
		}
		single.permit.Release()
	})

	inBubble(t, "others go before it sixteen times at most", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2, Classes: []gate.Class{{Name: "other", Priority: 1}}})
		held := acquire(t, g)
		heavy := callWith(t.Context(), g, gate.Request{Weight: 2})
		before := 0
		var last *caller
		for range 100 {
			c := call(gate.WithClass(t.Context(), "other"), g)
			if last = c; !c.holds() {
				break
			}
			before++
			c.permit.Release()
			synctest.Wait()
		}
		if before != 16 {
			t.Errorf("%d went before", before)
		}
		held.Release()
		synctest.Wait()
		if !heavy.holds() {
			t.Fatal("it starves")
		}
		heavy.permit.Release()
		synctest.Wait()
		last.permit.Release()
	})

	inBubble(t, "when one that needs several leaves, those behind it go", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2})
		held := acquire(t, g)
		ctx, cancel := context.WithCancel(t.Context())
		heavy := callWith(ctx, g, gate.Request{Weight: 2})
		single := call(t.Context(), g)
		if !single.waits() {
			t.Fatal("overtaken")
		}
		cancel()
		synctest.Wait()
		if !canceledWhileWaiting(heavy.err, context.Canceled) || !single.holds() {
			t.Errorf("heavy: %v; single waits: %v", heavy.err, single.waits())
		}
		held.Release()
		single.permit.Release()
	})

	inBubble(t, "more than there ever are is refused, and where the limit was lowered it goes alone", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 3, Classes: []gate.Class{{Name: "capped", Max: 2}}})
		for _, r := range []gate.Request{{Weight: 4}, {Weight: 3, Class: "capped"}, {Weight: 2, OutOfBand: true}} {
			if _, err := g.AcquireWith(t.Context(), r); !errors.Is(err, gate.ErrTooHeavy) {
				t.Errorf("%+v: %v", r, err)
			}
		}
		if _, err := g.AcquireWith(t.Context(), gate.Request{Weight: -1}); err == nil || errors.Is(err, gate.ErrRejected) {
			t.Errorf("a negative weight: %v", err)
		}
		held := acquire(t, g)
		heavy := callWith(t.Context(), g, gate.Request{Weight: 3})
		g.SetLimit(1)
		synctest.Wait()
		if !heavy.waits() {
			t.Fatal("it went beside another")
		}
		held.Release()
		synctest.Wait()
		if !heavy.holds() || g.Stats().InFlight != 3 {
			t.Fatalf("it did not go alone: %v", heavy.err)
		}
		heavy.permit.Release()
	})
}

func TestTheLane(t *testing.T) {
	inBubble(t, "does not count towards the limit, and has a quarter of it and at least one", func(t *testing.T) {
		for limit, size := range map[int]int{1: 1, 7: 1, 8: 2, 40: 10} {
			if got := newGate(t, gate.Config{Limit: limit}).Stats().OutOfBand.Max; got != size {
				t.Errorf("limit %d: %d, want %d", limit, got, size)
			}
		}
		g := newGate(t, gate.Config{Limit: 1})
		a := acquire(t, g)
		b := callWith(t.Context(), g, gate.Request{OutOfBand: true})
		c := callWith(t.Context(), g, gate.Request{OutOfBand: true})
		if !b.holds() || !c.waits() {
			t.Fatal("the lane has one permit")
		}
		if s := g.Stats(); s.InFlight != 1 || s.OutOfBand.InFlight != 1 || s.OutOfBand.Waiting != 1 || s.Waiting != 1 {
			t.Errorf("stats: %+v", s)
		}
		b.permit.Release()
		synctest.Wait()
		if !c.holds() {
			t.Fatal("nobody is next")
		}
		c.permit.Release()
		a.Release()
	})

	inBubble(t, "follows the limit, unless its size was given", func(t *testing.T) {
		for _, test := range []struct{ given, size int }{{0, 5}, {3, 3}, {gate.NoOutOfBand, 0}} {
			g := newGate(t, gate.Config{Limit: 4, OutOfBand: test.given})
			g.SetLimit(20)
			if got := g.Stats().OutOfBand.Max; got != test.size {
				t.Errorf("given %d: %d, want %d", test.given, got, test.size)
			}
		}
		g := newGate(t, gate.Config{Limit: 4, OutOfBand: gate.NoOutOfBand})
		if _, err := g.AcquireWith(t.Context(), gate.Request{OutOfBand: true}); !errors.Is(err, gate.ErrTooHeavy) {
			t.Errorf("without a lane: %v", err)
		}
	})

	inBubble(t, "is not in waves, and is halted with the gate", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2, Mode: gate.Chunked, OutOfBand: 1})
		for range 10 {
			c := callWith(t.Context(), g, gate.Request{OutOfBand: true})
			if !c.holds() {
				t.Fatal("it waits")
			}
			c.permit.Release()
		}
		g.Pause()
		c := callWith(t.Context(), g, gate.Request{OutOfBand: true})
		if !c.waits() {
			t.Fatal("in spite of the pause")
		}
		g.Resume()
		synctest.Wait()
		drained := make(chan error, 1)
		go func() { drained <- g.Drain(t.Context()) }()
		synctest.Wait()
		if len(drained) != 0 {
			t.Error("drained with one out")
		}
		c.permit.Release()
		if err := <-drained; err != nil {
			t.Error(err)
		}
		if _, err := g.AcquireWith(t.Context(), gate.Request{OutOfBand: true}); !errors.Is(err, gate.ErrClosed) {
			t.Errorf("closed: %v", err)
		}
	})
}

func TestShadow(t *testing.T) {
	inBubble(t, "counts what it would refuse, each once, and refuses nobody", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, MaxWaiting: 1, MaxWait: time.Second, Shadow: true})
		p := acquire(t, g)
		first, second := call(t.Context(), g), call(t.Context(), g)
		time.Sleep(time.Hour)
		if !first.waits() || !second.waits() {
			t.Fatalf("%v, %v", first.err, second.err)
		}
		if s := g.Stats(); s.QueueFull != 1 || s.WaitTimeout != 1 || s.Refused() != 2 {
			t.Errorf("stats: %+v", s)
		}
		p.Release()
		synctest.Wait()
		if !first.holds() {
			t.Fatal(first.err)
		}
		g.Close()
		synctest.Wait()
		if !errors.Is(second.err, gate.ErrClosed) {
			t.Errorf("after Close: %v", second.err)
		}
		first.permit.Release()
	})

	inBubble(t, "the limit holds, and nobody is shed", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2, Shed: true, Shadow: true})
		all := load(t, g, 500, 2500*time.Microsecond, 10*time.Millisecond, 0, "")
		if s := g.Stats(); s.Shed == 0 || s.InFlight != 2 {
			t.Errorf("stats: %+v", s)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, a := range all {
			if a.err != nil {
				t.Fatal(a.err)
			}
		}
	})
}
