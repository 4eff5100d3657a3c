package gate

import (
	"fmt"
	"slices"
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

// stands reports whether somebody waits in the class and nothing has moved in it
// for a while.
func (c *class) stands(now time.Duration) bool {
	m := movement{c.counts.Acquired, c.inFlight, c.movement.at}
	if m != c.movement {
		m.at = now
		c.movement = m
	}
	return c.waiting > 0 && now-m.at >= standsAfter
}

// breakDeadlock looks whether waiters of a class that stands still can only be
// let in by goroutines that themselves wait so. The youngest waiter of these,
// which has the least to lose, is refused; as it gives back what it holds, the
// others go on. It is called with g.mu held.
func (g *Gate) breakDeadlock(now time.Duration) {
	if g.halted || g.config.IgnoreDeadlocks || g.nested.n+g.laneNested.n == 0 {
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
	hopeless := g.hopeless()
	var victim *waiter
	for _, w := range hopeless {
		if w.class.stands(now) && now-w.since >= standsAfter && !w.shadowed && (victim == nil || w.ticket > victim.ticket) {
			victim = w
		}
	}
	if victim == nil || g.shadow(victim, ErrDeadlock) {
		return
	}
	err := g.rejectWaiter(victim, now, ErrDeadlock)
	for _, w := range hopeless { // the victim among them
		g.owners.each(w.goroutine, func(h *hold) bool {
			info := h.info(now)
			info.Waiting = now - w.since
			err.Holders = append(err.Holders, info)
			return true
		})
	}
	g.resolve(victim, err)
}

// hopeless returns the waiters that hold permits and that nobody will ever let in.
// It starts from all waiters that hold some, as if all others had given back
// theirs. Then it lets in one that has room, as if that gave back its own too, and
// so on until there is no other. Newcomers have no part in it: they hold nothing
// that anybody waits for, and take nothing before those who hold.
//
// This is how Habermann finds out whether a state is safe (Prevention of system
// deadlocks, CACM 12(7), 1969).
func (g *Gate) hopeless() (all []*waiter) {
	s := deadlockState{g: g, wave: g.wave}
	for c := range g.everyClass {
		c.stuck = 0
	}
	for _, q := range []*queue{&g.nested, &g.laneNested} {
		for w := q.head; w != nil; w = w.next {
			if s.add(w, 1) > 0 { // else others have taken over what it held
				all = append(all, w)
			}
		}
	}
	for before := -1; before != len(all); {
		before = len(all)
		all = slices.DeleteFunc(all, s.letIn)
	}
	return all
}

// deadlockState is what the permits would be like if only those who are stuck held
// any. Each class has its own number of them in stuck.
type deadlockState struct {
	g     *Gate
	stuck int // permits of the limit
	wave  int // permits given out in this wave
}

// letIn reports whether w has room, and then gives back what it holds.
func (s *deadlockState) letIn(w *waiter) bool {
	c, size, used := w.class, s.g.limit, s.stuck
	inWaves := s.g.config.Mode == Chunked && c != s.g.lane
	switch {
	case c == s.g.lane:
		size, used = s.g.laneSize(), c.stuck
	case inWaves && s.stuck > 0:
		used = s.wave
	}
	if size == 0 { // by a share, which may rise
		return true
	}
	if min(w.weight, size) > size-used || c.Max > 0 && min(w.weight, c.Max) > c.Max-c.stuck {
		return false
	}
	if inWaves {
		s.wave += w.weight
	}
	s.add(w, -1)
	return true
}

// add adds what w holds to what is stuck, or with sign -1 takes it out, and
// returns how many permits that is.
func (s *deadlockState) add(w *waiter, sign int) (held int) {
	s.g.owners.each(w.goroutine, func(h *hold) bool {
		held += h.weight
		h.class.stuck += sign * h.weight
		if h.class != s.g.lane {
			s.stuck += sign * h.weight
		}
		return true
	})
	return held
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
