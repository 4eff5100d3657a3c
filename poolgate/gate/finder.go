package gate

import (
	"fmt"
	"time"
)

// A Finder finds the limit of an adaptive gate: it sees how long each
// statement took and decides how many may be in flight. [PairedProbe] is the
// default; [Gradient2] and [AIMD] stand next to it for comparison.
//
// A gate calls its Finder from many goroutines but one at a time, without
// holding the gate's own lock. A Finder takes the time only from its
// arguments, so that it runs in virtual time too. It belongs to one gate.
type Finder interface {
	// Done reports a statement that has ended.
	Done(w Work)

	// Decide returns the limit from now on, which must be between least and most.
	// These may differ from one call to the next: Gate.SetLimit changes most, and
	// so does a share. The gate calls Decide when it starts, after Decision.Again,
	// and at once after a Work that was Overloaded.
	Decide(now time.Time, least, most int) Decision
}

// Work is one statement, or whatever else a permit was used for, that has
// ended.
type Work struct {
	End  time.Time     // when it ended
	Took time.Duration // how long the server worked on it, the way there and back included

	// Failed reports whether it ended with an error. A failure is often
	// quicker than a success, so its duration says nothing about the server.
	Failed bool

	// Overloaded reports whether the server itself said that it has too much
	// to do, as PostgreSQL does by an SQLSTATE of class 53, or by refusing a
	// connection.
	Overloaded bool

	// Binding reports whether somebody waited for a permit as it ended: only
	// then does the limit decide what happens.
	Binding bool

	// InFlight is how many permits were out as it ended. It is known, and not
	// 0, only if Binding.
	InFlight int
}

// A Decision is what a [Finder] decides.
type Decision struct {
	// Limit is how many permits may be out from now on. The gate keeps it
	// within the bounds that it gave.
	Limit int

	// Center is the limit that the Finder thinks is right, around which it
	// probes. It equals Limit for those that do not probe. It may be above the
	// bounds, if the Finder remembers what it found before they became narrower.
	Center int

	// Reason says in a few words why Center is what it is, for logs and pages.
	Reason string

	// Again is when to decide the next time. Zero means in a second.
	Again time.Duration
}

// Aim says what an adaptive limit prefers where throughput and latency want
// different limits.
type Aim int

const (
	// Balanced takes a higher limit while 10 % more in flight brings about
	// 2 to 4 % more throughput.
	Balanced Aim = iota

	// LowLatency stops earlier: where 10 % more in flight bring less than
	// about 4 %.
	LowLatency

	// HighThroughput goes on for longer: while 10 % more in flight brings about
	// 1 to 3 %.
	HighThroughput
)

var aims = [...]string{Balanced: "balanced", LowLatency: "low-latency", HighThroughput: "high-throughput"}

// String returns "balanced", "low-latency" or "high-throughput".
func (a Aim) String() string {
	if a < 0 || int(a) >= len(aims) {
		return fmt.Sprintf("Aim(%d)", int(a))
	}
	return aims[a]
}

// MarshalText returns what String does, or an error for an Aim that does not
// exist.
func (a Aim) MarshalText() ([]byte, error) {
	if a < 0 || int(a) >= len(aims) {
		return nil, fmt.Errorf("gate: there is no Aim %d", int(a))
	}
	return []byte(aims[a]), nil
}

// UnmarshalText reads what MarshalText writes.
func (a *Aim) UnmarshalText(text []byte) error {
	for i, name := range aims {
		if string(text) == name {
			*a = Aim(i)
			return nil
		}
	}
	return fmt.Errorf("gate: there is no Aim %q: it is balanced, low-latency or high-throughput", text)
}
