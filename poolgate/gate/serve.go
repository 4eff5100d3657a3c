package gate

import (
	"context"
	"time"

	"github.com/poolgate/poolgate/internal/operation"
)

// What follows decides who is let in, and is called with Gate.mu held.

// choosePath has Acquire and Release go the short way, where they only count,
// if there is nothing else to do. It is called whenever one of these changes.
func (g *Gate) choosePath() {
	g.plain = !g.halted && g.drained == nil && g.heavy == 0 && g.observers == nil &&
		g.config.Mode == Sliding && g.config.StackEvery == 0 && g.config.LeakAfter == 0
}

// hasRoom reports whether n more permits may be out, regardless of waiters. If n is
// more than the limit, because that was lowered, they may be out alone.
func (g *Gate) hasRoom(c *class, n int) bool {
	switch {
	case g.halted:
		return false
	case g.limit == 0: // by a share
		return false
	case c == g.lane:
		size := g.laneSize()
		return size > 0 && min(n, size) <= size-c.inFlight
	case g.config.Mode == Chunked:
		return min(n, g.limit) <= g.limit-g.wave
	}
	return min(n, g.limit) <= g.limit-g.inFlight
}

// isFree reports whether a newcomer may have n permits of class c at once. Where
// every weight is 1 nobody waits who could enter, see serve.
func (g *Gate) isFree(c *class, n int) bool {
	return g.heavy == 0 && g.hasRoom(c, n) && c.mayEnter(n)
}

// sampleEvery is of how many permits that Acquire gives out the short way one
// goes the long way, to have its hold time measured: to read the clock takes
// longer than Acquire.
const sampleEvery = 64

// take gives out n permits of class c.
func (g *Gate) take(c *class, n int, now time.Duration) *hold {
	h := g.free
	if h == nil {
		h = &hold{gate: g}
		g.holds = append(g.holds, h)
	} else {
		g.free = h.next
	}
	h.out, h.class, h.weight = true, c, n
	c.inFlight += n
	if c != g.lane {
		g.inFlight += n
		g.wave += n
	}
	c.history.turn(now)
	c.counts.Acquired++
	h.stamp(now)
	g.watchLeaks(now)
	return h
}

// giveBack takes h back; serve has to follow.
func (g *Gate) giveBack(h *hold) {
	h.class.inFlight -= h.weight
	if h.class != g.lane {
		g.inFlight -= h.weight
		if g.inFlight == 0 {
			g.wave = 0
		}
	}
	h.reset()
	h.next, g.free = g.free, h
	if g.drained != nil && g.isEmpty() {
		close(g.drained)
		g.drained = nil
		g.choosePath()
	}
}

// isEmpty reports whether no permit is out.
func (g *Gate) isEmpty() bool { return g.inFlight == 0 && g.lane.inFlight == 0 }

// serve gives permits to waiters while there are both, and reports whether it gave
// any. It is called whenever there may be room that was not there before, so
// that whenever g.mu is free there is no room or nobody waits who could enter.
func (g *Gate) serve(now time.Duration) (served bool) {
	if g.share.end > 0 && now >= g.share.end {
		g.endShare(now)
	}
	if g.waiting == 0 || g.halted {
		return false
	}
	full, laneFull := false, false
	if g.nested.n > 0 {
		served, full = g.serveNested(&g.nested, now)
	}
	if g.laneNested.n > 0 {
		some, none := g.serveNested(&g.laneNested, now)
		served, laneFull = served || some, none
	}
	for !full {
		c := g.nextClass()
		if c == nil {
			break
		}
		served = g.admit(c.next(), now) || served
	}
	for !laneFull && g.lane.queue.n > 0 && g.fits(g.lane) {
		served = g.admit(g.lane.next(), now) || served
	}
	return served
}

// serveNested gives permits to those who hold one already, in the order in which
// they came. Newcomers have to wait (full) while one of these does that only
// needs more permits than are free: if they took them, nobody who holds a permit
// would come to its end.
func (g *Gate) serveNested(q *queue, now time.Duration) (served, full bool) {
	for w := q.head; w != nil; {
		if !g.hasRoom(w.class, 1) {
			return served, true
		}
		next := w.next
		switch {
		case !w.class.mayEnter(w.weight): // only those of its class have to wait
		case !g.hasRoom(w.class, w.weight):
			full = true
		default:
			served = g.admit(w, now) || served
		}
		w = next
	}
	return served, full
}

