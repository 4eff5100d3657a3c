package gate_test

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// A request is one of an open loop: it waits for no other.
type request struct {
	at     time.Duration // when it comes
	within time.Duration // how long it may take in all
	hold   time.Duration // how long its work takes
	class  string
	weight int
	counts bool // in the results
}

// An outcome is what became of a request.
type outcome struct {
	request
	number  int  // its place in the order of arrival
	refused bool // at once
	entered bool
	done    bool // in time
	took    time.Duration
}

// A limiter lets requests in.
type limiter interface {
	// enter returns how to leave. The number is that of the request's outcome.
	enter(ctx context.Context, number int, r request) (leave func(), err error)
	setLimit(n int)
	pause()
	resume()
}

// run sends the requests through l, and returns what became of those that count.
// It must be called in a synctest bubble.
func run(t *testing.T, l limiter, requests []request, during func(limiter)) []outcome {
	start := time.Now()
	var wg sync.WaitGroup
	if during != nil {
		wg.Go(func() { during(l) })
	}
	all := make([]outcome, len(requests))
	for i, r := range requests {
		time.Sleep(time.Until(start.Add(r.at)))
		wg.Go(func() {
			o := &all[i]
			o.request, o.number = r, i
			ctx, cancel := context.WithDeadline(t.Context(), start.Add(r.at+r.within))
			defer cancel()
			leave, err := l.enter(ctx, i, r)
			if err != nil {
				o.took = time.Since(start) - r.at
				o.refused = o.took == 0
				return
			}
			work := time.NewTimer(r.hold)
			select {
			case <-work.C:
				o.done = true
			case <-ctx.Done():
			}
			work.Stop()
			o.entered, o.took = true, time.Since(start)-r.at
			leave()
		})
	}
	wg.Wait()
	return slices.DeleteFunc(all, func(o outcome) bool { return !o.counts })
}

// percent returns of how many of a hundred outcomes is is true.
func percent(all []outcome, is func(outcome) bool) float64 {
	n := 0
	for _, o := range all {
		if is(o) {
			n++
		}
	}
	return 100 * float64(n) / float64(max(1, len(all)))
}

func isDone(o outcome) bool    { return o.done }
func isRefused(o outcome) bool { return o.refused }
func isCutOff(o outcome) bool  { return o.entered && !o.done }

// gated is a gate as a limiter. With hide it hides deadlines from the gate, so that
// the gate predicts nothing.
type gated struct {
	*gate.Gate
	hide func(ctx context.Context, number int) context.Context
}

func hideAll(ctx context.Context, _ int) context.Context { return undated{ctx} }

// datedLater hides its deadline from the first caller of Deadline, the gate that
// decides whether a newcomer may wait.
type datedLater struct {
	context.Context
	asked atomic.Bool
}

func (d *datedLater) Deadline() (time.Time, bool) {
	if d.asked.CompareAndSwap(false, true) {
		return time.Time{}, false
	}
	return d.Context.Deadline()
}

func (g gated) enter(ctx context.Context, number int, r request) (func(), error) {
	if g.hide != nil {
		ctx = g.hide(ctx, number)
	}
	p, err := g.AcquireWith(ctx, gate.Request{Class: r.class, Weight: r.weight})
	return p.Release, err
}

func (g gated) setLimit(n int) { g.SetLimit(n) }
func (g gated) pause()         { g.Pause() }
func (g gated) resume()        { g.Resume() }

// ordered is a limiter that knows all of a request and refuses none: next chooses
// who is next.
type ordered struct {
	next  func(queue []*orderedWaiter, now time.Time) *orderedWaiter
	waves bool

	mu     sync.Mutex // guards all below
	limit  int
	paused bool
	used   int
	wave   int
	queue  []*orderedWaiter
}

type orderedWaiter struct {
	request
	deadline time.Time
	entered  chan struct{}
}

func (o *ordered) enter(ctx context.Context, _ int, r request) (func(), error) {
	deadline, _ := ctx.Deadline()
	w := &orderedWaiter{r, deadline, make(chan struct{})}
	o.change(func() { o.queue = append(o.queue, w) })
	leave := func() {
		o.change(func() {
			if o.used -= w.weight; o.used == 0 {
				o.wave = 0
			}
		})
	}
	select {
	case <-w.entered:
		return leave, nil
	case <-ctx.Done():
	}
	o.change(func() { o.queue = slices.DeleteFunc(o.queue, func(v *orderedWaiter) bool { return v == w }) })
	select {
	case <-w.entered:
		leave()
	default:
	}
	return nil, ctx.Err()
}

// change changes o, and lets in all that may enter then.
func (o *ordered) change(f func()) {
	o.mu.Lock()
	defer o.mu.Unlock()
	f()
	for !o.paused && len(o.queue) > 0 {
		w := o.next(o.queue, time.Now())
		used := o.used
		if o.waves {
			used = o.wave
		}
		if w == nil || used+min(w.weight, o.limit) > o.limit {
			return
		}
		o.used += w.weight
		o.wave += w.weight
		o.queue = slices.DeleteFunc(o.queue, func(v *orderedWaiter) bool { return v == w })
		close(w.entered)
	}
}

func (o *ordered) setLimit(n int) { o.change(func() { o.limit = n }) }
func (o *ordered) pause()         { o.change(func() { o.paused = true }) }
func (o *ordered) resume()        { o.change(func() { o.paused = false }) }

func oldest(queue []*orderedWaiter, _ time.Time) *orderedWaiter { return queue[0] }
func newest(queue []*orderedWaiter, _ time.Time) *orderedWaiter { return queue[len(queue)-1] }

// inTime reports whether w will be done in time if it enters now.
func (w *orderedWaiter) inTime(now time.Time) bool { return !now.Add(w.hold).After(w.deadline) }

// first and shortest are oracles: of those that will be done in time they choose
// the first, and the one that takes least.
func first(queue []*orderedWaiter, now time.Time) *orderedWaiter {
	for _, w := range queue {
		if w.inTime(now) {
			return w
		}
	}
	return nil
}

func shortest(queue []*orderedWaiter, now time.Time) (next *orderedWaiter) {
	cost := func(w *orderedWaiter) time.Duration { return w.hold * time.Duration(w.weight) }
	for _, w := range queue {
		if w.inTime(now) && (next == nil || cost(w) < cost(next)) {
			next = w
		}
	}
	return next
}
