package gate

import (
	"context"
	"time"
)

const (
	// serviceSamples is how many grants and holds have to be seen before
	// anybody is refused for what they say.
	serviceSamples = 16

	// serviceMemory is for how long they say it.
	serviceMemory = time.Second
)

// service is what a class can expect: how quickly its queue moves, and how long
// its permits are held. All of it is guarded by Gate.mu.
type service struct {
	lastGrant time.Duration
	interval  float64 // between two grants while others wait, a moving average in ns
	grants    int
	learned   time.Duration // when the last of these was

	hold  float64 // half of the holds take longer than that, in ns
	holds int
}

// busy notes that a queue has formed.
func (s *service) busy(now time.Duration) { s.lastGrant = now }

// granted notes that a waiter was let in.
func (s *service) granted(now time.Duration) {
	d := float64(now - s.lastGrant)
	if now-s.learned > serviceMemory {
		s.grants = 0
	}
	s.grants++
	s.interval += (d - s.interval) / float64(min(s.grants, serviceSamples))
	s.lastGrant, s.learned = now, now
}

// held notes how long a permit was held: a median that moves by a twentieth
// towards each sample.
func (s *service) held(d time.Duration) {
	x := float64(d)
	switch s.holds++; {
	case s.holds == 1:
		s.hold = x
	case x > s.hold:
		s.hold += min(x-s.hold, s.hold/20+1)
	default:
		s.hold -= min(s.hold-x, s.hold/20)
	}
}

// usual is how long half of the holds take at least; 0 if too little is known.
func (s *service) usual() time.Duration {
	if s.holds < serviceSamples {
		return 0
	}
	return time.Duration(s.hold)
}

// wouldMiss predicts whether a newcomer, at the end of the queue of c, would
// still be at work when its context ends.
func (s *service) wouldMiss(ctx context.Context, g *Gate, c *class) bool {
	deadline, ok := ctx.Deadline()
	if !ok || s.grants < serviceSamples || s.holds < serviceSamples || g.now()-s.learned > serviceMemory {
		return false
	}
	wait := time.Duration(s.interval * float64(c.queue.n+1))
	return wait+s.usual() > time.Until(deadline)
}

// tooLate tells whether who would be let in now has less time left than half of
// the holds take.
func (s *service) tooLate(now, deadline time.Duration) bool {
	return deadline > 0 && now+s.usual() > deadline
}

// deadlineOf is when ctx ends, on the gate's clock; 0 if it has no deadline.
func deadlineOf(ctx context.Context, now time.Duration) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	return max(1, now+time.Until(deadline))
}
