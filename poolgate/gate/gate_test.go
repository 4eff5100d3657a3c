package gate_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// newGate returns a gate that must have nothing out and nobody waiting when
// the test ends.
func newGate(t testing.TB, config gate.Config) *gate.Gate {
	t.Helper()
	g, err := gate.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s := g.Stats(); s.InFlight != 0 || s.Waiting != 0 {
			t.Errorf("left behind: %d permits in flight, %d waiters", s.InFlight, s.Waiting)
		}
	})
	return g
}

func acquire(t testing.TB, g *gate.Gate) gate.Permit {
	t.Helper()
	p, err := g.Acquire(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// A caller acquires on a goroutine of its own.
type caller struct {
	permit gate.Permit
	err    error
	after  time.Duration
	done   atomic.Bool
}

// call starts a caller and returns when it waits or is through. It must be
// called in a synctest bubble.
func call(ctx context.Context, g *gate.Gate) *caller {
	c := new(caller)
	start := time.Now()
	go func() {
		c.permit, c.err = g.Acquire(ctx)
		c.after = time.Since(start)
		c.done.Store(true)
	}()
	synctest.Wait()
	return c
}

func (c *caller) waits() bool { return !c.done.Load() }
func (c *caller) holds() bool { return c.done.Load() && c.err == nil }

// inBubble runs f in virtual time.
func inBubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

func TestNew(t *testing.T) {
	for _, test := range []struct {
		name   string
		config gate.Config
		field  string // of the error; "" if accepted
	}{
		{"a limit is all that it needs", gate.Config{Limit: 1}, ""},
		{"a missing limit is refused", gate.Config{}, "Config.Limit"},
		{"a negative limit is refused", gate.Config{Limit: -1}, "Config.Limit"},
		{"an unknown mode is refused", gate.Config{Limit: 1, Mode: 7}, "Config.Mode"},
		{"nobody may wait where it says so", gate.Config{Limit: 1, MaxWaiting: gate.NoWaiting}, ""},
		{"another negative queue is refused", gate.Config{Limit: 1, MaxWaiting: -2}, "Config.MaxWaiting"},
		{"a negative wait is refused", gate.Config{Limit: 1, MaxWait: -time.Second}, "Config.MaxWait"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := gate.New(test.config)
			if test.field == "" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), test.field+" ") {
				t.Fatalf("error %v does not name %s", err, test.field)
			}
		})
	}

	t.Run("the queue's default bound follows the limit", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		if got := g.Stats().MaxWaiting; got != 1000 {
			t.Errorf("at limit 1: %d", got)
		}
		if err := g.SetLimit(100); err != nil {
			t.Fatal(err)
		}
		if got := g.Stats().MaxWaiting; got != 2500 {
			t.Errorf("at limit 100: %d", got)
		}
	})
}

