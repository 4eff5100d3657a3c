package gate

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// A Gate hands out permits, see the package's documentation. All its methods
// are safe for concurrent use. Make one with [New].
type Gate struct {
	config Config
	epoch  time.Time // where the gate's monotonic clock begins
	pool   sync.Pool // of *waiter; the gate's own, so that a gate made in a synctest bubble stays in it

	mu       sync.Mutex // guards all below
	classes  []*class   // the default class first; the slice itself does not change
	limit    int
	inFlight int
	wave     int // permits given out in this wave; 0 whenever inFlight is
	waiting  int // in all queues
	tickets  uint64
	free     *hold
	paused   bool
	closed   bool
	barred   bool          // paused or closed
	drained  chan struct{} // closed when the last permit comes back; nil if nobody drains
	timer    *time.Timer   // runs expire; nil until somebody has waited
	armed    bool          // timer is running
	due      time.Duration // when it fires: not later than the time of any waiter is up
	lastWait time.Duration
	served   uint64 // waiters that were given a permit
}

// New returns a gate, or an error that names the field of config that it
// cannot accept.
func New(config Config) (*Gate, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	classes, err := newClasses(config)
	if err != nil {
		return nil, err
	}
	return &Gate{
		config:  config,
		epoch:   time.Now(),
		pool:    sync.Pool{New: newWaiter},
		classes: classes,
		limit:   config.Limit,
	}, nil
}

// Acquire returns a permit, waiting for one if it must. It returns ctx.Err()
// if ctx is done, even where a permit is free, or ends while waiting, and
// otherwise a [*RejectedError] if the gate refuses: ErrQueueFull at once,
// ErrWaitTimeout after Config.MaxWait, ErrPaused in place of both while it is
// paused, ErrClosed when it is closed.
//
// Waiters are served in the order in which they came, within the class that
// ctx carries, see [WithClass]; a class that the gate does not know is
// ErrUnknownClass. Whoever acquires a second permit while it holds one can wait
// for itself: take one permit for the whole of a work.
func (g *Gate) Acquire(ctx context.Context) (Permit, error) {
	if err := ctx.Err(); err != nil {
		return Permit{}, err
	}
	c := g.classes[0]
	if len(g.classes) > 1 {
		var err error
		if c, err = g.classOf(ctx); err != nil {
			return Permit{}, err
		}
	}
	g.mu.Lock()
	if g.hasRoom() && c.mayEnter() { // then nobody waits who could enter, see serve
		p := g.take(c)
		g.mu.Unlock()
		return p, nil
	}
	return g.wait(ctx, c)
}

// classOf returns the class that ctx carries.
func (g *Gate) classOf(ctx context.Context) (*class, error) {
	name, ok := ctx.Value(classKey{}).(string)
	if !ok {
		return g.classes[0], nil
	}
	for _, c := range g.classes {
		if c.Name == name {
			return c, nil
		}
	}
	return nil, fmt.Errorf("%w %q", ErrUnknownClass, name)
}

// SetLimit changes the limit, at least 1, while the gate is running. More
// permits are given out at once; fewer take effect as permits come back, and
// nobody loses one. In Chunked mode a higher limit lets more into the present
// wave.
func (g *Gate) SetLimit(n int) error {
	if err := checkLimit("SetLimit", n); err != nil {
		return err
	}
	g.mu.Lock()
	g.limit = n
	g.serve()
	g.mu.Unlock()
	return nil
}

// yieldEvery is how many waiters are served until a release yields the
// processor, see release.
const yieldEvery = 4

// release gives p back and serves whoever waits for it.
func (g *Gate) release(p Permit) {
	g.mu.Lock()
	if p.hold.turn != p.turn {
		g.mu.Unlock()
		panic("gate: Release of a permit that was released before")
	}
	g.giveBack(p)
	yield := g.waiting > 0 && g.serve() && g.served%yieldEvery == 0
	g.mu.Unlock()
	if yield {
		// A permit that is handed to a waiter is idle until that one runs,
		// and if holds are short a queue once formed never dissolves: each
		// acquire finds it, and pays for a switch of goroutines. Letting the
		// waiter run first undoes that: ten times the throughput where a hold
		// is nothing, see BenchmarkContended. A yield costs as much as a
		// switch, and one in four has the same effect as each.
		runtime.Gosched()
	}
}

// wait has the caller wait for a permit of class c, or refuses it. It is called
// with g.mu held, and returns without.
func (g *Gate) wait(ctx context.Context, c *class) (Permit, error) {
	if g.closed {
		err := g.reject(c, ErrClosed, 0)
		g.mu.Unlock()
		return Permit{}, err
	}
	if c.queue.n >= queueBound(c.MaxWaiting, g.limit) {
		err := g.reject(c, ErrQueueFull, 0)
		g.mu.Unlock()
		return Permit{}, err
	}
	w := g.enqueue(ctx, c)
	g.mu.Unlock()

	select {
	case <-w.ready:
	case <-ctx.Done():
		g.mu.Lock()
		if w.queued {
			g.dequeue(w, g.now())
			w.class.counts.Canceled++
			g.mu.Unlock()
			g.recycle(w)
			return Permit{}, ctx.Err()
		}
		g.mu.Unlock()
		<-w.ready // decided before we had the lock: already sent
	}
	p, err := w.permit, w.err
	if err == nil {
		err = ctx.Err()
		if err != nil { // granted, and cancelled before it was looked at
			g.decline(p)
			p = Permit{}
		}
	}
	g.recycle(w)
	return p, err
}

// decline gives back a permit that was granted but not used: the next waiter
// gets it, in Chunked mode within the same wave.
func (g *Gate) decline(p Permit) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.wave--
	counts := &p.hold.class.counts
	counts.Acquired--
	counts.Waited--
	counts.Canceled++
	g.giveBack(p)
	g.serve()
}

