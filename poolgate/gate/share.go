package gate

import (
	"math"
	"sort"
	"time"
)

// LimitShare is the reason of a change by SetShare.
const LimitShare = "share"

// A share bounds the limit from outside. All is guarded by Gate.mu.
type share struct {
	held bool
	n    int
	end  time.Duration // on the gate's clock, when n becomes 0; 0 for never
	lane int           // how much of n the lane out of band has

	fleet FleetStats // see ReportFleet

	// What an adaptive gate tries within n, where n is below the limit that it
	// holds to be right; otherwise 0.
	probe int

	ended *LimitChange // what the end has changed, until tick reports it
}

// ShareStats is what a gate knows of its share, see SetShare.
type ShareStats struct {
	Held    bool // there was a call of SetShare
	Permits int  // that may be out, those out of band included
	Without int  // what the limit would be without the share
	Needed  int  // the least share with which nobody would have to wait, as far as the limit goes

	FleetStats // as of the last heartbeat; zero if the share is not one of a fleet's budget
}

// FleetStats is what a member of a fleet knows of it after a heartbeat, see package
// fleet.
type FleetStats struct {
	Budget     int     // of all members together; 0 before the first heartbeat
	Granted    int     // connections that this member may have from this heartbeat on
	Target     int     // connections that would be fair for this member
	Demand     float64 // connections that this member needs, smoothed: ShareStats.Needed
	Members    int     // members that the store knows, this one included
	Active     int     // of these, those that need or have connections
	Heartbeats uint64  // that the store has answered
	Failures   uint64  // heartbeats that it has not
	LastError  error   // of the last heartbeat; nil if it was answered
}

// shareStats is called with g.mu held. The limit can rise to most.
func (g *Gate) shareStats(most int) ShareStats {
	if !g.share.held {
		return ShareStats{}
	}
	return ShareStats{Held: true, Permits: g.share.n, Without: g.wanted, Needed: g.neededShare(most), FleetStats: g.share.fleet}
}

// neededShare is the least share whose limit has room for those who hold a permit and
// those who wait, but no more than most. The lane that goes with a limit counts, but for
// a limit of 1 while nobody uses the lane. It is called with g.mu held.
func (g *Gate) neededShare(most int) int {
	n := g.inFlight + g.waiting - g.lane.waiting
	if g.heavy > 0 {
		for q := range g.everyQueue {
			for w := q.head; w != nil; w = w.next {
				if w.class != g.lane {
					n += w.weight - 1
				}
			}
		}
	}
	n = min(n, most)
	if n <= 1 && g.lane.inFlight+g.lane.waiting == 0 {
		return n
	}
	n = max(n, 1)
	return n + g.config.laneSize(n)
}

// SetShare bounds the permits that may be out, those out of band included, by n,
// which may be 0, until a later call. At the moment until the share becomes 0,
// unless until is zero. Package fleet calls it.
//
// A share lowers the limit and never raises it. Nobody who holds a permit loses
// it. Callers wait for a share of 0 as they wait for a permit; how many may wait
// follows the limit without the share. The classes keep their reservations in
// proportion. Of a share of 1 the lane out of band has
// nothing.
//
// The gate looks at the time when a caller waits or is refused, when a timer
// fires, and at one in 64 of all other permits: so a process that was stopped can
// give out up to 64 permits between its continuation and its timer.
func (g *Gate) SetShare(n int, until time.Time) {
	g.mu.Lock()
	now := g.now()
	n = max(0, n)
	if n != g.share.n {
		g.share.probe = 0 // which was for the old n
	}
	g.share.held, g.share.n, g.share.end = true, n, 0
	if !until.IsZero() {
		left := min(time.Until(until), math.MaxInt64-now)
		g.share.end = max(1, now+left)
		if left > 0 {
			g.wake(now, left)
		}
	}
	g.changeLimit(LimitChange{Reason: LimitShare}, now)()
}