func TestQueue(t *testing.T) {
	inBubble(t, "waiters are served in the order in which they came", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		p := acquire(t, g)
		var callers []*caller
		for range 5 {
			callers = append(callers, call(t.Context(), g))
		}
		for i, c := range callers {
			if !c.waits() {
				t.Fatalf("caller %d does not wait for its turn: %v", i, c.err)
			}
			p.Release()
			synctest.Wait()
			if !c.holds() {
				t.Fatalf("caller %d was not served in its turn", i)
			}
			p = c.permit
		}
		p.Release()
	})

	inBubble(t, "a newcomer does not overtake the queue", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		p := acquire(t, g)
		first := call(t.Context(), g)
		p.Release() // goes to first, at once
		late := call(t.Context(), g)
		if !first.holds() || !late.waits() {
			t.Fatal("the newcomer was served first")
		}
		first.permit.Release()
		synctest.Wait()
		late.permit.Release()
	})

	inBubble(t, "its bound is exact", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2, MaxWaiting: 3})
		a, b := acquire(t, g), acquire(t, g)
		var waiters []*caller
		for range 3 {
			waiters = append(waiters, call(t.Context(), g))
		}
		_, err := g.Acquire(t.Context())
		var rejected *gate.RejectedError
		if !errors.As(err, &rejected) {
			t.Fatalf("got %v", err)
		}
		want := gate.RejectedError{Reason: gate.ErrQueueFull, Class: gate.DefaultClass, Limit: 2, InFlight: 2, Waiting: 3}
		want.RetryAfter = rejected.RetryAfter // see TestRetryAfter
		if !reflect.DeepEqual(*rejected, want) {
			t.Errorf("got %+v, want %+v", *rejected, want)
		}
		a.Release()
		synctest.Wait()
		waiters = append(waiters, call(t.Context(), g))
		if !waiters[0].holds() || !waiters[3].waits() {
			t.Error("the place that became free was not given out again")
		}
		b.Release()
		for _, w := range waiters {
			synctest.Wait()
			w.permit.Release()
		}
	})

	inBubble(t, "a caller that may not wait is refused at once", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, MaxWaiting: gate.NoWaiting})
		p := acquire(t, g)
		if _, err := g.Acquire(t.Context()); !errors.Is(err, gate.ErrQueueFull) {
			t.Errorf("got %v", err)
		}
		p.Release()
		acquire(t, g).Release()
	})
}

func TestMaxWait(t *testing.T) {
	inBubble(t, "each waiter is refused when its own time is up", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, MaxWait: time.Second})
		p := acquire(t, g)
		first := call(context.Background(), g)
		time.Sleep(300 * time.Millisecond)
		second := call(context.Background(), g)
		time.Sleep(699 * time.Millisecond)
		synctest.Wait()
		if !first.waits() {
			t.Error("the first was refused before its time")
		}
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if !errors.Is(first.err, gate.ErrWaitTimeout) || first.after != time.Second || !second.waits() {
			t.Errorf("first: %v after %v; second waits: %v", first.err, first.after, second.waits())
		}
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		if !errors.Is(second.err, gate.ErrWaitTimeout) || second.after != time.Second {
			t.Errorf("second: %v after %v", second.err, second.after)
		}
		p.Release()
	})

	inBubble(t, "it is 30 seconds where nothing is said", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		p := acquire(t, g)
		c := call(context.Background(), g)
		time.Sleep(time.Minute)
		synctest.Wait()
		if !errors.Is(c.err, gate.ErrWaitTimeout) || c.after != 30*time.Second {
			t.Errorf("got %v after %v", c.err, c.after)
		}
		p.Release()
	})

	inBubble(t, "a permit that comes back in the instant in which a wait ends is too late for it", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, MaxWait: time.Second})
		for range 100 { // the release and the gate's timer come in either order
			p := acquire(t, g)
			time.AfterFunc(time.Second, p.Release)
			c := call(context.Background(), g)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if !errors.Is(c.err, gate.ErrWaitTimeout) {
				t.Fatalf("got %v after %v", c.err, c.after)
			}
		}
	})

	inBubble(t, "the timer of a waiter that was served does no harm to a later one", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, MaxWait: time.Second})
		p := acquire(t, g)
		first := call(context.Background(), g)
		p.Release()
		synctest.Wait()
		time.Sleep(999 * time.Millisecond)
		second := call(context.Background(), g)
		time.Sleep(500 * time.Millisecond) // the timer has fired for first, which is gone
		synctest.Wait()
		if !second.waits() {
			t.Errorf("refused after %v: %v", second.after, second.err)
		}
		time.Sleep(500 * time.Millisecond)
		synctest.Wait()
		if second.after != time.Second {
			t.Errorf("refused after %v", second.after)
		}
		first.permit.Release()
	})
}

// flipCtx is a context whose Err turns into Canceled after so many looks.
type flipCtx struct {
	context.Context
	looks atomic.Int32
}

