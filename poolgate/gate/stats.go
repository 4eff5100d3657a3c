package gate

import "time"

// Stats is what a gate knows of itself at one moment. The counts are totals
// since the gate was made.
type Stats struct {
	Mode       Mode
	Limit      int // permits that may be out
	InFlight   int // permits that are out; above Limit for a while after the limit was lowered
	Waiting    int // callers in the queue
	MaxWaiting int // how many there may be

	// OldestWait is how long the longest waiter has waited; 0 if nobody does.
	OldestWait time.Duration

	Acquired     uint64        // permits given out
	Waited       uint64        // of these, to callers that had to wait
	WaitDuration time.Duration // time that all have waited whose wait is over, however it ended

	QueueFull   uint64 // refused with ErrQueueFull
	WaitTimeout uint64 // refused with ErrWaitTimeout
	Closed      uint64 // refused with ErrClosed
	Canceled    uint64 // left because their context ended while they waited
}

// counts are the totals in Stats.
type counts struct {
	acquired, waited                         uint64
	waitDuration                             time.Duration
	queueFull, waitTimeout, closed, canceled uint64
}

// Stats returns what the gate knows of itself, all of one moment. It takes
// the gate's lock for well under a microsecond.
func (g *Gate) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Stats{
		Mode:         g.config.Mode,
		Limit:        g.limit,
		InFlight:     g.inFlight,
		Waiting:      g.queue.n,
		MaxWaiting:   g.config.maxWaiting(g.limit),
		Acquired:     g.counts.acquired,
		Waited:       g.counts.waited,
		WaitDuration: g.counts.waitDuration,
		QueueFull:    g.counts.queueFull,
		WaitTimeout:  g.counts.waitTimeout,
		Closed:       g.counts.closed,
		Canceled:     g.counts.canceled,
	}
	if g.queue.head != nil {
		s.OldestWait = g.now() - g.queue.head.since
	}
	return s
}
