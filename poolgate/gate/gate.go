package gate

import (
	"context"
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
	limit    int
	inFlight int
	wave     int // permits given out in this wave; 0 whenever inFlight is
	free     *hold
	queue    queue
	closed   bool
	timer    *time.Timer // runs expire; nil until somebody has waited
	armed    bool        // timer is running: never later than the head's time is up
	lastWait time.Duration
	counts   counts
}

// New returns a gate, or an error that names the field of config that it
// cannot accept.
func New(config Config) (*Gate, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	return &Gate{
		config: config,
		epoch:  time.Now(),
		pool:   sync.Pool{New: newWaiter},
		limit:  config.Limit,
	}, nil
}

// Acquire returns a permit, waiting for one if it must. It returns ctx.Err()
// if ctx is done, even where a permit is free, or ends while waiting, and
// otherwise a [*RejectedError] if the gate refuses: ErrQueueFull at once,
// ErrWaitTimeout after Config.MaxWait, ErrClosed when the gate is closed.
//
// Waiters are served in the order in which they came. Whoever acquires a
// second permit while it holds one can wait for itself: take one permit for
// the whole of a work.
func (g *Gate) Acquire(ctx context.Context) (Permit, error) {
	if err := ctx.Err(); err != nil {
		return Permit{}, err
	}
	g.mu.Lock()
	if g.hasRoom() && !g.closed { // then nobody waits, see serve
		p := g.take()
		g.mu.Unlock()
		return p, nil
	}
	if g.closed {
		err := g.reject(ErrClosed, 0)
		g.mu.Unlock()
		return Permit{}, err
	}
	if g.queue.n >= g.config.maxWaiting(g.limit) {
		err := g.reject(ErrQueueFull, 0)
		g.mu.Unlock()
		return Permit{}, err
	}
	w := g.enqueue(ctx)
	g.mu.Unlock()
	return g.await(w)
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

// Close stops admission: it refuses everybody who waits, and whoever comes
// later, with ErrClosed. Permits that are out stay good until they are
// released. Close does not wait for them, and may be called again.
func (g *Gate) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.closed = true
	for w := g.queue.head; w != nil; w = g.queue.head {
		waited := g.dequeue(w, g.now())
		w.err = g.reject(ErrClosed, waited)
		w.ready <- struct{}{}
	}
	if g.timer != nil {
		g.timer.Stop()
	}
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
	served := g.giveBack(p)
	yield := served && g.counts.waited%yieldEvery == 0
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

// await waits for the outcome of w, which is queued, and takes w back.
func (g *Gate) await(w *waiter) (Permit, error) {
	select {
	case <-w.ready:
	case <-w.ctx.Done():
		g.mu.Lock()
		if w.queued {
			g.dequeue(w, g.now())
			g.counts.canceled++
			g.mu.Unlock()
			err := w.ctx.Err()
			g.recycle(w)
			return Permit{}, err
		}
		g.mu.Unlock()
		<-w.ready // decided before we had the lock: already sent
	}
	p, err := w.permit, w.err
	if err == nil {
		err = w.ctx.Err()
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
	g.counts.acquired--
	g.counts.waited--
	g.counts.canceled++
	g.giveBack(p)
}

func (g *Gate) recycle(w *waiter) {
	w.reset()
	g.pool.Put(w)
}

// What follows is called with g.mu held.

// hasRoom tells whether a permit is free, were nobody waiting.
func (g *Gate) hasRoom() bool {
	if g.config.Mode == Chunked {
		return g.wave < g.limit
	}
	return g.inFlight < g.limit
}

// take gives out a permit.
func (g *Gate) take() Permit {
	h := g.free
	if h == nil {
		h = &hold{gate: g}
	} else {
		g.free = h.next
	}
	g.inFlight++
	g.wave++
	g.counts.acquired++
	return Permit{hold: h, turn: h.turn}
}

// giveBack takes p back and tells whether a waiter was served with it.
func (g *Gate) giveBack(p Permit) bool {
	h := p.hold
	h.turn++
	h.next, g.free = g.free, h
	g.inFlight--
	if g.inFlight == 0 {
		g.wave = 0
	}
	return g.serve()
}

// serve gives permits to waiters while there are both, and tells whether
// there were. It is called whenever there may be room that was not there
// before, so that whenever g.mu is free there is no room or nobody waits.
func (g *Gate) serve() bool {
	if g.queue.n == 0 || !g.hasRoom() {
		return false
	}
	now := g.now()
	served := false
	for w := g.queue.head; w != nil && g.hasRoom(); w = g.queue.head {
		waited := g.dequeue(w, now)
		switch {
		case w.ctx.Err() != nil:
			w.err = w.ctx.Err()
			g.counts.canceled++
		case waited >= g.config.MaxWait: // the timer is late
			w.err = g.reject(ErrWaitTimeout, waited)
		default:
			w.permit = g.take()
			g.lastWait = waited
			g.counts.waited++
			served = true
		}
		w.ready <- struct{}{}
	}
	return served
}

// enqueue puts a waiter for ctx at the end of the queue and sees to it that
// the timer runs. Everybody may wait equally long, so the head's time is up
// first, and one timer serves all.
func (g *Gate) enqueue(ctx context.Context) *waiter {
	w := g.pool.Get().(*waiter)
	w.ctx = ctx
	w.since = g.now()
	g.queue.push(w)
	if !g.armed {
		g.arm(g.config.MaxWait)
	}
	return w
}

// dequeue takes w out of the queue and returns how long it was there.
func (g *Gate) dequeue(w *waiter, now time.Duration) time.Duration {
	g.queue.remove(w)
	waited := now - w.since
	g.counts.waitDuration += waited
	return waited
}

func (g *Gate) arm(d time.Duration) {
	g.armed = true
	if g.timer == nil {
		g.timer = time.AfterFunc(d, g.expire)
	} else {
		g.timer.Reset(d)
	}
}

// expire refuses those whose time is up, and rearms the timer for the next.
// It is run by the timer, without g.mu. The timer is not touched as waiters
// come and go: it may fire for one that is long gone, at most once in
// MaxWait, and then finds out here how long the present head still has.
func (g *Gate) expire() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.armed = false
	if g.closed {
		return
	}
	now := g.now()
	for w := g.queue.head; w != nil; w = g.queue.head {
		if left := g.config.MaxWait - (now - w.since); left > 0 {
			g.arm(left)
			return
		}
		waited := g.dequeue(w, now)
		w.err = g.reject(ErrWaitTimeout, waited)
		w.ready <- struct{}{}
	}
}

// reject counts a refusal and returns its error.
func (g *Gate) reject(reason error, waited time.Duration) *RejectedError {
	e := &RejectedError{
		Reason:     reason,
		Limit:      g.limit,
		InFlight:   g.inFlight,
		Waiting:    g.queue.n,
		Waited:     waited,
		RetryAfter: g.lastWait,
	}
	switch reason {
	case ErrQueueFull:
		g.counts.queueFull++
	case ErrWaitTimeout:
		g.counts.waitTimeout++
	case ErrClosed:
		g.counts.closed++
		e.RetryAfter = 0
	}
	return e
}

// now is the time on the gate's own clock, which costs half of time.Now.
func (g *Gate) now() time.Duration { return time.Since(g.epoch) }
