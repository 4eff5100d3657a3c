package gate

import (
	"errors"
	"fmt"
	"time"
)

// ErrRejected matches every refusal, whatever its reason, by [errors.Is].
// The error itself is a [*RejectedError].
var ErrRejected = errors.New("rejected")

// The reasons for a refusal, each matched by [errors.Is].
var (
	// ErrQueueFull: Config.MaxWaiting others were waiting already.
	ErrQueueFull = errors.New("queue full")

	// ErrWaitTimeout: no permit came within Config.MaxWait.
	ErrWaitTimeout = errors.New("wait timeout")

	// ErrPaused: the gate was paused when the caller's wait had to end.
	ErrPaused = errors.New("paused")

	// ErrClosed: the gate was closed, before or while the caller waited.
	ErrClosed = errors.New("closed")
)

// RejectedError is what [Gate.Acquire] returns when it refuses a permit. It
// matches [ErrRejected] and its Reason. The counts are those of the moment of
// the refusal, without the caller that was refused.
type RejectedError struct {
	// Reason is ErrQueueFull, ErrWaitTimeout, ErrPaused or ErrClosed.
	Reason error

	// Class is the class of the caller, DefaultClass if it named none.
	Class string

	Limit    int // permits that may be out
	InFlight int // permits that were out
	Waiting  int // callers of the class that were waiting

	// Waited is how long the caller had waited.
	Waited time.Duration

	// RetryAfter is when to try again at the earliest: as long as the
	// caller that was let in last had waited. It is zero where nobody has
	// waited yet, and where trying again is of no use.
	RetryAfter time.Duration
}

// Error says what was refused, why, and how to mend it.
func (e *RejectedError) Error() string {
	switch e.Reason {
	case ErrQueueFull:
		return fmt.Sprintf("gate: rejected: queue full: %d of %d permits in flight and %d waiting%s; "+
			"send less at once, or raise MaxWaiting%s", e.InFlight, e.Limit, e.Waiting, e.inClass(), e.retry())
	case ErrWaitTimeout:
		return fmt.Sprintf("gate: rejected: wait timeout: no permit within %v, %d of %d in flight and %d waiting%s; "+
			"look for a holder that does not let go, or raise Limit or MaxWait%s",
			e.Waited.Round(time.Microsecond), e.InFlight, e.Limit, e.Waiting, e.inClass(), e.retry())
	case ErrPaused:
		return fmt.Sprintf("gate: rejected: paused, and nobody has resumed it within %v; %d waiting%s",
			e.Waited.Round(time.Microsecond), e.Waiting, e.inClass())
	}
	return fmt.Sprintf("gate: rejected: %v", e.Reason)
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

// Unwrap returns the reason.
func (e *RejectedError) Unwrap() error { return e.Reason }
