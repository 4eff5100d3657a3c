package gate

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"time"
)

// HolderInfo describes the holder of a permit.
type HolderInfo struct {
	Class  string
	Weight int // permits

	// Held is how long the permit has been held, or 0 if that is not known. If the
	// gate has no observer and no LeakAfter, it times only one in 64 of the permits
	// that Acquire gives out without a wait.
	Held time.Duration

	// Goroutine is the number of the goroutine that works under the permit, as in
	// the stacks that Go prints, or 0 if it is not known. See Permit.SetOwner.
	Goroutine int64

	// Waiting is how long the goroutine has waited for another permit of this
	// gate. It is set in the Holders of an ErrDeadlock.
	Waiting time.Duration

	// Statement and Running are what the Statement method of Request.Holder
	// returned; Statement is "" if there is no Holder.
	Statement string
	Running   bool

	// Stack is where the permit was taken, if Config.StackEvery captured it. In
	// the Holders of an ErrDeadlock it is where the goroutine waits.
	Stack string

	// Leaked reports whether the permit was reported as a leak.
	Leaked bool

	holder Holder
	stack  *callStack
}

// Holders returns the holders of all permits, the longest first.
func (g *Gate) Holders() []HolderInfo {
	g.mu.Lock()
	now := g.now()
	var all []HolderInfo
	for _, h := range g.holds {
		if h.out {
			all = append(all, h.info(now))
		}
	}
	g.mu.Unlock()
	for i := range all {
		all[i].complete()
	}
	slices.SortStableFunc(all, func(a, b HolderInfo) int { return cmp.Compare(b.Held, a.Held) })
	return all
}

// info is called with g.mu held. complete, without it, adds what others say.
func (h *hold) info(now time.Duration) HolderInfo {
	i := HolderInfo{
		Class:     h.class.Name,
		Weight:    h.weight,
		Goroutine: h.owner.Load(),
		Leaked:    h.reported,
		holder:    h.holder,
		stack:     h.stack.Load(),
	}
	if h.stamped {
		i.Held = now - h.since
	}
	return i
}

func (i *HolderInfo) complete() {
	if i.holder != nil {
		i.Statement, i.Running = i.holder.Statement()
	}
	if i.stack != nil && i.Stack == "" {
		i.Stack = i.stack.String()
	}
	i.holder, i.stack = nil, nil
}

// String prints s as Go prints stacks, without what database/sql, pgx and
// poolgate do themselves.
func (s *callStack) String() string {
	var b strings.Builder
	frames := runtime.CallersFrames(s[:])
	for {
		f, more := frames.Next()
		if f.Function != "" && !isInternal(f.Function) {
			fmt.Fprintf(&b, "%s\n\t%s:%d\n", f.Function, f.File, f.Line)
		}
		if !more {
			return b.String()
		}
	}
}

// internals are the beginnings of the names of functions between the caller and
// the gate.
var internals = []string{
	"runtime.",
	"database/sql.",
	"github.com/jackc/pgx/v5.",
	"github.com/poolgate/poolgate/internal/goroutines.",
	"github.com/poolgate/poolgate/adapters/pgxpoolgate.",
}

// isInternal reports whether function belongs to the runtime, database/sql, pgx
// or poolgate.
func isInternal(function string) bool {
	for _, prefix := range internals {
		if strings.HasPrefix(function, prefix) {
			return true
		}
	}
	rest, ours := strings.CutPrefix(function, "github.com/poolgate/poolgate/poolgate")
	return ours && (rest[0] == '.' || rest[0] == '/') && !strings.Contains(rest, "_test.")
}

// innermost is the file and line of the function that a stack begins with.
func innermost(stack string) string {
	_, rest, _ := strings.Cut(stack, "\n")
	place, _, _ := strings.Cut(rest, "\n")
	return strings.TrimSpace(place)
}

// watchLeaks has the holders looked at, now that there is one.
func (g *Gate) watchLeaks(now time.Duration) {
	if g.config.LeakAfter > 0 && !g.clock.armed {
		g.wake(now, g.config.LeakAfter)
	}
}

// findLeaks is called with g.mu held.
func (g *Gate) findLeaks(now time.Duration) (found []Leak) {
	if g.config.LeakAfter == 0 {
		return nil
	}
	for _, h := range g.holds {
		if !h.out || h.reported {
			continue
		}
		if left := g.config.LeakAfter - (now - h.since); left > 0 {
			g.wake(now, left)
			continue
		}
		h.reported = true
		h.class.counts.Leaked++
		found = append(found, Leak{HolderInfo: h.info(now)})
	}
	return found
}

// leak is what is reported as h is given back, if it was reported before. It is
// called with g.mu held.
func (h *hold) leak(now time.Duration) (l Leak) {
	if h.reported {
		l = Leak{HolderInfo: h.info(now), Returned: true}
	}
	return l
}

func report(observers []*Observer, leaks ...Leak) {
	for _, l := range leaks {
		l.complete()
		for _, o := range observers {
			if o.Leak != nil {
				o.Leak(l)
			}
		}
	}
}
