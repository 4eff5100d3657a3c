package gate

import (
	"fmt"
	"time"
)

// Defaults of [Config].
const (
	// DefaultMaxWait is the longest that anybody waits where
	// [Config.MaxWait] is zero. HikariCP and SQLAlchemy wait as long.
	DefaultMaxWait = 30 * time.Second

	// The queue's default bound: large enough that an ordinary burst is not
	// refused by a gate that somebody has just put in, small enough that
	// what waits at its end still has a chance.
	defaultWaitersPerPermit = 25
	defaultLeastMaxWaiting  = 1000
)

// NoWaiting as a [Config.MaxWaiting] refuses whoever finds no permit free.
const NoWaiting = -1

// Mode says how permits that come back are given out again.
type Mode int

const (
	// Sliding lets the next waiter in as soon as a permit comes back: a
	// semaphore. It keeps the limit in use at every moment and is right for
	// nearly everything.
	Sliding Mode = iota

	// Chunked lets callers in by waves: as many as the limit says, and
	// nobody more until the last of them is out. A wave that is not full yet
	// takes newcomers, and one that ran empty starts anew. It is how a
	// program that cuts its work into chunks behaves, and the last of each
	// wave is waited for by all.
	Chunked
)

// String returns "sliding" or "chunked".
func (m Mode) String() string {
	switch m {
	case Sliding:
		return "sliding"
	case Chunked:
		return "chunked"
	}
	return fmt.Sprintf("Mode(%d)", int(m))
}

// Config configures a [Gate]. Limit is all that it needs:
// gate.Config{Limit: 40} is complete.
type Config struct {
	// Limit is how many permits may be out at once, in Chunked mode how many
	// make a wave. At least 1; there is no default.
	Limit int

	// Mode is Sliding unless said otherwise.
	Mode Mode

	// MaxWaiting bounds the queue, of each class that says nothing else:
	// whoever would make it longer is refused with ErrQueueFull. Zero means
	// 25 for each permit and at least 1,000, and follows the limit when that
	// changes. NoWaiting refuses everybody who finds no permit free.
	MaxWaiting int

	// MaxWait is the longest that anybody waits, whatever the context
	// allows; then it is refused with ErrWaitTimeout. Zero means
	// DefaultMaxWait. Waiting is always bounded: whoever wants to wait for a
	// day says so.
	MaxWait time.Duration

	// Classes are the kinds of callers that are told apart, if any are; see
	// [Class] and [WithClass].
	Classes []Class
}

// withDefaults returns the configuration that c stands for, or what is wrong
// with it. MaxWaiting stays as it was given: its default follows the limit.
func (c Config) withDefaults() (Config, error) {
	if err := checkLimit("Config.Limit", c.Limit); err != nil {
		return c, err
	}
	if c.Mode != Sliding && c.Mode != Chunked {
		return c, fmt.Errorf("gate: Config.Mode must be Sliding or Chunked, not %v", c.Mode)
	}
	if err := checkQueue("Config", c.MaxWaiting, c.MaxWait); err != nil {
		return c, err
	}
	if c.MaxWait == 0 {
		c.MaxWait = DefaultMaxWait
	}
	return c, nil
}

// queueBound is how many may wait in a queue with the given MaxWaiting.
func queueBound(maxWaiting, limit int) int {
	switch maxWaiting {
	case NoWaiting:
		return 0
	case 0:
		return max(defaultWaitersPerPermit*limit, defaultLeastMaxWaiting)
	}
	return maxWaiting
}

func checkQueue(field string, maxWaiting int, maxWait time.Duration) error {
	if maxWaiting < NoWaiting {
		return fmt.Errorf("gate: %s.MaxWaiting must not be negative (but for NoWaiting), got %d", field, maxWaiting)
	}
	if maxWait < 0 {
		return fmt.Errorf("gate: %s.MaxWait must not be negative, got %v", field, maxWait)
	}
	return nil
}

func checkLimit(name string, n int) error {
	if n < 1 {
		return fmt.Errorf("gate: %s must be at least 1, got %d", name, n)
	}
	return nil
}