func (g *Gate) recycle(w *waiter) {
	w.reset()
	g.pool.Put(w)
}

// What follows is called with g.mu held.

// hasRoom tells whether a permit may be given out, were nobody waiting.
func (g *Gate) hasRoom() bool {
	if g.barred {
		return false
	}
	if g.config.Mode == Chunked {
		return g.wave < g.limit
	}
	return g.inFlight < g.limit
}

// take gives out a permit of class c.
func (g *Gate) take(c *class) Permit {
	h := g.free
	if h == nil {
		h = &hold{gate: g}
	} else {
		g.free = h.next
	}
	h.class = c
	g.inFlight++
	g.wave++
	c.inFlight++
	c.counts.Acquired++
	return Permit{hold: h, turn: h.turn}
}

// giveBack takes p back; serve has to follow.
func (g *Gate) giveBack(p Permit) {
	h := p.hold
	h.turn++
	h.next, g.free = g.free, h
	h.class.inFlight--
	g.inFlight--
	if g.inFlight == 0 {
		g.wave = 0
		if g.drained != nil {
			close(g.drained)
			g.drained = nil
		}
	}
}

// serve gives permits to waiters while there are both, and tells whether
// there were. It is called whenever there may be room that was not there
// before, so that whenever g.mu is free there is no room or nobody waits who
// could enter.
func (g *Gate) serve() bool {
	if g.waiting == 0 || !g.hasRoom() {
		return false
	}
	now := g.now()
	served := false
	for g.hasRoom() {
		c := g.nextClass()
		if c == nil {
			break
		}
		w := c.queue.head
		switch waited := now - w.since; {
		case w.ctx.Err() != nil:
			g.dequeue(w, now)
			w.err = w.ctx.Err()
			c.counts.Canceled++
		case waited >= c.MaxWait: // the timer is late
			g.dequeue(w, now)
			w.err = g.reject(c, ErrWaitTimeout, waited)
		default:
			g.passOver(w)
			g.dequeue(w, now)
			w.permit = g.take(c)
			c.counts.Waited++
			g.lastWait = waited
			g.served++
			served = true
		}
		w.ready <- struct{}{}
	}
	return served
}

// nextClass returns the class whose turn it is, or nil if nobody waits who
// could enter.
func (g *Gate) nextClass() *class {
	var next *class
	for _, c := range g.classes {
		if c.queue.n > 0 && c.mayEnter() && (next == nil || c.goesBefore(next)) {
			next = c
		}
	}
	return next
}

// passOver notes that w is served before those who came before it.
func (g *Gate) passOver(w *waiter) {
	for _, c := range g.classes {
		if c.queue.n > 0 && c.queue.head.ticket < w.ticket && c.mayEnter() {
			c.passed++
		}
	}
}

// enqueue puts a waiter for ctx at the end of its class's queue and sees to it
// that the timer fires no later than its time is up.
func (g *Gate) enqueue(ctx context.Context, c *class) *waiter {
	w := g.pool.Get().(*waiter)
	w.ctx = ctx
	w.class = c
	w.since = g.now()
	w.ticket = g.tickets
	g.tickets++
	c.queue.push(w)
	g.waiting++
	if due := w.since + c.MaxWait; !g.armed || due < g.due {
		g.arm(due, c.MaxWait)
	}
	return w
}

// dequeue takes w out of its queue and returns how long it was there.
func (g *Gate) dequeue(w *waiter, now time.Duration) time.Duration {
	c := w.class
	if c.queue.head == w {
		c.passed = 0
	}
	c.queue.remove(w)
	g.waiting--
	waited := now - w.since
	c.counts.WaitDuration += waited
	return waited
}

// arm has the timer fire at due, which is in d.
func (g *Gate) arm(due, d time.Duration) {
	g.armed, g.due = true, due
	if g.timer == nil {
		g.timer = time.AfterFunc(d, g.expire)
	} else {
		g.timer.Reset(d)
	}
}

// expire refuses those whose time is up, and rearms the timer for the next.
// It is run by the timer, without g.mu. The timer is not touched as waiters
// leave: it may fire for one that is long gone, at most once in MaxWait, and
// then finds out here how long the others still have. Within a class all may
// wait equally long, so only the heads have to be looked at.
func (g *Gate) expire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = false
	if g.closed {
		return
	}
	now := g.now()
	for _, c := range g.classes {
		for w := c.queue.head; w != nil; w = c.queue.head {
			due := w.since + c.MaxWait
			if due > now {
				if !g.armed || due < g.due {
					g.arm(due, due-now)
				}
				break
			}
			waited := g.dequeue(w, now)
			w.err = g.reject(c, ErrWaitTimeout, waited)
			w.ready <- struct{}{}
		}
	}
}

// reject counts a refusal and returns its error.
func (g *Gate) reject(c *class, reason error, waited time.Duration) *RejectedError {
	if g.paused && !g.closed {
		reason = ErrPaused
	}
	e := &RejectedError{
		Reason:     reason,
		Class:      c.Name,
		Limit:      g.limit,
		InFlight:   g.inFlight,
		Waiting:    c.queue.n,
		Waited:     waited,
		RetryAfter: g.lastWait,
	}
	switch reason {
	case ErrQueueFull:
		c.counts.QueueFull++
	case ErrWaitTimeout:
		c.counts.WaitTimeout++
	case ErrPaused:
		c.counts.Paused++
		e.RetryAfter = 0
	case ErrClosed:
		c.counts.Closed++
		e.RetryAfter = 0
	}
	return e
}

// now is the time on the gate's own clock, which costs half of time.Now.
func (g *Gate) now() time.Duration { return time.Since(g.epoch) }