func (c *flipCtx) Done() <-chan struct{} { return make(chan struct{}) }
func (c *flipCtx) Err() error {
	if c.looks.Add(-1) < 0 {
		return context.Canceled
	}
	return nil
}

// canceledWhileWaiting reports whether err is that of a caller whose context
// ended, with its error, while it waited.
func canceledWhileWaiting(err, context error) bool {
	rejected, ok := errors.AsType[*gate.RejectedError](err)
	return ok && rejected.Reason == gate.ErrCanceled && errors.Is(err, context) &&
		errors.Is(err, gate.ErrCanceled) && errors.Is(err, gate.ErrRejected) && !errors.Is(err, gate.ErrDeadline)
}

func TestCancellation(t *testing.T) {
	inBubble(t, "a context that is done beats a free permit", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := g.Acquire(ctx); err != context.Canceled {
			t.Errorf("got %v", err)
		}
		if s := g.Stats(); s.Acquired != 0 {
			t.Errorf("%d permits were given out", s.Acquired)
		}
	})

	inBubble(t, "a cancelled waiter gives its place up", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		p := acquire(t, g)
		first := call(t.Context(), g)
		ctx, cancel := context.WithCancel(t.Context())
		second := call(ctx, g)
		third := call(t.Context(), g)
		cancel()
		synctest.Wait()
		if !canceledWhileWaiting(second.err, context.Canceled) {
			t.Fatalf("got %v", second.err)
		}
		p.Release()
		synctest.Wait()
		first.permit.Release()
		synctest.Wait()
		if !third.holds() {
			t.Fatal("the one behind it was not served")
		}
		third.permit.Release()
	})

	inBubble(t, "a deadline ends the wait", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		p := acquire(t, g)
		ctx, cancel := context.WithTimeout(t.Context(), 70*time.Millisecond)
		defer cancel()
		c := call(ctx, g)
		time.Sleep(70 * time.Millisecond)
		synctest.Wait()
		if !canceledWhileWaiting(c.err, context.DeadlineExceeded) || c.after != 70*time.Millisecond {
			t.Errorf("got %v after %v", c.err, c.after)
		}
		p.Release()
	})

	inBubble(t, "the error has the class, the number of waiters and the time waited", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 3, Classes: []gate.Class{{Name: "web", Max: 1}}})
		web := gate.WithClass(t.Context(), "web")
		p := callWith(web, g, gate.Request{}).permit
		ctx, cancel := context.WithTimeout(web, 300*time.Millisecond)
		defer cancel()
		c := call(ctx, g)
		behind := call(web, g)
		time.Sleep(300 * time.Millisecond)
		synctest.Wait()
		rejected, ok := errors.AsType[*gate.RejectedError](c.err)
		if !ok || !canceledWhileWaiting(c.err, context.DeadlineExceeded) || rejected.Class != "web" || rejected.Waited != 300*time.Millisecond ||
			rejected.Limit != 3 || rejected.InFlight != 1 || rejected.Waiting != 1 {
			t.Fatalf("got %+v", rejected)
		}
		for _, word := range []string{"context deadline exceeded", "300ms", `1 waiting in class "web"`, "give it more time"} {
			if !strings.Contains(c.err.Error(), word) {
				t.Errorf("%q does not say %q", c.err, word)
			}
		}
		if s := g.Stats(); s.Canceled != 1 || s.Refused() != 0 {
			t.Errorf("stats: %+v", s)
		}
		p.Release()
		synctest.Wait()
		behind.permit.Release()
	})

	inBubble(t, "a pause does not hide that the context ended", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		g.Pause()
		ctx, cancel := context.WithCancel(t.Context())
		c := call(ctx, g)
		cancel()
		synctest.Wait()
		if !canceledWhileWaiting(c.err, context.Canceled) || errors.Is(c.err, gate.ErrPaused) {
			t.Errorf("got %v", c.err)
		}
	})

	inBubble(t, "a waiter whose context has ended is never served", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		p := acquire(t, g)
		expired := call(aliveFor(1), g) // alive on arrival only
		next := call(t.Context(), g)
		p.Release()
		synctest.Wait()
		if !canceledWhileWaiting(expired.err, context.Canceled) || !next.holds() {
			t.Fatalf("expired: %v; next: %v", expired.err, next.err)
		}
		if s := g.Stats(); s.Acquired != 2 || s.Canceled != 1 {
			t.Errorf("stats: %+v", s)
		}
		next.permit.Release()
	})

	for _, mode := range []gate.Mode{gate.Sliding, gate.Chunked} {
		inBubble(t, "a waiter cancelled in the instant of its grant passes the permit on: "+mode.String(), func(t *testing.T) {
			g := newGate(t, gate.Config{Limit: 2, Mode: mode})
			a, b := acquire(t, g), acquire(t, g)
			cancelled := call(aliveFor(2), g) // on arrival and at the grant
			next, last := call(t.Context(), g), call(t.Context(), g)
			a.Release()
			b.Release()
			synctest.Wait()
			if !canceledWhileWaiting(cancelled.err, context.Canceled) || !next.holds() || !last.holds() {
				t.Fatalf("cancelled: %v; next: %v; last: %v", cancelled.err, next.holds(), last.holds())
			}
			// No count may fall, so what it was given stays counted.
			if s := g.Stats(); s.Acquired != 5 || s.Waited != 3 || s.Canceled != 0 {
				t.Errorf("stats: %+v", s)
			}
			next.permit.Release()
			last.permit.Release()
		})
	}
}

