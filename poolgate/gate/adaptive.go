package gate

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// DefaultAdaptiveMax is the Max of an [Adaptive] that has none.
const DefaultAdaptiveMax = 200

// adaptiveStart is the limit that an adaptive gate begins with where
// Config.Limit is zero. It is low on purpose: a gate that begins far above the
// knee sees slow statements, and takes longer to learn from them.
const adaptiveStart = 8

// Adaptive has a gate find its limit by itself, see [Config.Adaptive].
//
// It needs to know how long the work under a permit took, see [Permit.Worked].
// A poolgate.DB says so for every statement. The time that a transaction
// thinks between statements does not count.
//
// The limit stays where it is while nobody waits, and moves a little up and
// down while somebody does. It never leaves Min and Max. Gate.SetLimit changes
// Max. It costs nothing per Acquire and Release, see BenchmarkAdaptive, and about
// 100 ns per statement, see BenchmarkWorked.
type Adaptive struct {
	// Min is the least limit. Zero means 1. It is at least what the classes
	// reserve.
	Min int

	// Max is the highest limit. Zero means DefaultAdaptiveMax. A poolgate.DB
	// refuses more than its pool can serve. Gate.SetLimit changes it.
	Max int

	// Aim says what to prefer where throughput and latency want different
	// limits. Zero is Balanced.
	Aim Aim

	// Finder makes what finds the limit, from the Adaptive with its defaults
	// filled in and the limit that it begins with. Nil means NewPairedProbe.
	Finder func(a Adaptive, start int) Finder
}

// withDefaults returns the Adaptive that a stands for and the limit to begin
// with, or what is wrong with them.
func (a Adaptive) withDefaults(limit int, classes []Class) (Adaptive, int, error) {
	if a.Min < 0 {
		return a, 0, fmt.Errorf("gate: Config.Adaptive.Min must not be negative, got %d", a.Min)
	}
	if a.Max == 0 {
		a.Max = max(DefaultAdaptiveMax, a.Min)
	}
	reserved := 0
	for _, c := range classes {
		reserved += max(0, c.Reserved)
	}
	a.Min = max(1, a.Min, reserved)
	switch {
	case a.Max < a.Min:
		return a, 0, fmt.Errorf("gate: Config.Adaptive.Max must be at least Min and what the classes reserve, which is %d, got %d", a.Min, a.Max)
	case limit < 0, limit > 0 && (limit < a.Min || limit > a.Max):
		return a, 0, fmt.Errorf("gate: Config.Limit, where Config.Adaptive begins, must be between %d and %d, got %d", a.Min, a.Max, limit)
	case a.Aim < 0 || int(a.Aim) >= len(aims):
		return a, 0, fmt.Errorf("gate: Config.Adaptive.Aim must be one of those that exist, got %v", a.Aim)
	}
	if limit == 0 {
		limit = min(max(adaptiveStart, a.Min), a.Max)
	}
	if a.Finder == nil {
		a.Finder = NewPairedProbe
	}
	return a, limit, nil
}

// AdaptiveStats is what an adaptive gate knows of its limit.
type AdaptiveStats struct {
	Min, Max int    // between which the limit moves; both 0 where the limit is fixed
	Center   int    // the limit that is held to be right, around which the gate probes
	Reason   string // why it is that, in a few words

	// Periods are the last ten minutes, the oldest first. A period in which no
	// statement ended is missing.
	Periods []LimitPeriod
}

// FoundLimit returns the limit without the probes of an adaptive gate: Limit if
// it is fixed, and otherwise Adaptive.Center.
func (s Stats) FoundLimit() int {
	if s.Adaptive.Max > 0 {
		return s.Adaptive.Center
	}
	return s.Limit
}

// A LimitPeriod is what an adaptive gate saw within ten seconds.
type LimitPeriod struct {
	Start      time.Time
	Center     int           // at its end
	Statements int           // that ended
	Took       time.Duration // their mean
}

// An adaptation is the finder of a gate with what it needs.
type adaptation struct {
	config Adaptive

	// The state of the gate for Work: inFlight<<1 | 1 where the limit keeps
	// somebody waiting, and otherwise 0.
	state atomic.Int64

	mu      sync.Mutex // guards what follows; where Gate.mu is locked too, it is locked after this
	finder  Finder
	max     int
	timer   *time.Timer // runs adapt; nil until something has been done
	armed   bool
	seen    int // statements since the last decision
	stopped bool
	stats   AdaptiveStats
	periods periodic
}

// periodic adds up the present LimitPeriod.
type periodic struct {
	LimitPeriod
	took time.Duration // of all together
}

func newAdaptation(a Adaptive, start int) *adaptation {
	return &adaptation{
		config: a,
		finder: a.Finder(a, start),
		max:    a.Max,
		stats:  AdaptiveStats{Min: a.Min, Max: a.Max, Center: start, Reason: "start"},
	}
}

