package gate

import "time"

// Stats is what a gate knows of itself at one moment.
type Stats struct {
	Mode       Mode
	Limit      int // permits that may be out
	Paused     bool
	InFlight   int // permits that are out; above Limit for a while after the limit was lowered
	Waiting    int // callers in the queues
	MaxWaiting int // how many there may be in the queue of DefaultClass

	// OldestWait is how long the longest waiter has waited; 0 if nobody does.
	OldestWait time.Duration

	Counts // of all classes together

	// Classes are the classes, DefaultClass first and the others as they
	// were configured.
	Classes []ClassStats
}

// ClassStats is what a gate knows of one of its classes.
type ClassStats struct {
	Class      // its configuration, with the defaults filled in but for Max
	InFlight   int
	Waiting    int
	OldestWait time.Duration
	Counts
}

// Counts are totals since the gate was made.
type Counts struct {
	Acquired     uint64        // permits given out
	Waited       uint64        // of these, to callers that had to wait
	WaitDuration time.Duration // time that all have waited whose wait is over, however it ended

	QueueFull   uint64 // refused with ErrQueueFull
	WaitTimeout uint64 // refused with ErrWaitTimeout
	Paused      uint64 // refused with ErrPaused
	Closed      uint64 // refused with ErrClosed
	Canceled    uint64 // left because their context ended while they waited
}

func (c *Counts) add(d Counts) {
	c.Acquired += d.Acquired
	c.Waited += d.Waited
	c.WaitDuration += d.WaitDuration
	c.QueueFull += d.QueueFull
	c.WaitTimeout += d.WaitTimeout
	c.Paused += d.Paused
	c.Closed += d.Closed
	c.Canceled += d.Canceled
}

// Stats returns what the gate knows of itself, all of one moment. It takes
// the gate's lock for well under a microsecond.
func (g *Gate) Stats() Stats {
	g.mu.Lock()
	defer g.mu.Unlock()
	s := Stats{
		Mode:       g.config.Mode,
		Limit:      g.limit,
		Paused:     g.paused,
		InFlight:   g.inFlight,
		Waiting:    g.waiting,
		MaxWaiting: queueBound(g.classes[0].MaxWaiting, g.limit),
		Classes:    make([]ClassStats, len(g.classes)),
	}
	now := time.Duration(0)
	if g.waiting > 0 {
		now = g.now()
	}
	for i, c := range g.classes {
		s.Counts.add(c.counts)
		of := &s.Classes[i]
		*of = ClassStats{Class: c.Class, InFlight: c.inFlight, Waiting: c.queue.n, Counts: c.counts}
		of.MaxWaiting = queueBound(c.MaxWaiting, g.limit)
		if c.queue.n > 0 {
			of.OldestWait = now - c.queue.head.since
			s.OldestWait = max(s.OldestWait, of.OldestWait)
		}
	}
	return s
}
