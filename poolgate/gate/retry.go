package gate

import (
	"math/rand/v2"
	"time"
)

const (
	// retryUnknown is the longest RetryAfter where nothing is known of how
	// quickly the class is served, and retryMost the longest of all.
	retryUnknown = time.Second
	retryMost    = 30 * time.Second
)

// retryAfter returns when a caller of c that gets an error for this reason should
// try again; 0 if there is nothing to wait for. It books a time for each caller
// that the gate refuses: at the rate at which the class is served, after the
// callers that wait and those that were refused before. So they come back one
// after the other, and not all at once. It is called with Gate.mu held.
func (c *class) retryAfter(reason Reason, now time.Duration) time.Duration {
	switch reason {
	case ErrQueueFull, ErrWaitTimeout, ErrDeadline, ErrShed, ErrCanceled:
	case ErrPaused:
		return spread(retryUnknown)
	default:
		return 0
	}
	each := c.service.each(now, c.inFlight)
	if each == 0 {
		return spread(retryUnknown)
	}
	if c.queue.n > 0 { // then the interval since the last grant counts too
		each += max(0, now-c.service.lastGrant-each) / serviceKept
	}
	each = min(each, retryMost)
	served := retryMost
	if n := time.Duration(c.queue.n); n <= retryMost/each {
		served = n * each
	}
	if reason == ErrCanceled { // the caller may have gone for good
		return spread(served)
	}
	c.retry = max(c.retry, now+served) + each
	if c.retry-now >= retryMost {
		c.retry = now + retryMost
		return spread(retryMost)
	}
	return c.retry - now
}

// spread returns a random time between half of d and d.
func spread(d time.Duration) time.Duration { return d/2 + rand.N(d/2+1) }

// each returns the time between two grants, of a class that has so many permits in
// flight, or retryMost if that is shorter; 0 if it is not known.
func (s *service) each(now time.Duration, inFlight int) time.Duration {
	switch {
	case s.knowsGrants(now):
		return max(time.Duration(min(s.interval, float64(retryMost))), 1)
	case s.knowsHolds(now):
		sum := 0.0
		n := min(s.holds, serviceKept)
		for _, d := range s.kept[:n] {
			sum += float64(d)
		}
		return max(time.Duration(min(sum/float64(n)/float64(max(inFlight, 1)), float64(retryMost))), 1)
	}
	return 0
}
