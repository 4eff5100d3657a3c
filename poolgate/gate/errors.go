package gate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
)

// ErrRejected matches every refusal, whatever its reason, by [errors.Is].
// The error itself is a [*RejectedError].
var ErrRejected = errors.New("rejected")

// A Reason is why a caller did not get a permit. Each is an error of its own, for
// [errors.Is]:
//
//	if errors.Is(err, gate.ErrQueueFull) { ... }
//
// String returns the reason as metrics and logs have it.
type Reason uint8

// The reasons, in a fixed order.
const (
	// ErrQueueFull: Config.MaxWaiting others were waiting already.
	ErrQueueFull Reason = iota + 1

	// ErrWaitTimeout: no permit came within Config.MaxWait.
	ErrWaitTimeout

	// ErrDeadline: the caller's context would end before its work is done, judged
	// by how quickly the queue moves and how long permits are held.
	ErrDeadline

	// ErrShed: the gate is overloaded, see Config.Shed.
	ErrShed

	// ErrDeadlock: the caller held a permit while it waited for another, and
	// so did every caller that could have let it in. The gate finds this
	// in about 30 ms. The youngest of them gets the error, and when it releases what it
	// holds the others go on.
	//
	// The gate finds waits in one gate of goroutines that it knows as owners of
	// permits: those that called Permit.SetOwner, as package poolgate does
	// whenever a connection is used. It does not find circles that go through
	// anything else, such as a mutex, a channel, a row lock or a second gate;
	// Config.MaxWait ends those.
	//
	// A gate cannot see that a permit or an open transaction was handed to
	// another goroutine until that goroutine uses it. It never sees that open
	// rows were handed on, since they are read without its knowledge. Where the
	// owners of all permits wait for others, and nothing moves meanwhile, it
	// takes them for stuck, even if other goroutines are about to give those
	// permits back. Config.IgnoreDeadlocks is for programs built like this.
	ErrDeadlock

	// ErrTooHeavy: Request.Weight is more than the gate ever gives out at once.
	ErrTooHeavy

	// ErrPaused: the gate was paused when the caller's wait had to end.
	ErrPaused

	// ErrClosed: the gate was closed, before or while the caller waited.
	ErrClosed

	// ErrUnknownClass: the gate has classes, and none of the name that the
	// context or the Request carries.
	ErrUnknownClass

	// ErrCanceled: the caller's context ended while it waited. The error also
	// matches the context's own, context.Canceled or context.DeadlineExceeded.
	// The gate did not refuse this caller, so Reasons does not list it and
	// Counts.Refused does not count it.
	ErrCanceled
)

var reasonTexts = [...]string{
	ErrQueueFull:    "queue full",
	ErrWaitTimeout:  "wait timeout",
	ErrDeadline:     "deadline",
	ErrShed:         "shed",
	ErrDeadlock:     "deadlock",
	ErrTooHeavy:     "too heavy",
	ErrPaused:       "paused",
	ErrClosed:       "closed",
	ErrUnknownClass: "unknown class",
	ErrCanceled:     "canceled",
}

// Error returns the reason as text, such as "queue full".
func (r Reason) Error() string {
	if r == 0 || int(r) >= len(reasonTexts) {
		return fmt.Sprintf("Reason(%d)", uint8(r))
	}
	return reasonTexts[r]
}

// String returns the reason as one word, such as "queue_full".
func (r Reason) String() string { return strings.ReplaceAll(r.Error(), " ", "_") }

// Reasons returns every reason for which a gate refuses, in a fixed order.
func Reasons() []Reason {
	var all []Reason
	for r := ErrQueueFull; r < ErrCanceled; r++ {
		all = append(all, r)
	}
	return all
}

// RejectedError is what [Gate.Acquire] returns when it gives no permit, unless the
// context was done before. It matches [ErrRejected], its Reason and, for
// ErrCanceled, the error of the context. The counts are those of that moment,
// without the caller itself.
type RejectedError struct {
	// Reason is why: ErrQueueFull, ErrWaitTimeout and so on.
	Reason Reason

	// Class is the class of the caller, DefaultClass if it named none.
	Class string

	Limit    int // permits that may be out
	InFlight int // permits that were out
	Waiting  int // callers of the class that were waiting

	// Waited is how long the caller had waited.
	Waited time.Duration

	// RetryAfter is how long to wait before trying again: at the rate at which
	// the class is served, the time until the gate could serve the callers that
	// wait and those that it refused before. So callers that obey it come back
	// one after the other. It is at most 30 s, and at most 1 s where the gate
	// does not know the rate. It is 0 for ErrTooHeavy, ErrClosed and
	// ErrUnknownClass, where trying again is of no use, and for ErrDeadlock,
	// where nothing has to be waited for.
	RetryAfter time.Duration

	// Classes are, for ErrUnknownClass, the names of the classes that the gate
	// has.
	Classes []string

	// Holders are, for ErrDeadlock, those that hold permits and wait for
	// others, the refused caller among them, with the statement that each
	// named and the stack where it stands.
	Holders []HolderInfo

	context error // the context's, for ErrCanceled
}

