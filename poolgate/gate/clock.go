package gate

import (
	"math"
	"time"
)

// clock is the gate's one timer, which runs Gate.tick. It is not touched as
// waiters leave: it may fire for one that is long gone, and then finds out how
// long the others still have.
type clock struct {
	timer *time.Timer // nil until somebody has waited
	armed bool
	due   time.Duration // when it fires: not later than anything is to be done
}

// wake has tick run in d at the latest. It is called with g.mu held.
func (g *Gate) wake(now, d time.Duration) {
	k := &g.clock
	due := now + d
	if due < now { // d is as long as there is
		due = math.MaxInt64
	}
	if k.armed && k.due <= due {
		return
	}
	k.armed, k.due = true, due
	if k.timer == nil {
		k.timer = time.AfterFunc(d, g.tick)
	} else {
		k.timer.Reset(d)
	}
}

// tick does what is due: it refuses those whose time is up, sheds, looks for a
// deadlock and for leaks. It is run by the timer, without g.mu.
func (g *Gate) tick() {
	g.mu.Lock()
	g.clock.armed = false
	now := g.now()
	if g.waiting > 0 {
		g.expire(now)
		g.breakDeadlock(now)
	}
	if g.config.Shed {
		g.overload.tick(g, now)
		g.laneOverload.tick(g, now)
	}
	g.endShare(now)
	leaks := g.findLeaks(now)
	g.serve(now) // the weight of one that was refused may have been in the way
	if g.waiting > 0 {
		g.wake(now, g.search.patience())
	}
	observers, ended := g.observers, g.share.ended
	g.share.ended = nil
	g.unlock()
	report(observers, leaks...)
	if ended != nil { // the limit is 0, and Center and New with it
		ended.report(observers)
	}
}

// expire refuses those whose time is up. Newcomers of a class may all wait equally
// long, so the first whose time is not up ends the search in their queue.
func (g *Gate) expire(now time.Duration) {
	for q := range g.everyQueue {
		for w := q.head; w != nil; {
			next := w.next
			if left := w.class.MaxWait - (now - w.since); left > 0 {
				g.wake(now, left)
				if !w.nested {
					break
				}
			} else {
				g.refuse(w, now, ErrWaitTimeout)
			}
			w = next
		}
	}
}

// everyClass yields the classes and the lane.
func (g *Gate) everyClass(yield func(*class) bool) {
	for _, c := range g.classes {
		if !yield(c) {
			return
		}
	}
	yield(g.lane)
}