func aliveFor(looks int32) context.Context {
	c := &flipCtx{Context: context.Background()}
	c.looks.Store(looks)
	return c
}

func TestChunked(t *testing.T) {
	inBubble(t, "nobody is let in until the last of the wave is out", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 3, Mode: gate.Chunked})
		var callers []*caller
		for range 7 {
			callers = append(callers, call(t.Context(), g))
		}
		holding := func() (n int) {
			for _, c := range callers {
				if c.holds() {
					n++
				}
			}
			return n
		}
		for _, step := range []struct{ release, holding int }{
			{0, 3}, {1, 3}, {2, 6}, {3, 6}, {4, 6}, {5, 7},
		} {
			callers[step.release].permit.Release()
			synctest.Wait()
			if got := holding(); got != step.holding {
				t.Fatalf("after the release of %d: %d were let in, want %d", step.release, got, step.holding)
			}
		}
		callers[6].permit.Release()
	})

	inBubble(t, "a wave that is not full takes newcomers, each place once", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2, Mode: gate.Chunked})
		a := acquire(t, g)
		b := acquire(t, g)
		b.Release()
		c := call(t.Context(), g)
		if !c.waits() {
			t.Error("a place of the wave was given out twice")
		}
		a.Release()
		synctest.Wait()
		if !c.holds() {
			t.Fatal("the next wave did not start")
		}
		c.permit.Release()
	})

	inBubble(t, "when all of a wave have left a new one starts", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2, Mode: gate.Chunked, MaxWaiting: gate.NoWaiting})
		for range 5 {
			acquire(t, g).Release()
		}
	})
}

func TestSetLimit(t *testing.T) {
	inBubble(t, "a higher limit lets waiters in at once", func(t *testing.T) {
		for _, mode := range []gate.Mode{gate.Sliding, gate.Chunked} {
			g := newGate(t, gate.Config{Limit: 1, Mode: mode})
			var callers []*caller
			for range 4 {
				callers = append(callers, call(t.Context(), g))
			}
			if err := g.SetLimit(3); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
			if s := g.Stats(); s.InFlight != 3 || s.Waiting != 1 || !callers[3].waits() {
				t.Errorf("%v: %+v", mode, s)
			}
			for _, c := range callers {
				synctest.Wait()
				c.permit.Release()
			}
		}
	})

	inBubble(t, "a lower limit takes effect as permits come back", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 3})
		a, b, c := acquire(t, g), acquire(t, g), acquire(t, g)
		if err := g.SetLimit(1); err != nil {
			t.Fatal(err)
		}
		w := call(t.Context(), g)
		a.Release()
		b.Release()
		synctest.Wait()
		if s := g.Stats(); !w.waits() || s.InFlight != 1 || s.Limit != 1 {
			t.Errorf("let in above the limit: %+v", s)
		}
		c.Release()
		synctest.Wait()
		if !w.holds() {
			t.Fatal("not let in at the limit")
		}
		w.permit.Release()
	})

	t.Run("a limit below 1 is refused", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 3})
		if err := g.SetLimit(0); err == nil || g.Stats().Limit != 3 {
			t.Errorf("error %v, limit %d", err, g.Stats().Limit)
		}
	})
}

