package fleet

import (
	"math/rand/v2"
	"time"
)

const (
	edgeInterval  = 250 * time.Millisecond // between heartbeats of a member, at least
	perSecond     = 50                     // heartbeats of a fleet, about
	soonPerSecond = 200                    // heartbeats of members that lack something, about
)

// interval is the time between heartbeats of a fleet of so many active members, and
// how long a row is good.
func interval(members int) (between, ttl time.Duration) {
	h := min(max(float64(members)/perSecond, 1), 10)
	ttl = time.Duration(max(10, 3*h) * float64(time.Second))
	h *= 1 + 0.2*rand.Float64()
	return time.Duration(h * float64(time.Second)), ttl
}

// soon is when a member looks again that lacks something, after so many looks that
// changed nothing. Those that have too much see that within half a second.
func soon(looks, members int) time.Duration {
	wait := max(edgeInterval<<min(looks, 6), time.Duration(members)*time.Second/soonPerSecond)
	return time.Duration(float64(wait) * (0.9 + 0.2*rand.Float64()))
}

// A pace bounds the heartbeats of a member: one a second on average, and not more than
// burst of them with edgeInterval between.
type pace struct {
	credit float64 // heartbeats that may be sent
	last   time.Time
}

const burst = 5

func (p *pace) creditAt(now time.Time) float64 {
	if p.last.IsZero() {
		return burst
	}
	return min(burst, p.credit+now.Sub(p.last).Seconds())
}

// wait returns how long to wait for the next heartbeat.
func (p *pace) wait(now time.Time) time.Duration {
	wait := time.Duration((1 - p.creditAt(now)) * float64(time.Second))
	if !p.last.IsZero() {
		wait = max(wait, edgeInterval-now.Sub(p.last))
	}
	return wait
}

func (p *pace) spend(now time.Time) { p.credit, p.last = p.creditAt(now)-1, now }
