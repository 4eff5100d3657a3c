package gate

import (
	"time"
)

// AIMD is a [Finder] that adds one permit a second while the limit binds, and
// takes a tenth away when a statement fails: additive increase, multiplicative
// decrease, the rule of TCP (Jacobson, 1988). It is there for comparison: it
// knows of no limit but the one at which statements begin to fail. See
// docs/limit.md.
type AIMD struct {
	limit     int
	binding   int
	n         int
	decreased time.Time
	reason    string
}

// NewAIMD returns an AIMD that begins with the limit start, for
// [Adaptive.Finder]. It ignores the Aim.
func NewAIMD(_ Adaptive, start int) Finder {
	return &AIMD{limit: start, reason: "start"}
}

// Done reports a statement that has ended.
func (a *AIMD) Done(w Work) {
	a.n++
	if w.Binding {
		a.binding++
	}
	if (w.Failed || w.Overloaded) && !w.End.Add(-w.Took).Before(a.decreased) {
		a.decreased = w.End
		a.limit = a.limit * 9 / 10
		a.reason = "a statement failed"
		a.n, a.binding = 0, 0
	}
}

// Decide returns the limit for the next second.
func (a *AIMD) Decide(_ time.Time, least, most int) Decision {
	if a.n > 0 && 2*a.binding >= a.n {
		a.limit++
		a.reason = "no statement failed"
	}
	a.n, a.binding = 0, 0
	a.limit = max(least, min(a.limit, most))
	return Decision{Limit: a.limit, Center: a.limit, Reason: a.reason, Again: time.Second}
}
