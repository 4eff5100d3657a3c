package gate

import (
	"fmt"
	"math"
	"time"
)

// Gradient2 is a [Finder] that compares the statements of a second with a long
// average and lowers the limit as they become slower. It is the algorithm of
// that name in Netflix's concurrency-limits, which many services use, here for
// comparison: a long average learns a lasting overload as the normal state, and
// several gates on one server drive each other up. See docs/limit.md.
type Gradient2 struct {
	limit   float64
	long    float64 // the long average of statement times, in seconds
	seen    float64 // windows that long consists of, at most gradientMemory
	n       int
	sum     float64
	binding int
	reason  string
}

const (
	gradientTolerance = 1.5 // how much longer than usual a statement may take
	gradientQueue     = 4   // permits that the limit grows by where nothing is slower
	gradientSmoothing = 0.2
	gradientMemory    = 600
	gradientWindow    = time.Second
)

// NewGradient2 returns a Gradient2 that begins with the limit start, for
// [Adaptive.Finder]. It ignores the Aim.
func NewGradient2(_ Adaptive, start int) Finder {
	return &Gradient2{limit: float64(start), reason: "start"}
}

// Done reports a statement that has ended.
func (g *Gradient2) Done(w Work) {
	switch {
	case w.Overloaded:
		g.limit *= 0.9
		g.reason = "the server refused work"
	case !w.Failed:
		g.n++
		g.sum += w.Took.Seconds()
		if w.Binding {
			g.binding++
		}
	}
}

// Decide returns the limit for the next second.
func (g *Gradient2) Decide(_ time.Time, least, most int) Decision {
	if g.n >= 10 {
		short := max(g.sum/float64(g.n), 1e-9) // and not 0, by which it would divide
		g.seen = min(g.seen+1, gradientMemory)
		g.long += (short - g.long) / g.seen
		if g.long > 2*short { // the overload that it has learnt is over
			g.long *= 0.95
		}
		if 2*g.binding >= g.n {
			gradient := max(0.5, min(1, gradientTolerance*g.long/short))
			want := gradient*g.limit + gradientQueue
			g.limit = g.limit*(1-gradientSmoothing) + want*gradientSmoothing
			g.reason = fmt.Sprintf("statements take %.2f times the long average", short/g.long)
		}
		g.n, g.sum, g.binding = 0, 0, 0
	}
	g.limit = max(float64(least), min(g.limit, float64(most)))
	n := int(math.Round(g.limit))
	return Decision{Limit: n, Center: n, Reason: g.reason, Again: gradientWindow}
}