func TestClose(t *testing.T) {
	inBubble(t, "waiters and newcomers are refused, and permits stay good", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		p := acquire(t, g)
		a, b := call(t.Context(), g), call(t.Context(), g)
		time.Sleep(time.Second)
		g.Close()
		g.Close()
		synctest.Wait()
		for _, c := range []*caller{a, b} {
			var rejected *gate.RejectedError
			if !errors.As(c.err, &rejected) || rejected.Reason != gate.ErrClosed || rejected.Waited != time.Second {
				t.Errorf("a waiter got %v", c.err)
			}
		}
		if g.Stats().InFlight != 1 {
			t.Error("the permit was taken away")
		}
		p.Release()
		if _, err := g.Acquire(t.Context()); !errors.Is(err, gate.ErrClosed) {
			t.Errorf("a newcomer got %v", err)
		}
	})
}

func TestPause(t *testing.T) {
	inBubble(t, "nobody is let in until it is resumed, and then all that there is room for", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2})
		p := acquire(t, g)
		g.Pause()
		g.Pause()
		a, b := call(t.Context(), g), call(t.Context(), g)
		p.Release()
		synctest.Wait()
		if err := g.SetLimit(3); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if s := g.Stats(); !a.waits() || !b.waits() || !s.Suspended {
			t.Fatalf("let in: %+v", s)
		}
		g.Resume()
		synctest.Wait()
		if s := g.Stats(); !a.holds() || !b.holds() || s.Suspended {
			t.Fatalf("not let in: %+v", s)
		}
		a.permit.Release()
		b.permit.Release()
	})

	inBubble(t, "whose wait has to end meanwhile is told so", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, MaxWaiting: 1, MaxWait: time.Second})
		g.Pause()
		waiter := call(t.Context(), g)
		_, tooMany := g.Acquire(t.Context())
		time.Sleep(time.Second)
		synctest.Wait()
		for _, err := range []error{waiter.err, tooMany} {
			if !errors.Is(err, gate.ErrPaused) || !errors.Is(err, gate.ErrRejected) || errors.Is(err, gate.ErrWaitTimeout) {
				t.Errorf("got %v", err)
			}
		}
		if got := g.Stats().Counts.Paused; got != 2 {
			t.Errorf("%d were counted", got)
		}
		g.Resume()
		acquire(t, g).Release()
	})

	t.Run("a gate that is closed stays so", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		g.Pause()
		g.Close()
		g.Resume()
		if _, err := g.Acquire(t.Context()); !errors.Is(err, gate.ErrClosed) {
			t.Errorf("got %v", err)
		}
	})
}

