package gate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// diary writes down what an observer is told.
type diary struct {
	mu    sync.Mutex
	lines []string
}

func (d *diary) write(format string, args ...any) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lines = append(d.lines, fmt.Sprintf(format, args...))
}

func (d *diary) observer() gate.Observer {
	return gate.Observer{
		WaitStart: func(_ context.Context, w gate.WaitStart) {
			d.write("start %s×%d %d/%d +%d", w.Class, w.Weight, w.InFlight, w.Limit, w.Waiting)
		},
		AcquireEnd: func(ctx context.Context, a gate.AcquireEnd) {
			d.write("end %s×%d %d/%d +%d %v %v %v", a.Class, a.Weight, a.InFlight, a.Limit, a.Waiting, a.Queued, a.Waited, a.Err != nil)
		},
		Release:     func(r gate.Release) { d.write("release %s×%d %v", r.Class, r.Weight, r.Held) },
		LimitChange: func(c gate.LimitChange) { d.write("limit %d %d", c.Old, c.New) },
		Leak:        func(l gate.Leak) { d.write("leak %s %v %v %s", l.Class, l.Held, l.Returned, l.Statement) },
	}
}

func TestObservers(t *testing.T) {
	inBubble(t, "are told of each acquire, release and change, until they stop", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2, MaxWaiting: 1})
		var d diary
		acquire(t, g).Release()
		before := acquire(t, g) // the short way: it is not timed
		stop := g.Observe(d.observer())
		heavyWait := callWith(t.Context(), g, gate.Request{Weight: 2})
		_, err := g.Acquire(t.Context())
		if !errors.Is(err, gate.ErrQueueFull) {
			t.Fatal(err)
		}
		done, cancel := context.WithCancel(t.Context())
		cancel()
		g.Acquire(done)
		time.Sleep(time.Second)
		before.Release()
		synctest.Wait()
		time.Sleep(2 * time.Second)
		heavyWait.permit.Release()
		lane := callWith(t.Context(), g, gate.Request{OutOfBand: true})
		lane.permit.Release()
		g.SetLimit(3)
		g.SetLimit(3)
		stop()
		acquire(t, g).Release()
		want := []string{
			"start default×2 1/2 +0",
			"end default×1 1/2 +1 false 0s true",
			"end default×1 1/2 +1 false 0s true",
			"release default×1 0s",
			"end default×2 1/2 +0 true 1s false",
			"release default×2 2s",
			"end out-of-band×1 0/1 +0 false 0s false",
			"release out-of-band×1 0s",
			"limit 2 3",
		}
		if got := strings.Join(d.lines, "\n"); got != strings.Join(want, "\n") {
			t.Errorf("got\n%s", got)
		}
	})

	inBubble(t, "each is told, and a panic of none is hidden", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		var a, b diary
		stop := g.Observe(a.observer())
		defer g.Observe(b.observer())()
		acquire(t, g).Release()
		stop()
		acquire(t, g).Release()
		if len(a.lines) != 2 || len(b.lines) != 4 {
			t.Errorf("%q, %q", a.lines, b.lines)
		}
	})
}

func TestObserverPanics(t *testing.T) {
	for name, o := range map[string]gate.Observer{
		"WaitStart":  {WaitStart: func(context.Context, gate.WaitStart) { panic("observer") }},
		"AcquireEnd": {AcquireEnd: func(context.Context, gate.AcquireEnd) { panic("observer") }},
	} {
		inBubble(t, "an Acquire whose "+name+" panics holds no permit and no place in the queue", func(t *testing.T) {
			g := newGate(t, gate.Config{Limit: 1})
			panics := func() (value any) {
				defer func() { value = recover() }()
				g.Acquire(t.Context())
				return nil
			}
			if name == "AcquireEnd" { // at once
				stop := g.Observe(o)
				if got := panics(); got != "observer" {
					t.Errorf("arrived as %v", got)
				}
				stop()
			}
			held := acquire(t, g)
			stop := g.Observe(o)
			waited := make(chan any)
			go func() { waited <- panics() }()
			synctest.Wait()
			stop()
			held.Release()
			if got := <-waited; got != "observer" {
				t.Errorf("arrived as %v", got)
			}
			if s := g.Stats(); s.InFlight != 0 || s.Waiting != 0 {
				t.Errorf("%d permits are held, and %d wait", s.InFlight, s.Waiting)
			}
			acquire(t, g).Release()
		})
	}
}