// admit lets w in, unless it may not enter any more, and decides about it in any
// case. There is room for it.
func (g *Gate) admit(w *waiter, now time.Duration) bool {
	c := w.class
	waited := now - w.since
	switch {
	case w.ctx.Err() != nil:
		g.resolve(w, g.cancel(w, now))
		return false
	case waited >= c.MaxWait && g.refuse(w, now, ErrWaitTimeout): // the timer is late
		return false
	case !w.nested && c.service.isLate(w, c, now) && g.refuse(w, now, ErrDeadline):
		return false
	}
	if !w.nested { // which say nothing of what newcomers can expect
		g.passOver(w)
		c.standing.observe(now - c.queue.head.since)
		c.service.grant(now)
	}
	g.dequeue(w, now)
	h := g.take(c, w.weight, now)
	h.holder, h.deadline = w.holder, w.deadline
	w.hold = h
	c.counts.Waited++
	c.history.wait(now, waited)
	g.served++
	g.resolve(w, nil)
	return true
}

// resolve ends the wait of w, which has left its queue: with a refusal if there is
// one, otherwise with the permit that it was given.
func (g *Gate) resolve(w *waiter, refused *RejectedError) {
	w.refused = refused
	if g.lastResolved == nil {
		g.resolved = w
	} else {
		g.lastResolved.next = w
	}
	g.lastResolved = w
}

// unlock unlocks g.mu and wakes those that were resolved meanwhile: to wake a
// goroutine takes longer than to decide about it, and others want the lock.
func (g *Gate) unlock() {
	w := g.resolved
	g.resolved, g.lastResolved = nil, nil
	if g.adaptation != nil {
		g.note()
	}
	g.mu.Unlock()
	for w != nil {
		next := w.next
		w.next = nil
		w.ready <- struct{}{} // from here on it is somebody else's
		w = next
	}
}

// nextClass returns the class whose turn it is, or nil if no newcomer waits who
// could enter. A waiter that needs more permits than are free is passed over,
// until it has been too often: then all newcomers wait until they are free.
func (g *Gate) nextClass() *class {
	var next *class
	for _, c := range g.classes {
		if c.queue.n == 0 || !c.mayEnter(c.next().weight) || !g.fits(c) && !g.isOverdue(c) {
			continue
		}
		if next == nil || g.goesBefore(c, next) {
			next = c
		}
	}
	if next != nil && !g.fits(next) {
		return nil
	}
	return next
}

func (g *Gate) fits(c *class) bool { return g.hasRoom(c, c.next().weight) }

// isOverdue reports whether c, which was passed over too often, goes first. That is
// one permit in seventeen for all classes together: many of them would otherwise
// leave nothing to those that have a reservation.
func (g *Gate) isOverdue(c *class) bool { return c.passed >= maxPassed && g.sinceOverdue >= maxPassed }

// goesBefore reports whether the next permit goes to c rather than to d; both
// have waiters and may enter.
func (g *Gate) goesBefore(c, d *class) bool {
	if a, b := g.isOverdue(c), g.isOverdue(d); a != b {
		return a
	} else if a && c.passed != d.passed {
		return c.passed > d.passed
	} else if !a {
		if a, b := c.inFlight < c.reserved, d.inFlight < d.reserved; a != b {
			return a
		}
		if c.Priority != d.Priority {
			return c.Priority > d.Priority
		}
	}
	return c.cameAt() < d.cameAt()
}

// passOver notes that w is served before those who came before it.
func (g *Gate) passOver(w *waiter) {
	c := w.class
	if c == g.lane || len(g.classes) == 1 {
		return
	}
	if g.isOverdue(c) {
		g.sinceOverdue = 0
	} else {
		g.sinceOverdue = min(g.sinceOverdue+1, maxPassed)
	}
	c.passed = 0
	for _, d := range g.classes {
		if d != c && d.queue.n > 0 && d.cameAt() < w.ticket && d.mayEnter(d.next().weight) {
			d.passed++
		}
	}
	c.servedAt = g.tickets
}

// refusal returns why a caller that needs n permits may not wait, or nil if it may.
// A caller that holds a permit already is not in the queue of the newcomers.
func (g *Gate) refusal(ctx context.Context, c *class, n int) error {
	most := g.wanted
	if c == g.lane {
		most = g.config.laneSize(g.wanted)
	} else if c.Max > 0 {
		most = min(most, c.Max)
	}
	switch {
	case g.closed:
		return g.reject(ctx, c, ErrClosed, 0)
	case n > most:
		return g.reject(ctx, c, ErrTooHeavy, 0)
	case g.isFree(c, n):
		return nil
	case c.MaxWaiting == NoWaiting:
		return g.reject(ctx, c, ErrQueueFull, 0)
	case g.owners.own(goroutine()):
		return nil
	case c.queue.n >= queueBound(c.MaxWaiting, g.wanted):
		return g.reject(ctx, c, ErrQueueFull, 0)
	case !g.halted && !c.standing.on && c.service.wouldMiss(ctx, g, c):
		return g.reject(ctx, c, ErrDeadline, 0)
	}
	return nil
}

