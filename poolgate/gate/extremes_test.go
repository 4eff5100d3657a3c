package gate_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestExtremes(t *testing.T) {
	const ms = time.Millisecond
	inBubble(t, "weights may be bytes", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 8 << 30})
		var all []*caller
		for range 20 {
			all = append(all, callWith(t.Context(), g, gate.Request{Weight: 3 << 30}))
		}
		for i, c := range all {
			synctest.Wait()
			if s := g.Stats(); !c.holds() || s.InFlight != 3<<30*min(2, len(all)-i) {
				t.Fatalf("caller %d: %v, %d in flight", i, c.err, s.InFlight)
			}
			c.permit.Release()
		}
	})

	inBubble(t, "the highest limit and weight are kept", func(t *testing.T) {
		for _, mode := range []gate.Mode{gate.Sliding, gate.Chunked} {
			g := newGate(t, gate.Config{Limit: math.MaxInt, OutOfBand: math.MaxInt, Mode: mode, Classes: []gate.Class{{Name: "max", Max: math.MaxInt}}})
			if s := g.Stats(); s.MaxWaiting < 1000 || s.OutOfBand.Max != math.MaxInt {
				t.Errorf("stats: %+v", s)
			}
			for _, r := range []gate.Request{{}, {Class: "max"}, {OutOfBand: true}} {
				one := callWith(t.Context(), g, r)
				r.Weight = math.MaxInt
				heavy := callWith(t.Context(), g, r)
				if !one.holds() || !heavy.waits() {
					t.Fatalf("%v, %+v: got %v and %v", mode, r, one.err, heavy.err)
				}
				one.permit.Release()
				synctest.Wait()
				if !heavy.holds() {
					t.Fatalf("%v, %+v: got %v", mode, r, heavy.err)
				}
				heavy.permit.Release()
			}
			if err := g.SetLimit(1); err != nil {
				t.Fatal(err)
			}
			acquire(t, g).Release()
		}
	})

	t.Run("reservations that have no sum are refused", func(t *testing.T) {
		_, err := gate.New(gate.Config{Limit: 4, Classes: []gate.Class{{Name: "a", Reserved: math.MaxInt}, {Name: "b", Reserved: math.MaxInt}}})
		if err == nil || !strings.Contains(err.Error(), "Config.Classes reserve ") {
			t.Errorf("got %v", err)
		}
	})

	inBubble(t, "a deadline that is very far is none", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		load(t, g, 40, 0, 10*ms, 0, "")
		time.Sleep(100 * ms)
		for _, deadline := range []time.Time{time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC), time.Unix(0, math.MaxInt64), time.Unix(math.MaxInt64/2, 0)} {
			ctx, cancel := context.WithDeadline(t.Context(), deadline)
			defer cancel()
			p, err := g.Acquire(ctx)
			if err != nil {
				t.Errorf("until %v: %v", deadline, err)
			}
			p.Release()
		}
	})

	inBubble(t, "the longest MaxWait stops no timer", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, MaxWait: math.MaxInt64, LeakAfter: math.MaxInt64, Classes: []gate.Class{{Name: "web", MaxWait: time.Second}}})
		time.Sleep(ms)
		w := newWorker(t)
		outer := w.call(t.Context(), g, gate.Request{})
		patient := call(t.Context(), g)
		web := callWith(t.Context(), g, gate.Request{Class: "web"})
		time.Sleep(time.Second)
		synctest.Wait()
		if !errors.Is(web.err, gate.ErrWaitTimeout) || !patient.waits() {
			t.Errorf("the web got %v", web.err)
		}
		inner := w.call(t.Context(), g, gate.Request{})
		time.Sleep(50 * ms)
		synctest.Wait()
		if !errors.Is(inner.err, gate.ErrDeadlock) {
			t.Errorf("got %v", inner.err)
		}
		outer.permit.Release()
		synctest.Wait()
		if n := g.Stats().Leaked; n != 0 {
			t.Errorf("%d leaks", n)
		}
		patient.permit.Release()
	})
}