func TestLeaks(t *testing.T) {
	inBubble(t, "a permit that is held too long is reported once, and again when it comes back", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2, LeakAfter: time.Minute, StackEvery: 1})
		var d diary
		defer g.Observe(gate.Observer{Leak: d.observer().Leak})()
		leaking := callWith(t.Context(), g, gate.Request{Holder: statement("select pg_sleep($1)")})
		time.Sleep(30 * time.Second)
		quick := acquire(t, g)
		time.Sleep(29 * time.Second)
		if len(d.lines) != 0 {
			t.Errorf("too early: %q", d.lines)
		}
		quick.Release()
		time.Sleep(10 * time.Minute)
		h := g.Holders()
		if len(h) != 1 || !h[0].Leaked || h[0].Held != 10*time.Minute+59*time.Second ||
			h[0].Statement != "select pg_sleep($1)" || !strings.Contains(h[0].Stack, "callWith") {
			t.Errorf("holders: %+v", h)
		}
		if n := g.Stats().Leaked; n != 1 {
			t.Errorf("%d leaks", n)
		}
		leaking.permit.Release()
		want := "leak default 1m0s false select pg_sleep($1)\nleak default 10m59s true select pg_sleep($1)"
		if got := strings.Join(d.lines, "\n"); got != want {
			t.Errorf("got %s", got)
		}
	})

	inBubble(t, "also where it was taken after an idle time, or waited for", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, LeakAfter: time.Second})
		acquire(t, g).Release()
		time.Sleep(time.Hour)
		p := acquire(t, g)
		next := call(t.Context(), g)
		time.Sleep(1100 * time.Millisecond)
		p.Release()
		synctest.Wait()
		time.Sleep(1100 * time.Millisecond)
		if n := g.Stats().Leaked; n != 2 {
			t.Errorf("%d leaks", n)
		}
		next.permit.Release()
	})
}

func TestHistory(t *testing.T) {
	inBubble(t, "has what happened in each of the last minutes", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, Classes: []gate.Class{{Name: "batch"}}})
		start := time.Now()
		for range 5 {
			load(t, g, 10, 0, 100*time.Millisecond, 0, "batch")
			time.Sleep(20 * time.Second)
		}
		past := g.History("batch")
		var acquired, waited uint64
		for i, p := range past {
			acquired += p.Acquired
			waited += p.Waited
			if i > 0 && p.Start.Sub(past[i-1].Start) != 10*time.Second {
				t.Errorf("a period of %v", p.Start.Sub(past[i-1].Start))
			}
		}
		if acquired != 50 || waited != 45 || len(past) < 10 || past[0].Start.After(start) {
			t.Errorf("%d acquired, %d waited in %d periods since %v", acquired, waited, len(past), past[0].Start)
		}
		if h := past[0].Hold; h.P50 < 95*time.Millisecond || h.P50 > 106*time.Millisecond {
			t.Errorf("holds: %+v", h)
		}
		for range 100 {
			g.History(gate.DefaultClass) // a period ends when something happens, or somebody looks
			time.Sleep(10 * time.Second)
		}
		if past := g.History(gate.DefaultClass); len(past) != 61 {
			t.Errorf("%d periods", len(past))
		}
		if g.History("none") != nil || len(g.History(gate.OutOfBandClass)) == 0 {
			t.Error("of unknown classes there is none, of the lane there is")
		}
	})
	inBubble(t, "each period keeps its time, however long nothing happens", func(t *testing.T) {
		for _, idle := range []time.Duration{time.Minute, 9 * time.Minute, 10*time.Minute + time.Second, time.Hour, 10000 * time.Hour} {
			g := newGate(t, gate.Config{Limit: 1, LeakAfter: time.Hour})
			start := time.Now()
			load(t, g, 10, 0, 100*time.Millisecond, 0, "")
			time.Sleep(idle)
			for _, p := range g.History(gate.DefaultClass) {
				old := p.Start.Before(start.Add(time.Second))
				if since := time.Since(p.Start); since > 10*time.Minute+10*time.Second {
					t.Errorf("after %v there is a period that began %v ago", idle, since)
				}
				if !old && (p.Acquired != 0 || p.Hold.Max != 0 || p.Wait.Max != 0) {
					t.Errorf("after %v something happened %v ago: %+v", idle, time.Since(p.Start), p)
				}
				if old && p.Acquired != 10 {
					t.Errorf("after %v %d permits were given out", idle, p.Acquired)
				}
			}
		}
	})
}