// refuse ends the wait of w with an error, and reports whether it did: in shadow
// mode it counts the refusal, once, and w continues to wait.
func (g *Gate) refuse(w *waiter, now time.Duration, reason Reason) bool {
	if g.shadow(w, reason) {
		return false
	}
	g.resolve(w, g.rejectWaiter(w, now, reason))
	return true
}

func (g *Gate) shadow(w *waiter, reason Reason) bool {
	if g.config.Shadow && !w.shadowed {
		w.shadowed = true
		w.class.countRefusal(reason, g.now())
	}
	return g.config.Shadow
}

// rejectWaiter takes w out of its queue and returns its error; resolve has to
// follow.
func (g *Gate) rejectWaiter(w *waiter, now time.Duration, reason Reason) *RejectedError {
	return g.reject(w.ctx, w.class, reason, g.dequeue(w, now))
}

// cancel takes w out of its queue, since its context has ended, and returns its
// error.
func (g *Gate) cancel(w *waiter, now time.Duration) *RejectedError {
	e := g.rejectWaiter(w, now, ErrCanceled)
	e.context = w.ctx.Err()
	return e
}

// enqueue puts a waiter for ctx at the end of its class's queue.
func (g *Gate) enqueue(ctx context.Context, c *class, r Request) *waiter {
	w := g.pool.Get().(*waiter)
	w.ctx = ctx
	w.class = c
	w.weight = r.Weight
	w.holder = r.Holder
	w.since = g.now()
	w.began = w.since
	if g.config.Shed {
		w.began = g.beganWork(ctx, w.since)
	}
	w.deadline = deadlineOf(ctx, w.since)
	w.goroutine = goroutine()
	w.nested = g.owners.own(w.goroutine)
	w.ticket = g.tickets
	g.tickets++
	if c.queue.n == 0 && !w.nested {
		c.service.start(w.since)
		c.standing.least = 0
	}
	g.queueOf(w).push(w)
	c.waiting++
	g.waiting++
	if w.weight > 1 {
		g.heavy++
		g.choosePath()
	}
	g.wake(w.since, min(c.MaxWait, g.search.patience()))
	return w
}

// queueOf returns the queue that w is in.
func (g *Gate) queueOf(w *waiter) *queue {
	switch {
	case !w.nested:
		return &w.class.queue
	case w.class == g.lane:
		return &g.laneNested
	}
	return &g.nested
}

// everyQueue yields all queues.
func (g *Gate) everyQueue(yield func(*queue) bool) {
	for c := range g.everyClass {
		if !yield(&c.queue) {
			return
		}
	}
	_ = yield(&g.nested) && yield(&g.laneNested)
}

// dequeue takes w out of its queue and returns how long it was there.
func (g *Gate) dequeue(w *waiter, now time.Duration) time.Duration {
	c := w.class
	g.queueOf(w).remove(w)
	c.waiting--
	g.waiting--
	if w.weight > 1 {
		g.heavy--
		g.choosePath()
	}
	waited := now - w.since
	c.counts.WaitDuration += waited
	return waited
}

// reject counts a refusal and returns its error.
func (g *Gate) reject(ctx context.Context, c *class, reason Reason, waited time.Duration) *RejectedError {
	e := g.rejection(c, reason, waited)
	if !operation.IsOptional(ctx) {
		c.countRefusal(e.Reason, g.now())
	}
	return e
}

// rejection returns the error of a caller of c. While the gate is paused that is
// the reason why a wait ends.
func (g *Gate) rejection(c *class, reason Reason, waited time.Duration) *RejectedError {
	if g.paused && !g.closed && reason != ErrTooHeavy && reason != ErrCanceled {
		reason = ErrPaused
	}
	e := &RejectedError{
		Reason:   reason,
		Class:    c.Name,
		Limit:    g.limit,
		InFlight: g.inFlight,
		Waiting:  c.waiting,
		Waited:   waited,
	}
	if c == g.lane {
		e.Limit, e.InFlight = g.laneSize(), c.inFlight
	}
	e.RetryAfter = c.retryAfter(reason, g.now())
	return e
}

func (c *class) countRefusal(reason Reason, now time.Duration) {
	c.history.turn(now)
	*c.counts.of(reason)++
}