func TestDrain(t *testing.T) {
	inBubble(t, "it returns when the last permit is back, for all that drain", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2})
		a, b := acquire(t, g), acquire(t, g)
		waiter := call(t.Context(), g)
		done := make(chan error, 2)
		for range 2 {
			go func() { done <- g.Drain(t.Context()) }()
		}
		synctest.Wait()
		if !errors.Is(waiter.err, gate.ErrClosed) {
			t.Errorf("the waiter got %v", waiter.err)
		}
		a.Release()
		synctest.Wait()
		if len(done) > 0 {
			t.Fatal("it did not wait for the last permit")
		}
		b.Release()
		for range 2 {
			if err := <-done; err != nil {
				t.Error(err)
			}
		}
		if err := g.Drain(t.Context()); err != nil {
			t.Errorf("again: %v", err)
		}
	})

	inBubble(t, "it waits no longer than its context", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		p := acquire(t, g)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := g.Drain(ctx); err != context.DeadlineExceeded {
			t.Errorf("got %v", err)
		}
		p.Release()
		if err := g.Drain(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestRelease(t *testing.T) {
	t.Run("twice is a panic, and takes nobody's permit away", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		p := acquire(t, g)
		p.Release()
		other := acquire(t, g) // on the same record
		func() {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			p.Release()
		}()
		if got := g.Stats().InFlight; got != 1 {
			t.Errorf("%d in flight", got)
		}
		other.Release()
	})

	t.Run("of the zero permit does nothing", func(t *testing.T) { gate.Permit{}.Release() })
}

func TestRejectedError(t *testing.T) {
	inBubble(t, "it matches ErrRejected and its reason, and says how to fix it", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, MaxWaiting: 1, MaxWait: time.Second})
		p := acquire(t, g)
		w := call(t.Context(), g)
		time.Sleep(250 * time.Millisecond)
		p.Release() // w was let in after 250 ms
		synctest.Wait()
		slow := call(t.Context(), g)
		_, full := g.Acquire(t.Context())
		time.Sleep(time.Second)
		synctest.Wait()
		w.permit.Release()
		g.Close()
		_, closed := g.Acquire(t.Context())

		for _, test := range []struct {
			err, reason error
			text        string
			retry       bool
		}{
			{full, gate.ErrQueueFull, "gate: rejected: queue full: 1 of 1 permits in flight and 1 waiting; " +
				"send less at once, or raise MaxWaiting", true},
			{slow.err, gate.ErrWaitTimeout, "gate: rejected: wait timeout: no permit within 1s, 1 of 1 in flight and 0 waiting; " +
				"look for a holder that does not let go, or raise Limit or MaxWait", true},
			{closed, gate.ErrClosed, "gate: rejected: closed: the gate admits nobody any more, 0 of 1 permits in flight", false},
		} {
			var rejected *gate.RejectedError
			if !errors.Is(test.err, gate.ErrRejected) || !errors.Is(test.err, test.reason) || !errors.As(test.err, &rejected) {
				t.Fatalf("%v does not match", test.err)
			}
			for _, other := range []error{gate.ErrQueueFull, gate.ErrWaitTimeout, gate.ErrClosed} {
				if other != test.reason && errors.Is(test.err, other) {
					t.Errorf("%v matches %v too", test.err, other)
				}
			}
			text := test.text
			if test.retry {
				text += "; retry after " + rejected.RetryAfter.Round(time.Microsecond).String()
			}
			if test.err.Error() != text {
				t.Errorf("got  %s\nwant %s", test.err, text)
			}
			if (rejected.RetryAfter > 0) != test.retry {
				t.Errorf("%v: retry after %v", test.reason, rejected.RetryAfter)
			}
		}
	})
}

