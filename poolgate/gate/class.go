package gate

import (
	"context"
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// DefaultClass is the class of callers that name none. Every gate has it; a
// [Class] of this name configures it.
const DefaultClass = "default"

// maxPassed is how often a class is passed over by later callers of other classes
// until it goes first, whatever the reservations and priorities say, and how many
// permits there are between two that are given out so. So classes with nothing of
// their own together still get one permit in seventeen.
const maxPassed = 16

// A Class is a kind of caller: the web's requests, the nightly reports. Each
// has a queue of its own, first in, first out unless Config.Shed has it
// otherwise. The gate decides which class gets a permit when it becomes free:
//
//  1. any class, for a waiter whose goroutine holds a permit already,
//  2. a class that was passed over 16 times: one permit in 17 at most,
//  3. a class that has less than its Reserved in flight,
//  4. the class of the highest Priority,
//  5. the class whose first waiter came first.
//
// While nobody waits anybody gets a free permit, reserved or not, within Max:
// what a class has reserved and does not use is lent, and comes back to it
// first, as soon as a permit is released. Where others hold permits for long that
// is late. Give those classes a Max, so that all their Max together leave what
// others have reserved free: a limit of 40, of which 10 are reserved for the web,
// leaves 30 for reports and imports together.
type Class struct {
	// Name names the class, in WithClass and in Stats. It must not be empty.
	Name string

	// Reserved is how many permits of the limit are the class's own. All
	// reservations together must not exceed Config.Limit.
	Reserved int

	// Max is how many permits the class may have out at once. Zero means as
	// many as the limit says.
	Max int

	// Priority orders the classes for what nobody has reserved: the higher
	// first. Zero, the default, is in the middle: it may be negative.
	Priority int

	// MaxWaiting and MaxWait bound the class's queue as Config's bound all
	// queues together that say nothing else. Zero means Config's.
	MaxWaiting int
	MaxWait    time.Duration
}

type classKey struct{}

// classContext is a context that carries the name of a class. Its value for
// classKey is the context itself.
type classContext struct {
	context.Context
	name  string
	found atomic.Pointer[class] // the one of that name, in the gate that asked last
}

func (c *classContext) Value(key any) any {
	if key == (classKey{}) {
		return c
	}
	return c.Context.Value(key)
}

// WithClass returns a context with which every gate that has classes gives out
// permits of the class of that name. A gate without classes ignores it.
func WithClass(ctx context.Context, name string) context.Context {
	return &classContext{Context: ctx, name: name}
}

// ClassOf returns the name of the class that an Acquire with ctx would be of:
// DefaultClass if ctx carries none or the gate has no classes, and "" if the gate
// does not know the class.
func (g *Gate) ClassOf(ctx context.Context) string {
	if len(g.classes) == 1 {
		return DefaultClass
	}
	if c := g.classOf(ctx); c != nil {
		return c.Name
	}
	return ""
}

// classOf returns the class that ctx carries, or nil if the gate does not know
// it.
func (g *Gate) classOf(ctx context.Context) *class {
	carrier, ok := ctx.(*classContext) // no search, where nothing was added since
	if !ok {
		if carrier, ok = ctx.Value(classKey{}).(*classContext); !ok {
			return g.classes[0]
		}
	}
	if c := carrier.found.Load(); c != nil && c.gate == g {
		return c
	}
	c := g.named(carrier.name)
	if c != nil {
		carrier.found.Store(c)
	}
	return c
}

// classNameOf returns the name that ctx carries, or "".
func classNameOf(ctx context.Context) string {
	if carrier, ok := ctx.Value(classKey{}).(*classContext); ok {
		return carrier.name
	}
	return ""
}

func (g *Gate) named(name string) *class {
	for _, c := range g.classes {
		if c.Name == name {
			return c
		}
	}
	return nil
}

// refuseUnknown refuses a caller whose class the gate does not know.
func (g *Gate) refuseUnknown(ctx context.Context, name string, weight int) error {
	g.mu.Lock()
	end := observation{observers: g.observers}
	end.WaitStart = WaitStart{Weight: weight, Limit: g.limit, InFlight: g.inFlight}
	err := ctx.Err()
	if err == nil {
		e := &RejectedError{Reason: ErrUnknownClass, Class: name, Limit: g.limit, InFlight: g.inFlight}
		for _, c := range g.classes {
			e.Classes = append(e.Classes, c.Name)
		}
		g.unknownClass++
		err = e
	}
	g.mu.Unlock()
	return end.report(ctx, err)
}

// A class is a Class with its callers. Gate.mu guards everything but the embedded
// configuration and gate, which do not change.
type class struct {
	Class
	gate     *Gate
	inFlight int
	reserved int    // Reserved, in proportion to a share
	waiting  int    // those in queue, and those of Gate.nested or Gate.laneNested that are of the class
	queue    queue  // of newcomers
	passed   int    // how often newcomers were passed over since one was served from the queue
	servedAt uint64 // the gate's tickets when that was
	counts   Counts
	service  service
	retry    time.Duration // when the last of those that were refused should try again
	standing standing
	history  history
	movement movement
	stuck    int // permits out to those who are stuck, see deadlockState
}

func newClass(epoch time.Time, config Class) *class {
	c := &class{Class: config}
	c.history.epoch, c.history.counts = epoch, &c.counts
	return c
}

// newLane returns the class of those out of band.
func newLane(epoch time.Time, config Config) *class {
	return newClass(epoch, Class{Name: OutOfBandClass, MaxWaiting: config.MaxWaiting, MaxWait: config.MaxWait})
}

// newClasses returns the classes that config says, the default class first.
func newClasses(epoch time.Time, config Config) ([]*class, error) {
	classes := []*class{newClass(epoch, Class{Name: DefaultClass})}
	seen := make(map[string]bool)
	reserved := 0
	for i, c := range config.Classes {
		field := fmt.Sprintf("Config.Classes[%d]", i)
		switch {
		case c.Name == "":
			return nil, fmt.Errorf("gate: %s.Name must not be empty", field)
		case c.Name == OutOfBandClass:
			return nil, fmt.Errorf("gate: %s.Name must not be %q, which is the lane of Config.OutOfBand", field, c.Name)
		case seen[c.Name]:
			return nil, fmt.Errorf("gate: %s.Name is %q, as another's is", field, c.Name)
		case c.Reserved < 0:
			return nil, fmt.Errorf("gate: %s.Reserved must not be negative, got %d", field, c.Reserved)
		case c.Max < 0 || c.Max > 0 && c.Max < c.Reserved:
			return nil, fmt.Errorf("gate: %s.Max must be 0 or at least Reserved, which is %d, got %d", field, c.Reserved, c.Max)
		}
		if err := checkQueue(field, c.MaxWaiting, c.MaxWait); err != nil {
			return nil, err
		}
		seen[c.Name] = true
		reserved += min(c.Reserved, math.MaxInt-reserved)
		if c.Name == DefaultClass {
			classes[0].Class = c
		} else {
			classes = append(classes, newClass(epoch, c))
		}
	}
	if reserved > config.Limit {
		return nil, fmt.Errorf("gate: Config.Classes reserve %d permits, but Config.Limit is %d", reserved, config.Limit)
	}
	for _, c := range classes {
		if c.MaxWaiting == 0 {
			c.MaxWaiting = config.MaxWaiting
		}
		if c.MaxWait == 0 {
			c.MaxWait = config.MaxWait
		}
	}
	return classes, nil
}

// mayEnter reports whether the class may have n more permits out, if there are
// so many.
func (c *class) mayEnter(n int) bool { return c.Max == 0 || min(n, c.Max) <= c.Max-c.inFlight }

// cameAt is since when the class waits, in tickets: since its first newcomer came,
// or where it is served from the end of the queue, since it was served last.
func (c *class) cameAt() uint64 {
	if c.standing.on {
		return max(c.queue.head.ticket, c.servedAt)
	}
	return c.queue.head.ticket
}
