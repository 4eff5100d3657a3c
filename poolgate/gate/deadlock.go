package gate

import (
	"fmt"
	"strings"
	"time"

	"github.com/poolgate/poolgate/internal/goroutines"
)

const (
	// standsAfter is how long a class that has waiters must have stood still
	// before it is looked at for a deadlock: a goroutine that has just handed
	// its permit to another gets that much time.
	standsAfter = 15 * time.Millisecond

	// A search takes at most one part in so many of the time.
	searchShare = 20
)

// deadlockSearch is how often deadlocks are searched for.
type deadlockSearch struct{ cost time.Duration } // of the last search

func (s *deadlockSearch) patience() time.Duration { return max(standsAfter, searchShare*s.cost) }

// movement is what changes whenever a permit of a class comes or goes.
type movement struct {
	acquired uint64
	inFlight int
	at       time.Duration // since when it is so
}

// stands tells whether nothing has moved in the class for a while.
func (c *class) stands(now time.Duration) bool {
	m := movement{c.counts.Acquired, c.inFlight, c.movement.at}
	if m != c.movement {
		m.at = now
		c.movement = m
	}
	return c.queue.n > 0 && now-m.at >= standsAfter
}

// breakDeadlock looks whether waiters of a class that stands still can only be
// let in by goroutines that themselves wait so. The youngest waiter of these,
// which has the least to lose, is refused; as it gives back what it holds, the
// others go on. It is called with g.mu held.
func (g *Gate) breakDeadlock(now time.Duration) {
	if g.halted || g.config.IgnoreDeadlocks {
		return
	}
	stands := false
	for c := range g.everyClass {
		stands = c.stands(now) || stands
	}
	if !stands {
		return
	}
	defer func() { g.search.cost = g.now() - now }()
	waits := g.waitingHolders()
	hopeless := g.hopeless(waits)
	var victim *waiter
	for _, w := range waits {
		if hopeless[w.class] && w.class.stands(now) && now-w.since >= standsAfter && !w.shadowed &&
			(victim == nil || w.ticket > victim.ticket) {
			victim = w
		}
	}
	if victim == nil || g.shadow(victim, ErrDeadlock) {
		return
	}
	err := g.rejectWaiter(victim, now, ErrDeadlock)
	for _, h := range g.holds {
		if !h.out {
			continue
		}
		if w := waits[h.owner.Load()]; w != nil && hopeless[w.class] { // the victim among them
			info := h.info(now)
			info.Waiting = now - w.since
			err.Holders = append(err.Holders, info)
		}
	}
	g.resolve(victim, err)
}

// waitingHolders are the waiters, by their goroutine, that hold a permit.
func (g *Gate) waitingHolders() map[int64]*waiter {
	owners := make(map[int64]bool)
	for _, h := range g.holds {
		if id := h.owner.Load(); h.out && id != 0 {
			owners[id] = true
		}
	}
	waits := make(map[int64]*waiter)
	if len(owners) == 0 {
		return waits
	}
	for c := range g.everyClass {
		for w := c.queue.head; w != nil; w = w.next {
			if owners[w.goroutine] {
				waits[w.goroutine] = w
			}
		}
	}
	return waits
}

// hopeless are the classes whose waiters nobody will ever let in. It starts
// from all and takes out those that somebody can move who is not waiting, or
// waits in a class that was taken out, until there are no more of these.
func (g *Gate) hopeless(waits map[int64]*waiter) map[*class]bool {
	hopeless := make(map[*class]bool)
	for c := range g.everyClass {
		hopeless[c] = c.queue.n > 0
	}
	for changed := true; changed; {
		changed = false
		moving := make(map[*class]bool) // some holder of the class will release
		anyMoving := false              // and so in any class of the limit
		for _, h := range g.holds {
			if !h.out {
				continue
			}
			if w := waits[h.owner.Load()]; w == nil || !hopeless[w.class] {
				moving[h.class] = true
				anyMoving = anyMoving || h.class != g.lane
			}
		}
		for c := range g.everyClass {
			if !hopeless[c] {
				continue
			}
			some := anyMoving
			if c == g.lane {
				some = moving[c]
			}
			if (some || g.fits(c)) && (moving[c] || c.mayEnter(g.weightOf(c))) {
				hopeless[c], changed = false, true
			}
		}
	}
	return hopeless
}

// addStacks adds where each holder stands. It stops the world for as long as it
// takes to print the stacks of all goroutines.
func addStacks(holders []HolderInfo) {
	stacks := goroutines.Take()
	for i := range holders {
		h := &holders[i]
		if g, ok := stacks.Find(h.Goroutine); ok {
			h.Stack = stackOf(g)
		}
	}
}

// stackOf prints g as callStack.String does.
func stackOf(g goroutines.Goroutine) string {
	var b strings.Builder
	for _, f := range g.Frames {
		if !f.Created && !isInternal(f.Function) {
			fmt.Fprintf(&b, "%s\n\t%s\n", f.Function, f.Place)
		}
	}
	return b.String()
}