func TestStats(t *testing.T) {
	inBubble(t, "they count what has happened", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, MaxWaiting: 2, MaxWait: 10 * time.Second})
		p := acquire(t, g)
		ctx, cancel := context.WithCancel(t.Context())
		a := call(t.Context(), g)
		time.Sleep(time.Second)
		call(ctx, g)
		time.Sleep(time.Second)
		g.Acquire(t.Context()) // the queue is full
		if got := g.Stats().OldestWait; got != 2*time.Second {
			t.Errorf("the oldest waits for %v", got)
		}
		cancel()
		synctest.Wait()
		p.Release()
		synctest.Wait()
		call(t.Context(), g)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		a.permit.Release()
		g.Close()
		g.Acquire(t.Context())
		counts := gate.Counts{
			Acquired: 2, Waited: 1, WaitDuration: 13 * time.Second,
			QueueFull: 1, WaitTimeout: 1, Closed: 1, Canceled: 1,
		}
		want := gate.Stats{
			Limit: 1, MaxWaiting: 2, Stopped: true, Counts: counts,
			Classes: []gate.ClassStats{{
				Class:  gate.Class{Name: gate.DefaultClass, MaxWaiting: 2, MaxWait: 10 * time.Second},
				Counts: counts,
			}},
		}
		got := g.Stats()
		if lane := got.OutOfBand; lane.Name != gate.OutOfBandClass || lane.Max != 1 || lane.Counts != (gate.Counts{}) {
			t.Errorf("the lane: %+v", lane)
		}
		wait, hold := &got.Classes[0].Wait, &got.Classes[0].Hold
		for _, one := range []struct{ got, want time.Duration }{
			{wait.P50, 2 * time.Second}, {wait.P99, 2 * time.Second}, {hold.P50, 2 * time.Second}, {hold.P90, 10 * time.Second},
		} {
			if (one.got - one.want).Abs() > one.want/32 {
				t.Errorf("a percentile is %v, want %v", one.got, one.want)
			}
		}
		if wait.Max != 2*time.Second || hold.Max != 10*time.Second {
			t.Errorf("the longest wait and hold are %v, %v", wait.Max, hold.Max)
		}
		*wait, *hold = gate.Percentiles{}, gate.Percentiles{}
		got.OutOfBand = gate.ClassStats{}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("got  %+v\nwant %+v", got, want)
		}
	})
}

// In real time and under the race detector: whatever happens, the limit holds
// and nothing is left.
func TestUnderFire(t *testing.T) {
	for _, mode := range []gate.Mode{gate.Sliding, gate.Chunked} {
		t.Run("the limit holds and nothing is left: "+mode.String(), func(t *testing.T) {
			const limit, goroutines, rounds = 4, 32, 2000
			g := newGate(t, gate.Config{Limit: limit, Mode: mode, MaxWaiting: 24, MaxWait: time.Millisecond})
			var inside atomic.Int32
			var outcomes [5]atomic.Int64
			var wg sync.WaitGroup
			for i := range goroutines {
				wg.Go(func() {
					random := rand.New(rand.NewPCG(uint64(i), 1))
					for range rounds {
						ctx, cancel := context.WithTimeout(context.Background(), time.Duration(random.IntN(200))*time.Microsecond)
						p, err := g.Acquire(ctx)
						if err == nil {
							if n := inside.Add(1); n > limit {
								t.Errorf("%d inside", n)
							}
							if random.IntN(4) == 0 {
								time.Sleep(time.Duration(random.IntN(50)) * time.Microsecond)
							}
							inside.Add(-1)
							p.Release()
						}
						cancel()
						outcomes[slices.IndexFunc([]error{nil, context.DeadlineExceeded, gate.ErrQueueFull, gate.ErrWaitTimeout, gate.ErrDeadline},
							func(want error) bool { return errors.Is(err, want) })].Add(1)
					}
				})
			}
			wg.Wait()
			s := g.Stats()
			got := [5]uint64{s.Acquired, s.Canceled, s.QueueFull, s.WaitTimeout, s.Deadline}
			// A context that was done before it could wait is not counted as
			// Canceled, and one that ended as a permit was given to it is
			// counted as Acquired.
			declined := got[0] - uint64(outcomes[0].Load())
			got[0], got[1] = got[0]-declined, got[1]+declined
			for i, n := range got {
				if want := uint64(outcomes[i].Load()); n != want && !(i == 1 && n <= want) {
					t.Errorf("counted %v, seen by the callers %d at %d", got, want, i)
				}
			}
			if s.Acquired == 0 || s.Canceled == 0 {
				t.Errorf("nothing was tested: %+v", s)
			}
		})
	}
}
