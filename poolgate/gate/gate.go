package gate

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"
)

// A Gate hands out permits, see the package's documentation. All its methods
// are safe for concurrent use. Make one with [New].
type Gate struct {
	config Config
	owners owners
	epoch  time.Time // where the gate's monotonic clock begins
	pool   sync.Pool // of *waiter; the gate's own, so that a gate made in a synctest bubble stays in it

	adaptation *adaptation // nil where the limit is fixed

	mu           sync.Mutex // guards all below
	classes      []*class   // the default class first; the slice itself does not change
	lane         *class     // for callers out of band, with permits of its own
	limit        int        // that is in force: wanted, within the share
	wanted       int
	share        share
	inFlight     int // without the lane
	wave         int // permits given out in this wave; 0 whenever inFlight is
	waiting      int // in all queues, the lane's included
	heavy        int // of these, with a weight above 1
	sinceOverdue int // permits that newcomers waited for, since one of an overdue class was served
	tickets      uint64
	holds        []*hold // every record that there is
	free         *hold   // those of no permit
	paused       bool
	closed       bool
	halted       bool          // paused or closed
	plain        bool          // Acquire and Release may take the short way, see choosePath
	drained      chan struct{} // closed when the last permit comes back; nil if nobody drains
	unknownClass uint64        // callers that were refused for it
	served       uint64        // waiters that were given a permit

	// Waiters whose goroutine holds a permit already, in the order in which they
	// came: those of all classes, and those of the lane. All others, the newcomers,
	// are in the queue of their class.
	nested, laneNested queue

	onWait func() // see OnWait

	resolved, lastResolved *waiter // those to be woken, see unlock

	clock                  clock
	search                 deadlockSearch
	overload, laneOverload overload
	observers              []*Observer // replaced, not changed
}

// New returns a gate, or an error that names the field of config that it
// cannot accept.
func New(config Config) (*Gate, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	epoch := time.Now().Add(-1) // so that no moment of the gate is 0
	classes, err := newClasses(epoch, config)
	if err != nil {
		return nil, err
	}
	g := &Gate{
		config:  config,
		epoch:   epoch,
		pool:    sync.Pool{New: newWaiter},
		classes: classes,
		lane:    newLane(epoch, config),
		wanted:  config.Limit,
		owners:  newOwners(config.Limit),

		sinceOverdue: maxPassed,
	}
	if config.Adaptive != nil {
		g.adaptation = newAdaptation(*config.Adaptive, config.Limit)
	}
	g.overload.classes, g.laneOverload.classes = g.classes, []*class{g.lane}
	for c := range g.everyClass {
		c.gate = g
	}
	g.fitLimit()
	g.choosePath()
	return g, nil
}

// Acquire returns a permit, and waits for one if none is free. If ctx is done
// already, it returns ctx.Err(), even if a permit is free. Otherwise an error is a
// [*RejectedError] with one of these reasons:
//
//   - ErrQueueFull: too many callers wait already,
//   - ErrDeadline: the expected wait and the work after it take longer than ctx
//     allows,
//   - ErrWaitTimeout: Acquire has waited for Config.MaxWait,
//   - ErrShed: the gate is overloaded, and Config.Shed is set,
//   - ErrCanceled: ctx ended during the wait; the error matches ctx.Err() too,
//   - ErrDeadlock: all callers that could release a permit wait for one,
//   - ErrPaused, in place of those above but ErrCanceled: the gate is paused,
//   - ErrUnknownClass: the gate has classes, but not the one that ctx carries,
//   - ErrClosed: the gate is closed.
//
// The gate serves waiters of a class in the order in which they came. [WithClass]
// puts the class into ctx. A goroutine that acquires a second permit while it
// holds one may wait for itself: take one permit for a whole unit of work.
//
// If a permit is free, Acquire and Release together take about 20 ns, see
// BenchmarkUncontended, and allocate nothing. AcquireWith acquires anything other
// than one permit of the context's class.
func (g *Gate) Acquire(ctx context.Context) (Permit, error) {
	c := g.classes[0]
	if len(g.classes) > 1 {
		if c = g.classOf(ctx); c == nil {
			return Permit{}, g.refuseUnknown(ctx, classNameOf(ctx), 1)
		}
	}
	done := ctx.Err()
	if !g.mu.TryLock() {
		g.lock()
	}
	// What acquire would do in the most frequent case, but for what it would
	// do to no effect. Nobody waits who could enter, see serve.
	if h := g.free; h != nil && done == nil && g.plain && g.inFlight < g.limit && (c.Max == 0 || c.inFlight < c.Max) &&
		(c.counts.Acquired+1)%sampleEvery != 0 {
		g.free = h.next
		h.out = true
		if h.class != c {
			h.class = c
		}
		g.inFlight++
		c.inFlight++
		c.counts.Acquired++
		turn := h.turn
		g.mu.Unlock()
		return Permit{h, turn}, nil
	}
	return g.acquire(ctx, done, c, Request{Weight: 1})
}