// Error says what was refused, why, and what to do about it.
func (e *RejectedError) Error() string {
	if e.Limit == 0 && (e.Reason == ErrWaitTimeout || e.Reason == ErrDeadline) {
		return fmt.Sprintf("gate: rejected: %v: no permit within %v%s, as the gate has no share of its fleet's budget; "+
			"fleet.Fleet.Stats says why: a fleet that is new, or whose store was away, needs up to 30 s",
			e.Reason, e.Waited.Round(time.Microsecond), e.inClass())
	}
	switch e.Reason {
	case ErrQueueFull:
		return fmt.Sprintf("gate: rejected: queue full: %d of %d permits in flight and %d waiting%s; "+
			"send less at once, or raise MaxWaiting%s", e.InFlight, e.Limit, e.Waiting, e.inClass(), e.retry())
	case ErrWaitTimeout:
		return fmt.Sprintf("gate: rejected: wait timeout: no permit within %v, %d of %d in flight and %d waiting%s; "+
			"look for a holder that does not let go, or raise Limit or MaxWait%s",
			e.Waited.Round(time.Microsecond), e.InFlight, e.Limit, e.Waiting, e.inClass(), e.retry())
	case ErrDeadline:
		return fmt.Sprintf("gate: rejected: deadline: the context would end before the work is done, "+
			"%d of %d permits in flight and %d waiting%s; give it more time, or send less at once%s",
			e.InFlight, e.Limit, e.Waiting, e.inClass(), e.retry())
	case ErrShed:
		return fmt.Sprintf("gate: rejected: shed: overloaded, %d waiting%s, this one since %v; send less%s",
			e.Waiting, e.inClass(), e.Waited.Round(time.Microsecond), e.retry())
	case ErrDeadlock:
		return e.deadlock()
	case ErrTooHeavy:
		return fmt.Sprintf("gate: rejected: too heavy: more permits%s than there ever are, which is at most %d",
			e.inClass(), e.Limit)
	case ErrPaused:
		return fmt.Sprintf("gate: rejected: paused, and nobody has resumed it within %v; %d waiting%s",
			e.Waited.Round(time.Microsecond), e.Waiting, e.inClass())
	case ErrCanceled:
		text := fmt.Sprintf("gate: rejected: %v after a wait of %v for a permit, %d of %d in flight and %d waiting%s",
			e.context, e.Waited.Round(time.Microsecond), e.InFlight, e.Limit, e.Waiting, e.inClass())
		if errors.Is(e.context, context.DeadlineExceeded) {
			text += "; give it more time, send less at once, or look for a holder that does not let go"
		}
		return text
	case ErrUnknownClass:
		return fmt.Sprintf("gate: rejected: unknown class %q; the gate has %q, and Config.Classes adds others", e.Class, e.Classes)
	}
	return fmt.Sprintf("gate: rejected: %v: the gate admits nobody any more%s, %d of %d permits in flight", e.Reason, e.inClass(), e.InFlight, e.Limit)
}

// deadlock tells who holds what, and the line of each that is nearest to the
// wait and not of the standard library or poolgate.
func (e *RejectedError) deadlock() string {
	var b strings.Builder
	fmt.Fprintf(&b, "gate: rejected: deadlock: %d of %d permits in flight, and this goroutine holds one and waited for another%s, "+
		"as does everybody who could let it in; take one permit for all that a piece of work does, "+
		"such as the transaction for every statement inside of it, close rows before the next query, "+
		"or use DB.OutOfBand for the second statement",
		e.InFlight, e.Limit, e.inClass())
	for _, h := range e.Holders {
		fmt.Fprintf(&b, "; goroutine %d holds %d for %v", h.Goroutine, h.Weight, h.Held.Round(time.Microsecond))
		if h.Statement != "" {
			fmt.Fprintf(&b, " (%s)", h.Statement)
		}
		if line := innermost(h.Stack); line != "" {
			fmt.Fprintf(&b, " and waits at %s", line)
		}
	}
	return b.String()
}

func (e *RejectedError) inClass() string {
	if e.Class == DefaultClass {
		return ""
	}
	return fmt.Sprintf(" in class %q", e.Class)
}

func (e *RejectedError) retry() string {
	if e.RetryAfter <= 0 {
		return ""
	}
	return fmt.Sprintf("; retry after %v", e.RetryAfter.Round(time.Microsecond))
}

// Is reports whether target is ErrRejected.
func (e *RejectedError) Is(target error) bool { return target == ErrRejected }

// Unwrap returns the reason, and for ErrCanceled the context's error too.
func (e *RejectedError) Unwrap() []error {
	if e.context != nil {
		return []error{e.Reason, e.context}
	}
	return []error{e.Reason}
}