// endShare ends a share whose time has come. It is called with g.mu held.
func (g *Gate) endShare(now time.Duration) {
	s := &g.share
	switch {
	case s.end == 0:
	case now < s.end:
		g.wake(now, s.end-now)
	default:
		change := LimitChange{Old: g.limit, Reason: LimitShare}
		s.n, s.end = 0, 0
		g.fitLimit()
		s.ended = &change
		g.wake(now, 0)
	}
}

// moveLimit changes the limit that is wanted. The caller calls report without a
// lock, for the observers.
func (g *Gate) moveLimit(n int, change LimitChange) (report func()) {
	g.mu.Lock()
	g.wanted = n
	return g.changeLimit(change, g.now())
}

// withinShare returns how much of a limit of n the share leaves, at least 1, and
// the share; -1 if there is none.
func (g *Gate) withinShare(n int) (within, share int) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.share.held {
		return n, -1
	}
	return max(1, g.share.of(n, g.config)), g.share.n
}

// tryLimit changes the limit to what was decided when share left within, as
// moveLimit does.
func (g *Gate) tryLimit(d Decision, within, share int) (report func()) {
	g.mu.Lock()
	g.wanted, g.share.probe = d.Limit, 0
	if d.Center > within {
		g.wanted = d.Center
		if g.share.n == share {
			g.share.probe = d.Limit
		}
	}
	return g.changeLimit(LimitChange{Center: d.Center, Reason: d.Reason}, g.now())
}

// changeLimit has the limit follow what was changed, and serves waiters. It is
// called with g.mu held, and returns without.
func (g *Gate) changeLimit(change LimitChange, now time.Duration) (report func()) {
	change.Old = g.limit
	g.fitLimit()
	g.endShare(now)
	g.share.ended = nil
	change.New = g.limit
	if change.Center == 0 {
		change.Center = g.limit
	}
	g.serve(now)
	observers := g.observers
	g.unlock()
	return func() { change.report(observers) }
}

func (c LimitChange) report(observers []*Observer) {
	for _, o := range observers {
		if o.LimitChange != nil && c.Old != c.New {
			o.LimitChange(c)
		}
	}
}

// fitLimit sets the limit to what is wanted, as far as the share has room for it
// and for the lane that goes with it. It is called with g.mu held.
func (g *Gate) fitLimit() {
	g.limit = g.wanted
	if s := &g.share; s.held {
		g.limit = s.of(g.wanted, g.config)
		g.share.lane = min(g.config.laneSize(g.wanted), s.n-g.limit)
	} else {
		g.share.lane = g.config.laneSize(g.wanted)
	}
	for _, c := range g.classes {
		c.reserved = c.Reserved
		if g.limit < g.wanted {
			c.reserved = int(float64(c.Reserved) * float64(g.limit) / float64(g.wanted))
		}
	}
	if probe := g.share.probe; probe > 0 {
		g.limit = min(g.limit, probe)
	}
}

// of returns how much of a limit of n the share leaves.
func (s *share) of(n int, config Config) int {
	tooMuch := sort.Search(n, func(i int) bool { return config.laneSize(i+1) > s.n-(i+1) })
	return min(max(tooMuch, 1), s.n)
}

// ReportFleet tells the gate what its member of a fleet knows, for Stats and for
// observers. Package fleet calls it after each heartbeat, before SetShare.
func (g *Gate) ReportFleet(s FleetStats) {
	g.mu.Lock()
	g.share.fleet = s
	observers := g.observers
	g.mu.Unlock()
	for _, o := range observers {
		if o.Heartbeat != nil {
			o.Heartbeat(s)
		}
	}
}

// OnWait has f called whenever a caller begins to wait, on its goroutine and
// without a lock. There is one such function; nil removes it. Package fleet
// calls it. It costs nothing where nobody waits.
func (g *Gate) OnWait(f func()) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.onWait = f
}
