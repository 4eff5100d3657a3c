package gate

import (
	"context"
	"math"
	"slices"
	"time"
)

const (
	// serviceSamples is how many grants and holds a class must have seen before
	// the gate refuses a caller for what they show. It looks at the last
	// serviceKept of them.
	serviceSamples = 16
	serviceKept    = 64

	// serviceMemory is how long they count, where holds are no longer than half
	// of that. Otherwise they count for twice as long as a hold takes.
	serviceMemory = time.Second

	// hurry is how many times as quickly as permits are given out the queue may
	// turn out to move, since others leave it too and estimates err: only a
	// newcomer that would still be late is refused on arrival.
	hurry = 2
)

// A service is what the callers of a class can expect: how quickly its queue
// moves, and how long its permits are held. It is guarded by Gate.mu.
type service struct {
	formed    time.Duration // when the queue did
	lastGrant time.Duration
	interval  float64 // between two grants while others wait, a moving average in ns
	grants    int
	granted   time.Duration // when the last of these was

	kept   [serviceKept]time.Duration // how long the last holds took
	holds  int
	held   time.Duration // when the last of these ended
	judged int           // how many holds there were when judge last looked

	// quickest and longest are the shortest and the longest hold in kept, or of
	// some more before judge looks. A permit completes the most work per second
	// if it goes to callers that have at least enough time left.
	quickest, enough, longest time.Duration
}

// start notes that a queue has formed, or that it may move again.
func (s *service) start(now time.Duration) { s.formed, s.lastGrant = now, now }

// grant notes that a waiter was given its permit.
func (s *service) grant(now time.Duration) {
	if s.forgets(now, s.granted) {
		s.grants = 0
	}
	s.grants++
	s.interval += (float64(now-s.lastGrant) - s.interval) / float64(min(s.grants, serviceKept))
	s.lastGrant, s.granted = now, now
}

// hold notes that a permit was held for d. If the holder's context had ended by
// then its work was cut off, and would have taken longer: it counts twice.
func (s *service) hold(now, d time.Duration, cutOff bool) {
	if s.forgets(now, s.held) {
		s.holds, s.judged, s.quickest, s.longest = 0, 0, math.MaxInt64, 0
	}
	if cutOff {
		d *= 2
	}
	s.kept[s.holds%serviceKept] = d
	s.quickest, s.longest = min(s.quickest, d), max(s.longest, d)
	s.held = now
	s.holds++
}

// holdSince notes that a permit which was given out before the queue formed came
// back. Nobody knows how long it was held, but if that may be less than any hold
// in kept, then holds have become shorter.
func (s *service) holdSince(now time.Duration) {
	if d := now - s.formed; d < s.quickest {
		s.hold(now, d, false)
	}
}

// forgets reports whether what was last noted at that time no longer counts.
func (s *service) forgets(now, noted time.Duration) bool {
	return now-noted > max(serviceMemory, 2*s.enough)
}

func (s *service) knowsGrants(now time.Duration) bool {
	return s.grants >= serviceSamples && !s.forgets(now, s.granted)
}

func (s *service) knowsHolds(now time.Duration) bool {
	return s.holds >= serviceSamples && !s.forgets(now, s.held)
}

// judge brings quickest and enough up to date. A permit that only goes to
// callers with at least the time x left completes one work in every
// E[min(hold, x)] / P(hold <= x); enough is the x for which that is shortest.
// Holds of always the same length give this length, and of two lengths the
// shorter, unless it is rare.
func (s *service) judge() {
	if s.judged > 0 && s.holds-s.judged < serviceSamples {
		return
	}
	s.judged = s.holds
	sorted := s.kept
	n := min(s.holds, serviceKept)
	slices.Sort(sorted[:n])
	s.quickest, s.longest = sorted[0], sorted[n-1]
	least, sum := math.Inf(1), 0.0
	for i, d := range sorted[:n] {
		sum += float64(d)
		if each := (sum + float64(d)*float64(n-1-i)) / float64(i+1); each < least {
			least, s.enough = each, d
		}
	}
}

// wouldMiss reports whether a newcomer, at the end of the queue of c, would hardly
// be done when its context ends.
func (s *service) wouldMiss(ctx context.Context, g *Gate, c *class) bool {
	now := g.now()
	deadline := deadlineOf(ctx, now)
	if deadline == 0 || !s.knowsGrants(now) || !s.knowsHolds(now) {
		return false
	}
	wait := s.interval * float64(c.queue.n+1) / hurry
	if wait <= float64(deadline-now-s.longest) {
		return false
	}
	s.judge()
	return wait > float64(deadline-now-s.quickest)
}

// isLate reports whether a permit would be wasted on w, which is next: it has
// less time left than any of the last holds took, or so little that the permit
// does more for those behind it, some of whom will otherwise be late.
func (s *service) isLate(w *waiter, c *class, now time.Duration) bool {
	left := w.deadline - now
	if w.deadline == 0 || left >= s.longest || !s.knowsHolds(now) {
		return false
	}
	s.judge()
	switch {
	case left < s.quickest:
		return true
	case left >= s.enough, c.gate.config.Mode == Chunked: // there a permit's time is that of its wave
		return false
	}
	last := c.queue.tail
	if last.deadline == 0 || !s.knowsGrants(now) {
		return false
	}
	spare := last.deadline - now - s.enough
	return spare >= 0 && s.interval*float64(c.queue.n) > float64(spare)
}

// deadlineOf returns when ctx ends, on the gate's clock; 0 if it never does.
func deadlineOf(ctx context.Context, now time.Duration) time.Duration {
	deadline, ok := ctx.Deadline()
	if !ok {
		return 0
	}
	left := time.Until(deadline)
	if left > math.MaxInt64-now {
		return 0
	}
	return max(1, now+left)
}
