package gate

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Defaults of [Config].
const (
	// DefaultMaxWait is how long a caller waits at most if [Config.MaxWait] is
	// zero, as in HikariCP and SQLAlchemy.
	DefaultMaxWait = 30 * time.Second

	// The queue's default bound: large enough that an ordinary burst is not
	// refused by a gate that somebody has just put in, small enough that
	// what waits at its end still has a chance.
	defaultWaitersPerPermit = 25
	defaultLeastMaxWaiting  = 1000
)

// NoWaiting as a [Config.MaxWaiting] refuses every caller that finds no permit free.
const NoWaiting = -1

// Mode says how permits that come back are given out again.
type Mode int

const (
	// Sliding lets the next waiter in as soon as a permit comes back: a
	// semaphore. It keeps the limit in use at every moment and is right for
	// nearly everything.
	Sliding Mode = iota

	// Chunked lets callers in by waves: as many as the limit allows, and no
	// others until the last of them has released its permit. A wave that is not
	// full takes newcomers, and when all have released theirs a new wave starts. A
	// program that cuts its work into chunks behaves like this: everyone waits for
	// the last of each wave.
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
	// make a wave. At least 1; there is no default, but where Adaptive is set.
	Limit int

	// Adaptive has the gate find its limit by itself, beginning with Limit,
	// which may then be zero. Nil means that the limit is fixed.
	Adaptive *Adaptive

	// Mode is Sliding unless said otherwise.
	Mode Mode

	// MaxWaiting bounds the queue of each class that does not set its own. A
	// caller that finds the queue full is refused with ErrQueueFull. Zero means
	// 25 waiters for each permit and at least 1,000, and follows the limit.
	// NoWaiting refuses every caller that finds no permit free. A caller whose
	// goroutine holds a permit already goes before the queue, and the queue's
	// length does not stop it.
	MaxWaiting int

	// MaxWait is how long a caller waits at most, whatever its context allows.
	// Then it is refused with ErrWaitTimeout. Zero means DefaultMaxWait. There is
	// no value for waiting without a bound.
	MaxWait time.Duration

	// Classes are the kinds of callers that the gate distinguishes; see [Class]
	// and [WithClass].
	Classes []Class

	// OutOfBand is the size of the lane for Request.OutOfBand, whose permits do
	// not count towards the limit. A caller that holds a permit may take one of
	// these for a moment, and does not wait for itself. The lane has a queue of
	// its own, bounded like that of DefaultClass, and has no waves. Zero means a
	// quarter of the limit and at least 1, and follows the limit. NoOutOfBand
	// means none: such a request is refused with ErrTooHeavy. At most Limit +
	// OutOfBand permits are out.
	OutOfBand int

	// Shed has the gate, while a class is overloaded, let in first those of the
	// class whose work began last, see WithStart, and refuse with ErrShed those
	// of the lowest Priority that wait longest, more and more often. A class is
	// overloaded when everybody in it, for a whole interval, had to wait longer
	// than a target. The interval is 100 ms or twice what nine in ten permits
	// are held, whichever is longer; the target a tenth of that, or what half
	// of the permits are held.
	//
	// It is for callers that have somebody waiting for an answer. Leave it off
	// where a queue is meant to stand, such as before a batch of work.
	Shed bool

	// Shadow makes the gate count in Stats what it would refuse, and refuse only
	// what comes after Close. It shows what a configuration would do. The limit
	// still holds, so a caller whose context does not end can wait without end.
	Shadow bool

	// IgnoreDeadlocks turns the search for deadlocks off. ErrDeadlock says what
	// the gate cannot distinguish from one.
	IgnoreDeadlocks bool

	// LeakAfter is how long a permit may be held before the gate reports it, once,
	// to Observer.Leak and in Stats. Zero means never. It adds 120 ns to an
	// Acquire and Release, see BenchmarkWatched.
	LeakAfter time.Duration

	// StackEvery captures the stack of one caller in StackEvery that takes a
	// permit; 1 captures all. Zero means none. A capture takes a microsecond, see
	// BenchmarkWatched, and more on a deep stack.
	StackEvery int
}

// NoOutOfBand as a [Config.OutOfBand] makes a gate without a lane.
const NoOutOfBand = -1

// OutOfBandClass is the name of the lane of Config.OutOfBand, in Stats, in
// errors and to observers. No [Class] can have it.
const OutOfBandClass = "out-of-band"

// laneSize is how many permits the lane has now.
func (g *Gate) laneSize() int { return g.share.lane }

func (c Config) laneSize(limit int) int {
	switch n := c.OutOfBand; n {
	case NoOutOfBand:
		return 0
	case 0:
		return max(1, limit/4)
	default:
		return n
	}
}

// Highest returns the highest that the limit can be by itself: Adaptive.Max, or
// Limit if it is fixed.
func (c Config) Highest() int {
	switch {
	case c.Adaptive == nil:
		return c.Limit
	case c.Adaptive.Max == 0:
		return max(DefaultAdaptiveMax, c.Adaptive.Min)
	}
	return c.Adaptive.Max
}

// MostPermits returns how many permits may be out at most at any time, those
// out of band included, until SetLimit changes that, and whatever the share is. A
// pool behind the gate needs as many connections.
func (g *Gate) MostPermits() int {
	g.mu.Lock()
	limit := g.wanted
	g.mu.Unlock()
	if s := g.adaptation.snapshot(); s.Max > 0 {
		limit = s.Max
	}
	if lane := g.config.laneSize(limit); limit <= math.MaxInt-lane {
		return limit + lane
	}
	return math.MaxInt
}

// withDefaults returns the configuration that c stands for, or what is wrong
// with it. MaxWaiting stays as it was given: its default follows the limit.
func (c Config) withDefaults() (Config, error) {
	if c.Adaptive != nil {
		adaptive, start, err := c.Adaptive.withDefaults(c.Limit, c.Classes)
		if err != nil {
			return c, err
		}
		c.Adaptive, c.Limit = &adaptive, start
	}
	if err := checkLimit("Config.Limit", c.Limit); err != nil {
		return c, err
	}
	if c.Mode != Sliding && c.Mode != Chunked {
		return c, fmt.Errorf("gate: Config.Mode must be Sliding or Chunked, not %v", c.Mode)
	}
	if err := checkQueue("Config", c.MaxWaiting, c.MaxWait); err != nil {
		return c, err
	}
	switch {
	case c.OutOfBand < NoOutOfBand:
		return c, fmt.Errorf("gate: Config.OutOfBand must not be negative (but for NoOutOfBand), got %d", c.OutOfBand)
	case c.LeakAfter < 0:
		return c, fmt.Errorf("gate: Config.LeakAfter must not be negative, got %v", c.LeakAfter)
	case c.StackEvery < 0:
		return c, fmt.Errorf("gate: Config.StackEvery must not be negative, got %d", c.StackEvery)
	case c.Adaptive != nil && c.Mode == Chunked:
		return c, errors.New("gate: Config.Adaptive needs Mode Sliding: in waves the limit says little about what is in flight")
	case c.Shed && c.Mode == Chunked:
		return c, errors.New("gate: Config.Shed needs Mode Sliding: in waves a queue always stands")
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
		return max(defaultWaitersPerPermit*min(limit, math.MaxInt/defaultWaitersPerPermit), defaultLeastMaxWaiting)
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
