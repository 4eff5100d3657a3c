package gate

import (
	"context"
	"math"
	"time"
)

// leastInterval is the shortest interval after which a queue can count as standing.
const leastInterval = 100 * time.Millisecond

// newestLooked is how many of the waiters that came last are compared to find the
// one whose work began last.
const newestLooked = 32

// stoppedFor is how many intervals late the gate must be at the end of one to take it
// that the process was stopped. How long anybody waited then says nothing about the
// load.
const stoppedFor = 10

// A standing is what a gate knows of a class to tell a queue that stands, because more
// comes than can be done, from one that comes and goes with bursts: with bursts some
// caller gets through quickly in every interval. It follows CoDel (Nichols and Jacobson,
// RFC 8289) in the form of folly: the shortest wait in an interval counts. Each class has
// its own, since a class that is served at once, because permits are reserved for it, does
// not show that another is flooded. It is guarded by Gate.mu, and unused unless
// Config.Shed is set.
type standing struct {
	on       bool
	interval time.Duration
	target   time.Duration
	end      time.Duration // of the present interval; 0 if nobody waits
	least    time.Duration // the shortest wait in it; negative if no waiter was served
}

// overload is what a gate does about queues that stand: those of its classes, and
// by itself that of the lane. It is guarded by Gate.mu.
type overload struct {
	classes []*class

	on   bool          // some class's queue stands
	shed int           // how many, since it is on
	next time.Duration // when the next is

	// How long permits were held in the last 10 to 20 seconds, the longest of all
	// classes. Each class's history has to be read for this, which the gate does at
	// most every leastInterval.
	p50, p90 time.Duration
	looked   time.Duration // when; 0 if never
}

type startKey struct{}

// WithStart returns a context whose work began at start, such as the time when a
// request came in. With Config.Shed a gate that is overloaded serves first the caller
// whose work began last. Without WithStart work begins with Acquire.
func WithStart(ctx context.Context, start time.Time) context.Context {
	return context.WithValue(ctx, startKey{}, start)
}

// StartOf returns when the work of ctx began, and whether WithStart has set that.
func StartOf(ctx context.Context) (start time.Time, ok bool) {
	start, ok = ctx.Value(startKey{}).(time.Time)
	return start, ok
}

// beganWork is when the work of ctx began, on the gate's clock.
func (g *Gate) beganWork(ctx context.Context, now time.Duration) time.Duration {
	if start, ok := StartOf(ctx); ok {
		return min(now, start.Sub(g.epoch))
	}
	return now
}

// next returns who is next of a class that has waiters: the first, or while its
// queue stands the one whose work began last. That one has the most time left; to
// those before it the answer would come too late in any order.
func (c *class) next() *waiter {
	if !c.standing.on {
		return c.queue.head
	}
	newest := c.queue.tail
	for w, i := newest.prev, 1; w != nil && i < newestLooked; w, i = w.prev, i+1 {
		if w.began > newest.began {
			newest = w
		}
	}
	return newest
}

// observe notes, as somebody is let in, for how long the first of the class has
// been waiting.
func (s *standing) observe(sojourn time.Duration) {
	if s.least < 0 || sojourn < s.least {
		s.least = sojourn
	}
}

// tick looks at an interval of c that has ended.
func (s *standing) tick(g *Gate, c *class, o *overload, now time.Duration) {
	if c.queue.n == 0 || g.halted {
		s.on, s.end = false, 0
		return
	}
	if s.end == 0 {
		s.least = 0
		s.begin(o, now)
	}
	if now >= s.end {
		if now-s.end < stoppedFor*s.interval {
			if s.least < 0 {
				s.least = now - c.queue.head.since
			}
			s.on = s.least > s.target
		}
		s.least = -1
		s.begin(o, now)
	}
	g.wake(now, s.end-now)
}

// begin begins an interval.
func (s *standing) begin(o *overload, now time.Duration) {
	s.interval = max(leastInterval, 2*o.p90)
	s.target = max(s.interval/10, o.p50)
	s.end = now + s.interval
}

// tick looks at intervals that have ended, and sheds.
func (o *overload) tick(g *Gate, now time.Duration) {
	if o.looked == 0 || now-o.looked >= leastInterval {
		o.p50, o.p90, o.looked = 0, 0, now
		for _, c := range o.classes {
			p := c.history.recentHolds()
			o.p50, o.p90 = max(o.p50, p.P50), max(o.p90, p.P90)
		}
	}
	var interval time.Duration // of those that stand
	for _, c := range o.classes {
		if c.standing.tick(g, c, o, now); c.standing.on {
			interval = max(interval, c.standing.interval)
		}
	}
	if on := interval > 0; on != o.on {
		o.on, o.shed, o.next = on, 0, now
	}
	if !o.on {
		return
	}
	if now-o.next > interval { // there is nothing to catch up on
		o.next = now
	}
	for now >= o.next && o.shedOne(g, now) {
		o.shed++
		o.next += time.Duration(float64(interval) / math.Sqrt(float64(o.shed)))
	}
	g.wake(now, max(o.next-now, time.Millisecond))
}

// shedOne refuses the longest newcomer of the lowest class, but of none that has
// less than its reservation.
func (o *overload) shedOne(g *Gate, now time.Duration) bool {
	var lowest *class
	for _, c := range o.classes {
		if c.queue.n == 0 || c.inFlight < c.reserved {
			continue
		}
		if lowest == nil || c.Priority < lowest.Priority ||
			c.Priority == lowest.Priority && c.queue.head.ticket < lowest.queue.head.ticket {
			lowest = c
		}
	}
	if lowest == nil {
		return false
	}
	w := lowest.queue.head
	for w.shadowed {
		if w = w.next; w == nil {
			return false
		}
	}
	g.refuse(w, now, ErrShed)
	return true
}
