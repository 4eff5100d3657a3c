package gate

import (
	"context"
	"slices"
	"time"

	"github.com/poolgate/poolgate/internal/operation"
)

// An Observer is told what happens at a gate: for tracing, metrics and logs. Any
// field may be nil. The functions are called without a lock, on the goroutine
// that it happens on, and by several at once: they must be quick, safe for
// concurrent use, and must not panic. If WaitStart or AcquireEnd does, so does
// Acquire, and the caller holds no permit.
type Observer struct {
	// WaitStart is called when a caller joins the queue: not for one that is
	// let in or refused at once.
	WaitStart func(ctx context.Context, w WaitStart)

	// AcquireEnd is called at the end of each Acquire, however it ended, with
	// the context that it was called with.
	AcquireEnd func(ctx context.Context, a AcquireEnd)

	// Release is called after a permit was given back.
	Release func(r Release)

	// LimitChange is called after the limit was changed.
	LimitChange func(c LimitChange)

	// Leak is called when a permit is held longer than Config.LeakAfter, and
	// again when such a one is given back.
	Leak func(l Leak)

	// Heartbeat is called after each heartbeat of a gate that has a share of a
	// fleet's budget, and before the limit follows it. LastError says whether the
	// heartbeat was answered.
	Heartbeat func(s FleetStats)
}

// WaitStart says what a caller found when it joined the queue.
type WaitStart struct {
	Class    string // "" for one that the gate does not know: its name could be any text
	Weight   int
	Limit    int
	InFlight int
	Waiting  int // callers of the class that waited already
}

// AcquireEnd says how an Acquire ended.
type AcquireEnd struct {
	WaitStart // what the caller found when it came

	Queued bool          // whether it joined the queue
	Waited time.Duration // for how long it was there

	// Err is nil if a permit was given, and otherwise what Acquire returns: a
	// *RejectedError, or the error of the context.
	Err error

	// Optional says that the caller goes on without a permit that it does not
	// get at once: Err is no failure, and no Counts have it. Further connections
	// of a gather on a snapshot are optional.
	Optional bool
}

// Release says what was given back.
type Release struct {
	Class  string
	Weight int
	Held   time.Duration // 0 if the permit was taken before the observer came
}

// LimitChange says how the limit was changed.
type LimitChange struct {
	Old, New int

	// Center is New, but where an adaptive gate probes: then it is the limit
	// that is held to be right, which New is a little above or below. Such a
	// gate changes its limit up to twice a second and its Center less often.
	Center int

	// Reason says why: LimitSet after SetLimit, and otherwise what the Finder
	// said.
	Reason string
}

// LimitSet is the reason of a change by SetLimit.
const LimitSet = "set"

// Leak says who holds a permit for too long.
type Leak struct {
	HolderInfo
	Returned bool // it was given back, after all
}

// Observe has o told of what happens from now on, beside other observers, until
// stop is called. Acquire and Release together take 160 ns more while anybody
// observes, see BenchmarkWatched, and nothing otherwise.
func (g *Gate) Observe(o Observer) (stop func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.setObservers(append(slices.Clone(g.observers), &o))
	return func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.setObservers(slices.DeleteFunc(slices.Clone(g.observers), func(p *Observer) bool { return p == &o }))
	}
}

func (g *Gate) setObservers(all []*Observer) {
	if len(all) == 0 {
		all = nil
	}
	g.observers = all
	g.choosePath()
}

// observation is an Acquire that is under way, and who wants to know of it.
type observation struct {
	AcquireEnd
	observers []*Observer
}

// snapshot is called with g.mu held.
func (g *Gate) snapshot(c *class, r Request) observation {
	if g.observers == nil {
		return observation{}
	}
	o := observation{observers: g.observers}
	o.WaitStart = WaitStart{Class: c.Name, Weight: r.Weight, Limit: g.limit, InFlight: g.inFlight, Waiting: c.waiting}
	if c == g.lane {
		o.Limit, o.InFlight = g.laneSize(), c.inFlight
	}
	return o
}

// waits tells that w was queued. If an observer panics, w waits no longer.
func (o *observation) waits(ctx context.Context, w *waiter) {
	if len(o.observers) == 0 {
		return
	}
	returned := false
	defer func() {
		if !returned {
			w.class.gate.abandon(w)
		}
	}()
	for _, one := range o.observers {
		if one.WaitStart != nil {
			one.WaitStart(ctx, o.WaitStart)
		}
	}
	returned = true
}

// granted is report for a caller that got p. If an observer panics, it gives p
// back.
func (o *observation) granted(ctx context.Context, p Permit) error {
	if len(o.observers) == 0 {
		return nil
	}
	returned := false
	defer func() {
		if !returned {
			p.Release()
		}
	}()
	err := o.report(ctx, nil)
	returned = true
	return err
}

// report tells of the end, and returns err.
func (o *observation) report(ctx context.Context, err error) error {
	o.Err = err
	if len(o.observers) > 0 && (err != nil || o.Queued) {
		o.Optional = operation.IsOptional(ctx)
	}
	for _, one := range o.observers {
		if one.AcquireEnd != nil {
			one.AcquireEnd(ctx, o.AcquireEnd)
		}
	}
	return err
}
