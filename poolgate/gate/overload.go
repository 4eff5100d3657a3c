package gate

import (
	"context"
	"math"
	"time"
)

// leastInterval is the shortest time that a queue has to stand for before it
// is one that stands.
const leastInterval = 100 * time.Millisecond

// newestLooked is among how many of those that came last the one is looked for
// whose work began last.
const newestLooked = 32

// overload tells a queue that stands, because more comes than can be done, from
// one that comes and goes with bursts: in the latter somebody gets through
// quickly in every interval. It follows CoDel (Nichols and Jacobson, RFC 8289)
// in the form that folly gave it: what counts is the least time that anybody
// had to wait in an interval. All of it is guarded by Gate.mu, and unused unless
// Config.Shed is set.
type overload struct {
	on       bool
	interval time.Duration
	target   time.Duration
	end      time.Duration // of the present interval; 0 if nobody waits
	least    time.Duration // that anybody waited in it; negative if nobody was served
	shed     int           // how many, since it is on
	next     time.Duration // when the next is
}

type startKey struct{}

// WithStart returns a context whose holder's work began at start, which is when
// a request came in. A gate that is overloaded, where Config.Shed is set, lets
// in first whose work began last; without WithStart it began with Acquire.
func WithStart(ctx context.Context, start time.Time) context.Context {
	return context.WithValue(ctx, startKey{}, start)
}

// StartOf returns when the work of ctx began, if WithStart has said so.
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

// pick returns who is next of a class that has waiters: the first, or while the
// gate is overloaded the one whose work began last. That one has the most time
// left; to those before it the answer would come too late in any order.
func (o *overload) pick(c *class) *waiter {
	if !o.on {
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
func (o *overload) observe(g *Gate, sojourn, now time.Duration) {
	if !g.config.Shed {
		return
	}
	if o.least < 0 || sojourn < o.least {
		o.least = sojourn
	}
}

// tick looks at an interval that has ended, and sheds.
func (o *overload) tick(g *Gate, now time.Duration) {
	if !g.config.Shed {
		return
	}
	if g.waiting == 0 || g.barred {
		o.on, o.end = false, 0
		return
	}
	if o.end == 0 {
		o.least = 0
		o.begin(g, now)
	}
	if now >= o.end {
		if o.least < 0 {
			o.least = g.oldestWait(now)
		}
		switch on := o.least > o.target; {
		case on && !o.on:
			o.on, o.shed, o.next = true, 0, now
		case !on:
			o.on = false
		}
		o.least = -1
		o.begin(g, now)
	}
	for o.on && now >= o.next {
		if !g.shedOne(now) {
			break
		}
		o.shed++
		o.next += time.Duration(float64(o.interval) / math.Sqrt(float64(o.shed)))
	}
	g.wake(now, max(o.end-now, 0))
	if o.on {
		g.wake(now, max(o.next-now, time.Millisecond))
	}
}

// begin begins an interval.
func (o *overload) begin(g *Gate, now time.Duration) {
	var p50, p90 time.Duration
	for _, c := range g.classes {
		p := c.history.recentHolds()
		p50, p90 = max(p50, p.P50), max(p90, p.P90)
	}
	o.interval = max(leastInterval, 2*p90)
	o.target = max(o.interval/10, p50)
	o.end = now + o.interval
}

// shedOne refuses the longest waiter of the lowest class, but of none that has
// less than its reservation.
func (g *Gate) shedOne(now time.Duration) bool {
	var lowest *class
	for _, c := range g.classes {
		if c.queue.n == 0 || c.inFlight < c.Reserved {
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
	for w.spared {
		if w = w.next; w == nil {
			return false
		}
	}
	g.refuse(w, now, ErrShed)
	return true
}

func (g *Gate) oldestWait(now time.Duration) (oldest time.Duration) {
	for c := range g.everyClass {
		if c.queue.n > 0 {
			oldest = max(oldest, now-c.queue.head.since)
		}
	}
	return oldest
}