// TryAcquire returns a permit of the class that ctx carries if one is free and no
// earlier caller waits for it. Otherwise it reports false: it never waits. A
// false is not counted as a refusal and not reported to observers.
func (g *Gate) TryAcquire(ctx context.Context) (Permit, bool) {
	c := g.classes[0]
	if len(g.classes) > 1 {
		c = g.classOf(ctx)
	}
	if c == nil || ctx.Err() != nil {
		return Permit{}, false
	}
	g.mu.Lock()
	if !g.isFree(c, 1) {
		g.mu.Unlock()
		return Permit{}, false
	}
	p, err := g.acquire(ctx, nil, c, Request{Weight: 1})
	return p, err == nil
}

// Limit returns the limit, which SetLimit may have changed.
func (g *Gate) Limit() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.limit
}

// SetLimit changes the limit, at least 1, while the gate is running. More
// permits are given out at once; fewer take effect as permits come back, and
// nobody loses one. In Chunked mode a higher limit lets more into the present
// wave. The lane out of band follows where its size is the default. Of an
// adaptive gate it changes the Max.
func (g *Gate) SetLimit(n int) error {
	if err := checkLimit("SetLimit", n); err != nil {
		return err
	}
	if g.adaptation != nil {
		g.setMax(n)
		return nil
	}
	g.moveLimit(n, LimitChange{Reason: LimitSet})()
	return nil
}

// acquire takes a permit of class c by the long way, by looking at everything;
// done is the context's error. It is called with g.mu held, and returns without.
func (g *Gate) acquire(ctx context.Context, done error, c *class, r Request) (Permit, error) {
	if g.share.end > 0 {
		g.endShare(g.now())
	}
	end := g.snapshot(c, r)
	err := done
	if err == nil {
		err = g.refusal(ctx, c, r.Weight)
	}
	shadowed := g.config.Shadow && (errors.Is(err, ErrQueueFull) || errors.Is(err, ErrDeadline))
	if err != nil && !shadowed {
		g.mu.Unlock()
		return Permit{}, end.report(ctx, err)
	}
	if g.isFree(c, r.Weight) {
		h := g.take(c, r.Weight, g.now())
		h.holder = r.Holder
		p := Permit{h, h.turn}
		g.mu.Unlock()
		h.keepStack(g.config.StackEvery)
		return p, end.granted(ctx, p)
	}
	w := g.enqueue(ctx, c, r)
	w.shadowed = shadowed
	if g.heavy > 0 {
		g.serve(w.since) // it may be its turn
	}
	onWait := g.onWait
	g.unlock()
	if onWait != nil {
		onWait()
	}

	end.waits(ctx, w)
	p, waited, err := g.wait(ctx, w)
	end.Queued, end.Waited = true, waited
	if err != nil {
		return p, end.report(ctx, err)
	}
	p.hold.keepStack(g.config.StackEvery)
	return p, end.granted(ctx, p)
}

// wait has the caller wait until w is resolved.
func (g *Gate) wait(ctx context.Context, w *waiter) (Permit, time.Duration, error) {
	select {
	case <-w.ready:
	case <-ctx.Done():
		g.mu.Lock()
		if w.queued {
			now := g.now()
			canceled := g.cancel(w, now)
			g.serve(now) // its weight may have been in the way
			g.unlock()
			g.recycle(w)
			return Permit{}, canceled.Waited, canceled
		}
		g.mu.Unlock()
		<-w.ready // resolved before we had the lock: it is about to be sent
	}
	h, refused, since := w.hold, w.refused, w.since
	g.recycle(w)
	if refused != nil {
		if refused.Reason == ErrDeadlock {
			for i := range refused.Holders {
				refused.Holders[i].complete()
			}
			addStacks(refused.Holders)
		}
		return Permit{}, refused.Waited, refused
	}
	p, waited := Permit{h, h.turn}, h.since-since // which nobody else changes before it is released
	if err := ctx.Err(); err != nil {
		return Permit{}, waited, g.decline(p, waited, err) // granted, and canceled before it was looked at
	}
	return p, waited, nil
}

