package gate

import "time"

// Stats is what a gate knows of itself at one moment.
type Stats struct {
	Mode       Mode
	Limit      int  // permits that may be out
	Suspended  bool // by Pause, until Resume
	Stopped    bool // for good, by Close or Drain
	Overloaded bool // see Config.Shed
	InFlight   int  // permits that are out; above Limit for a while after the limit was lowered
	Waiting    int  // callers in all queues, the lane's included
	MaxWaiting int  // how many there may be in the queue of DefaultClass

	// OldestWait is how long the longest waiter has waited; 0 if nobody does.
	OldestWait time.Duration

	// Shadow, LeakAfter and StackEvery are those of Config.
	Shadow     bool
	LeakAfter  time.Duration
	StackEvery int

	// Adaptive is what there is to say about a limit that the gate finds by
	// itself.
	Adaptive AdaptiveStats

	// Share is what there is to say about a limit that is bounded by SetShare.
	Share ShareStats

	Counts // of all classes and the lane together

	// Classes are the classes, DefaultClass first and the others as they
	// were configured.
	Classes []ClassStats

	// OutOfBand is the lane of Config.OutOfBand; Max is its
	// size.
	OutOfBand ClassStats
}

// ClassStats is what a gate knows of one of its classes.
type ClassStats struct {
	Class      // its configuration, with the defaults filled in but for Max
	InFlight   int
	Waiting    int
	OldestWait time.Duration
	Counts

	// Wait and Hold tell how long those waited that had to, and how long
	// permits were held, in the last 10 to 20 seconds in which anything
	// happened. Of permits that Acquire gave out at once only one in 64 is
	// timed where the gate is not observed and does not look for leaks.
	Wait, Hold Percentiles
}

// Counts are totals since the gate was made.
type Counts struct {
	Acquired     uint64        // permits given out, also to callers whose context ended at that moment
	Waited       uint64        // of these, to callers that had to wait
	WaitDuration time.Duration // time that all have waited whose wait is over, however it ended

	// Callers that the gate refused, by reason: ErrQueueFull and so on. In
	// shadow mode, callers that it would have refused, each counted once.
	// UnknownClass is 0 in the counts of a class.
	QueueFull   uint64
	WaitTimeout uint64
	Deadline    uint64
	Shed        uint64
	Deadlock    uint64
	TooHeavy    uint64
	Paused      uint64
	Closed      uint64

	UnknownClass uint64

	Canceled uint64 // left because their context ended before they were given a permit
	Leaked   uint64 // permits held longer than Config.LeakAfter
}

// Refused returns how many callers the gate refused, for any reason.
func (c Counts) Refused() uint64 {
	n := uint64(0)
	for r := ErrQueueFull; r < ErrCanceled; r++ {
		n += *c.of(r)
	}
	return n
}

// RefusedFor returns how many callers the gate refused for that reason, and for
// ErrCanceled how many left.
func (c Counts) RefusedFor(reason Reason) uint64 {
	if n := c.of(reason); n != nil {
		return *n
	}
	return 0
}

func (c *Counts) of(reason Reason) *uint64 {
	switch reason {
	case ErrQueueFull:
		return &c.QueueFull
	case ErrWaitTimeout:
		return &c.WaitTimeout
	case ErrDeadline:
		return &c.Deadline
	case ErrShed:
		return &c.Shed
	case ErrDeadlock:
		return &c.Deadlock
	case ErrTooHeavy:
		return &c.TooHeavy
	case ErrPaused:
		return &c.Paused
	case ErrClosed:
		return &c.Closed
	case ErrUnknownClass:
		return &c.UnknownClass
	case ErrCanceled:
		return &c.Canceled
	}
	return nil
}

func (c *Counts) add(d Counts) {
	c.Acquired += d.Acquired
	c.Waited += d.Waited
	c.WaitDuration += d.WaitDuration
	for r := ErrQueueFull; r <= ErrCanceled; r++ {
		*c.of(r) += *d.of(r)
	}
	c.Leaked += d.Leaked
}

// Stats returns what the gate knows of itself, all of one moment. It takes the
// gate's lock for a few microseconds for each class.
func (g *Gate) Stats() Stats {
	adaptive := g.adaptation.snapshot()
	g.mu.Lock()
	defer g.mu.Unlock()
	now := g.now()
	g.endShare(now)
	s := Stats{
		Mode:       g.config.Mode,
		Adaptive:   adaptive,
		Share:      g.shareStats(max(g.wanted, adaptive.Max)),
		Limit:      g.limit,
		Suspended:  g.paused,
		Stopped:    g.closed,
		Overloaded: g.overload.on || g.laneOverload.on,
		Shadow:     g.config.Shadow,
		LeakAfter:  g.config.LeakAfter,
		StackEvery: g.config.StackEvery,
		InFlight:   g.inFlight,
		Waiting:    g.waiting,
		MaxWaiting: queueBound(g.classes[0].MaxWaiting, g.wanted),
		Classes:    make([]ClassStats, len(g.classes)),
	}
	for i, c := range g.classes {
		s.Counts.add(c.counts)
		s.Classes[i] = g.statsOf(c, now)
	}
	s.Counts.add(g.lane.counts)
	s.UnknownClass = g.unknownClass
	s.OutOfBand = g.statsOf(g.lane, now)
	s.OldestWait = s.OutOfBand.OldestWait
	for _, c := range s.Classes {
		s.OldestWait = max(s.OldestWait, c.OldestWait)
	}
	s.OutOfBand.Max = g.laneSize()
	return s
}

// statsOf is called with g.mu held.
func (g *Gate) statsOf(c *class, now time.Duration) ClassStats {
	s := ClassStats{
		Class:    c.Class,
		InFlight: c.inFlight,
		Waiting:  c.waiting,
		Counts:   c.counts,
		Wait:     c.history.recentWaits(),
		Hold:     c.history.recentHolds(),
	}
	s.MaxWaiting = queueBound(c.MaxWaiting, g.wanted)
	s.OldestWait = g.oldestOf(c, now)
	return s
}

// oldestOf is how long the longest waiter of c has waited.
func (g *Gate) oldestOf(c *class, now time.Duration) (oldest time.Duration) {
	if c.queue.n > 0 {
		oldest = now - c.queue.head.since
	}
	q := &g.nested
	if c == g.lane {
		q = &g.laneNested
	}
	for w := q.head; w != nil; w = w.next {
		if w.class == c {
			return max(oldest, now-w.since)
		}
	}
	return oldest
}
