package gate_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// retryAfter returns the RetryAfter of an error of a gate.
func retryAfter(t *testing.T, err error) time.Duration {
	t.Helper()
	rejected, ok := errors.AsType[*gate.RejectedError](err)
	if !ok {
		t.Fatalf("got %v", err)
	}
	return rejected.RetryAfter
}

func TestRetryAfter(t *testing.T) {
	const ms = time.Millisecond
	inBubble(t, "clients that obey it are all served, in little more than the time that the work takes", func(t *testing.T) {
		const clients, limit, hold = 20000, 40, 10 * ms // 5 s of work
		g := newGate(t, gate.Config{Limit: limit})
		var mu sync.Mutex // guards both
		var tries int
		var last time.Duration
		var wg sync.WaitGroup
		start := time.Now()
		for range clients {
			wg.Go(func() {
				for n := 1; ; n++ {
					p, err := g.Acquire(t.Context())
					if err == nil {
						time.Sleep(hold)
						p.Release()
						mu.Lock()
						defer mu.Unlock()
						tries += n
						last = time.Since(start)
						return
					}
					if n == 100 {
						t.Errorf("tried %d times", n)
						return
					}
					time.Sleep(retryAfter(t, err))
				}
			})
		}
		wg.Wait()
		if work := clients / limit * hold; last > work*5/4 || tries > 5*clients {
			t.Errorf("%d clients were done after %v, at %.1f tries each, and it is %v of work", clients, last, float64(tries)/clients, work)
		}
	})

	inBubble(t, "it is as long as the full queue takes, and goes on growing", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 10, MaxWaiting: 100})
		all := load(t, g, 2000, 100*time.Microsecond, 10*ms, 0, "") // ten times what can be done: 1 ms each
		var told []time.Duration
		// Those that come back at this very moment come back before.
		for synctest.Wait(); g.Stats().Waiting < 100; synctest.Wait() {
			load(t, g, 1, 0, 10*ms, 0, "")
		}
		for range 3 {
			_, err := g.Acquire(t.Context())
			told = append(told, retryAfter(t, err))
		}
		for _, a := range all {
			if a.ended.Load() && errors.Is(a.err, gate.ErrQueueFull) {
				told = append(told, retryAfter(t, a.err))
			}
		}
		if told[0] < 100*ms || told[0] > 3*time.Second || told[1] <= told[0] || told[2] <= told[1] {
			t.Errorf("told to try again after %v", told[:3])
		}
		different := map[time.Duration]bool{}
		for _, d := range told {
			different[d] = true
		}
		if len(different) < len(told)/2 {
			t.Errorf("%d were told %d different times", len(told), len(different))
		}
		time.Sleep(time.Minute)
	})

	inBubble(t, "each class has its own, from the present and not from long ago", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2, MaxWaiting: 50, Classes: []gate.Class{
			{Name: "web", Max: 1, MaxWaiting: 1}, {Name: "batch", Max: 1},
		}})
		load(t, g, 40, 0, 700*ms, 0, "batch") // 28 s of it
		time.Sleep(15 * time.Second)
		web := load(t, g, 20, 0, 10*ms, 0, "web")
		synctest.Wait()
		for _, a := range web {
			if a.ended.Load() && a.err != nil && retryAfter(t, a.err) > time.Second {
				t.Errorf("web is told %v", retryAfter(t, a.err))
			}
		}
		load(t, g, 40, 0, 700*ms, 0, "batch")
		synctest.Wait()
		_, err := g.Acquire(gate.WithClass(t.Context(), "batch"))
		if d := retryAfter(t, err); d < 10*time.Second || d > 30*time.Second {
			t.Errorf("batch is told %v", d)
		}
		time.Sleep(12 * time.Hour)
		for _, class := range []string{"web", "batch"} {
			all := load(t, g, 60, 0, 10*ms, 0, class)
			synctest.Wait()
			for _, a := range all {
				if a.ended.Load() && a.err != nil && retryAfter(t, a.err) > time.Second {
					t.Errorf("12 hours later %s is told %v", class, retryAfter(t, a.err))
				}
			}
			time.Sleep(time.Minute)
		}
	})

	inBubble(t, "there is one only where trying again is of use", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, MaxWaiting: 1, Classes: []gate.Class{{Name: "web"}}})
		p := acquire(t, g)
		try := func(ctx context.Context, r gate.Request) time.Duration {
			_, err := g.AcquireWith(ctx, r)
			return retryAfter(t, err)
		}
		go g.Acquire(t.Context())
		synctest.Wait()
		for range 100 {
			if d := try(t.Context(), gate.Request{}); d < 500*ms || d > time.Second { // nothing is known yet
				t.Errorf("where the queue is full: %v", d)
			}
		}
		if d := try(t.Context(), gate.Request{Weight: 2}); d != 0 {
			t.Errorf("of what is too heavy: %v", d)
		}
		if d := try(t.Context(), gate.Request{Class: "none"}); d != 0 {
			t.Errorf("of an unknown class: %v", d)
		}
		g.Pause()
		if d := try(t.Context(), gate.Request{}); d < 500*ms || d > time.Second {
			t.Errorf("of a pause: %v", d)
		}
		g.Close()
		if d := try(t.Context(), gate.Request{}); d != 0 {
			t.Errorf("of a gate that is closed: %v", d)
		}
		p.Release()
	})

	inBubble(t, "a gate where nobody may wait knows it from its holds", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 10, MaxWaiting: gate.NoWaiting, LeakAfter: time.Hour})
		load(t, g, 100, ms, 10*ms, 0, "")
		var last time.Duration
		for range 10 {
			load(t, g, 10, 0, 10*ms, 0, "")
			synctest.Wait()
			_, err := g.Acquire(t.Context())
			last = retryAfter(t, err)
			time.Sleep(time.Second / 2)
		}
		if last < ms/2 || last > 2*ms {
			t.Errorf("it is %v, and a permit comes back each millisecond", last)
		}
	})
}