// abandon ends the wait of w, for which nobody waits.
func (g *Gate) abandon(w *waiter) {
	g.mu.Lock()
	if w.queued {
		now := g.now()
		g.dequeue(w, now)
		g.serve(now) // its weight may have been in the way
		g.unlock()
		return
	}
	g.mu.Unlock()
	<-w.ready
	if h := w.hold; h != nil {
		Permit{h, h.turn}.Release()
	}
}

func (g *Gate) recycle(w *waiter) {
	w.reset()
	g.pool.Put(w)
}

// A release yields the processor for one in yieldEvery waiters that are served,
// and for each while more than yieldAlways wait, see release.
const (
	yieldEvery  = 4
	yieldAlways = 1000
)

// release gives p back and serves the next waiter.
func (g *Gate) release(p Permit) {
	h := p.hold
	now := time.Duration(0)
	if h.stamped { // which only changes while the permit is not out: the clock need not be read under the lock
		now = g.now()
	}
	if !g.mu.TryLock() {
		g.lock()
	}
	if h.turn != p.turn {
		g.mu.Unlock()
		panic("gate: Release of a permit that was released before")
	}
	if g.plain && g.waiting == 0 && h.isPlain() { // as in Acquire
		h.turn++
		h.out = false
		h.class.inFlight--
		g.inFlight--
		h.next, g.free = g.free, h
		g.mu.Unlock()
		return
	}
	if now == 0 {
		now = g.now()
	}
	g.releaseLong(h, now)
}

// releaseLong is called with g.mu held, and returns without.
func (g *Gate) releaseLong(h *hold, now time.Duration) {
	end, leak := Release{Class: h.class.Name, Weight: h.weight}, h.leak(now)
	if h.stamped {
		end.Held = now - h.since
		h.class.history.hold(now, end.Held)
		h.class.service.hold(now, end.Held, h.deadline > 0 && now >= h.deadline)
	} else if g.waiting > 0 {
		h.class.service.holdSince(now)
	}
	observers := g.observers
	g.giveBack(h)
	yield := g.serve(now) && (g.waiting > yieldAlways || g.served%yieldEvery == 0)
	g.unlock()
	for _, o := range observers {
		if o.Release != nil {
			o.Release(end)
		}
	}
	if leak.Returned {
		report(observers, leak)
	}
	if yield {
		// A permit that is handed to a waiter is idle until that one runs,
		// and if holds are short a queue once formed never dissolves: each
		// acquire finds it, and pays for a switch of goroutines. Letting the
		// waiter run first undoes that: ten times the throughput where a hold
		// is nothing, see BenchmarkContended. A yield costs as much as a switch,
		// and one in four has the same effect as each; but not with thousands of
		// waiters, which another processor queues again as quickly.
		runtime.Gosched()
	}
}

// decline gives back a permit that was granted but not used, since its context
// has ended meanwhile with err, and returns the caller's error. The next waiter
// gets the permit, in Chunked mode within the same wave. It stays counted as
// acquired, so that no count ever falls.
func (g *Gate) decline(p Permit, waited time.Duration, err error) *RejectedError {
	g.mu.Lock()
	defer g.unlock()
	c := p.hold.class
	if c != g.lane {
		g.wave -= p.hold.weight
	}
	g.giveBack(p.hold)
	e := g.rejection(c, ErrCanceled, waited)
	e.context = err
	g.serve(g.now())
	return e
}

// now is the time on the gate's own clock, which costs half of time.Now.
func (g *Gate) now() time.Duration { return time.Since(g.epoch) }

// spins is how often lock tries: for somewhat longer than Acquire and Release hold
// g.mu.
const spins = 300

// lock locks g.mu. Where goroutines are ready to run, and behind a gate there
// are, a sync.Mutex that is held parks its caller at once; to switch to another
// goroutine and back takes several times as long as the mutex is held. To try
// for that long halves the time per permit where many goroutines want one and
// hold it for nothing, and takes a tenth off it where they yield, see
// BenchmarkContended.
func (g *Gate) lock() {
	for range spins {
		if g.mu.TryLock() {
			return
		}
	}
	g.mu.Lock()
}
