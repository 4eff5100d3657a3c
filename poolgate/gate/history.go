package gate

import "time"

const (
	// period is what one point of a class's history stands for.
	period  = 10 * time.Second
	periods = 60
)

// A Period is what happened to a class within ten seconds.
type Period struct {
	Start time.Time

	Acquired uint64 // permits given out
	Waited   uint64 // of these, to callers that had to wait
	Refused  uint64

	Wait Percentiles // of those that waited
	Hold Percentiles // of those that were released, see ClassStats.Hold
}

// history is a class's present and past. It is guarded by Gate.mu. It has no
// clock of its own: a period ends when something happens after its end. That is
// a wait, a hold or a refusal; of permits that are neither waited for nor
// measured it may be noted late, and up to sampleEvery of them in the period
// before.
type history struct {
	epoch  time.Time
	end    time.Duration // of the present period; 0 until something happens
	counts *Counts       // the class's
	before Counts        // what they were as it began
	past   []Period      // at most periods, the oldest first
	times  *times        // nil until something happens
}

// times are how long waits and holds took, in the present period and in the one
// before it.
type times struct{ waits, holds, lastWaits, lastHolds histogram }

func (h *history) wait(now, d time.Duration) {
	h.turn(now)
	h.times.waits.record(d)
}

func (h *history) hold(now, d time.Duration) {
	h.turn(now)
	h.times.holds.record(d)
}

// turn begins new periods until now is in the present one.
func (h *history) turn(now time.Duration) {
	switch idle := now - h.end; {
	case h.times == nil:
		h.times = new(times)
		h.end = now.Truncate(period) + period
	case idle >= periods*period: // all that there was is too long ago
		*h.times = times{}
		h.past = h.past[:0]
		h.before = *h.counts
		h.end = now.Truncate(period) + period
	}
	for ; now >= h.end; h.end += period {
		h.past = append(h.past, h.present())
		if len(h.past) > periods {
			h.past = append(h.past[:0], h.past[1:]...)
		}
		h.before = *h.counts
		h.times.waits.moveTo(&h.times.lastWaits)
		h.times.holds.moveTo(&h.times.lastHolds)
	}
}

func (h *history) present() Period {
	return Period{
		Start:    h.epoch.Add(h.end - period),
		Acquired: h.counts.Acquired - h.before.Acquired,
		Waited:   h.counts.Waited - h.before.Waited,
		Refused:  h.counts.Refused() - h.before.Refused(),
		Wait:     percentiles(&h.times.waits),
		Hold:     percentiles(&h.times.holds),
	}
}

// recentWaits and recentHolds are those of the present period and the one
// before it.
func (h *history) recentWaits() Percentiles {
	if h.times == nil {
		return Percentiles{}
	}
	return percentiles(&h.times.waits, &h.times.lastWaits)
}

func (h *history) recentHolds() Percentiles {
	if h.times == nil {
		return Percentiles{}
	}
	return percentiles(&h.times.holds, &h.times.lastHolds)
}

// History returns what happened in the last ten minutes to the class of that
// name, the oldest period first and the present one last; nil if the gate has
// no such class. OutOfBandClass names the lane.
func (g *Gate) History(class string) []Period {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.named(class)
	if class == OutOfBandClass {
		c = g.lane
	}
	if c == nil {
		return nil
	}
	h := &c.history
	h.turn(g.now())
	return append(append([]Period(nil), h.past...), h.present())
}