// Worked reports that the server worked on something for the holder of p, for
// a gate whose limit is adaptive: one statement, for instance. For any other
// gate it does nothing. It must be called before Release. Took is how long it
// took, failed whether it ended with an error, and overloaded whether the
// server itself said that it has too much to do.
func (p Permit) Worked(took time.Duration, failed, overloaded bool) {
	if p.hold != nil && p.hold.gate.adaptation != nil && p.hold.class != p.hold.gate.lane {
		p.hold.gate.worked(took, failed, overloaded)
	}
}

// IsAdaptive reports whether the gate finds its limit by itself, so that
// Permit.Worked has an effect.
func (g *Gate) IsAdaptive() bool { return g.adaptation != nil }

func (g *Gate) worked(took time.Duration, failed, overloaded bool) {
	a := g.adaptation
	state := a.state.Load()
	w := Work{End: time.Now(), Took: took, Failed: failed, Overloaded: overloaded, Binding: state != 0, InFlight: int(state >> 1)}
	if report := g.consider(w); report != nil {
		report()
	}
}

// consider shows w to the finder. It returns what has to be called without
// adaptation.mu, or nil.
func (g *Gate) consider(w Work) (report func()) {
	a := g.adaptation
	a.mu.Lock()
	defer a.mu.Unlock() // even if the Finder panics: others have permits to give back
	a.periods.add(w, &a.stats)
	a.seen++
	a.finder.Done(w)
	if a.stopped || a.armed && !w.Overloaded {
		return nil
	}
	return g.decideLimit(w.End)
}

// adapt is run by the timer.
func (g *Gate) adapt() {
	a := g.adaptation
	report := func() {}
	a.mu.Lock()
	a.armed = false
	if !a.stopped && a.seen > 0 { // otherwise the next statement wakes it
		report = g.decideLimit(time.Now())
	}
	a.mu.Unlock()
	report()
}

// decideLimit has the finder decide. It is called with adaptation.mu held, and
// returns what has to be called without.
func (g *Gate) decideLimit(now time.Time) (report func()) {
	a := g.adaptation
	within, share := g.withinShare(a.max)
	least := max(1, min(a.config.Min, within))
	d := a.finder.Decide(now, least, within)
	d.Limit = max(least, min(d.Limit, within))
	d.Center = max(least, min(d.Center, a.max))
	a.seen = 0
	a.stats.Center, a.stats.Reason = d.Center, d.Reason
	again := d.Again
	if again <= 0 {
		again = time.Second
	}
	a.armed = true
	if a.timer == nil {
		a.timer = time.AfterFunc(again, g.adapt)
	} else {
		a.timer.Reset(again)
	}
	return g.tryLimit(d, within, share)
}

// setMax changes what the limit may be at most.
func (g *Gate) setMax(n int) {
	a := g.adaptation
	a.mu.Lock()
	a.max = n
	a.stats.Max, a.stats.Min = n, min(a.config.Min, n)
	a.stats.Center = min(a.stats.Center, n)
	g.mu.Lock()
	g.wanted = min(g.wanted, n)
	report := g.changeLimit(LimitChange{Reason: LimitSet}, g.now())
	a.mu.Unlock()
	report()
}

// stop ends all movement of the limit.
func (a *adaptation) stop() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.stopped = true
	if a.timer != nil {
		a.timer.Stop()
	}
}

// note keeps what decides about the limit, for Work. It is called with g.mu
// held.
func (g *Gate) note() {
	state := int64(0)
	if g.waiting > g.lane.queue.n && g.inFlight >= g.limit {
		state = int64(g.inFlight)<<1 | 1
	}
	if a := g.adaptation; a.state.Load() != state { // to store costs more than to look
		a.state.Store(state)
	}
}

func (a *adaptation) snapshot() AdaptiveStats {
	if a == nil {
		return AdaptiveStats{}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	s := a.stats
	s.Periods = slices.Clone(s.Periods)
	if a.periods.Statements > 0 {
		s.Periods = append(s.Periods, a.periods.end(s.Center))
	}
	return s
}

func (p *periodic) add(w Work, s *AdaptiveStats) {
	if start := w.End.Truncate(period); !start.Equal(p.Start) {
		if p.Statements > 0 {
			s.Periods = append(s.Periods, p.end(s.Center))
			if len(s.Periods) > periods {
				s.Periods = append(s.Periods[:0], s.Periods[1:]...)
			}
		}
		*p = periodic{LimitPeriod: LimitPeriod{Start: start}}
	}
	p.Statements++
	p.took += w.Took
}

func (p *periodic) end(center int) LimitPeriod {
	last := p.LimitPeriod
	last.Center = center
	last.Took = p.took / time.Duration(p.Statements)
	return last
}
