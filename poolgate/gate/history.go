package gate

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

const (
	// period is what one point of a class's history stands for.
	period  = 10 * time.Second
	periods = 60

	// Waits and holds are kept with one significant digit, from a
	// microsecond to an hour: 4 KB for each histogram.
	leastRecorded = time.Microsecond
	mostRecorded  = time.Hour
	digits        = 1
)

// Percentiles tell how times are distributed, to about 6 %. All are 0 where
// nothing was recorded.
type Percentiles struct{ P50, P90, P99, Max time.Duration }

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
	end    time.Duration // of the present period
	counts *Counts       // the class's
	before Counts        // what they were as it began

	waits, holds         *hdrhistogram.Histogram // of the present period; nil until something happens
	lastWaits, lastHolds *hdrhistogram.Histogram // of the one before

	past []Period // at most periods, the oldest first
}

func (h *history) wait(now, d time.Duration) {
	h.turn(now)
	record(h.waits, d)
}

func (h *history) hold(now, d time.Duration) {
	h.turn(now)
	record(h.holds, d)
}

func record(h *hdrhistogram.Histogram, d time.Duration) {
	h.RecordValue(int64(min(d, mostRecorded))) // which is the only error
}

// turn begins new periods until now is in the present one.
func (h *history) turn(now time.Duration) {
	if h.waits == nil {
		for _, one := range []**hdrhistogram.Histogram{&h.waits, &h.holds, &h.lastWaits, &h.lastHolds} {
			*one = hdrhistogram.New(int64(leastRecorded), int64(mostRecorded), digits)
		}
		h.end = now.Truncate(period) + period
	}
	if now < h.end {
		return
	}
	if now-h.end > periods*period { // all that there was is too long ago
		h.past = h.past[:0]
		h.end = now.Truncate(period)
	}
	for now >= h.end {
		h.past = append(h.past, h.present())
		if len(h.past) > periods {
			h.past = append(h.past[:0], h.past[1:]...)
		}
		h.before = *h.counts
		h.waits, h.lastWaits = h.lastWaits, h.waits
		h.holds, h.lastHolds = h.lastHolds, h.holds
		h.waits.Reset()
		h.holds.Reset()
		h.end += period
	}
}

func (h *history) present() Period {
	return Period{
		Start:    h.epoch.Add(h.end - period),
		Acquired: since(h.before.Acquired, h.counts.Acquired),
		Waited:   since(h.before.Waited, h.counts.Waited),
		Refused:  h.counts.Refused() - h.before.Refused(),
		Wait:     percentiles(h.waits),
		Hold:     percentiles(h.holds),
	}
}

// since is what was added to a count; 0 if more was taken back of what a period
// before had counted, see Gate.decline.
func since(before, now uint64) uint64 { return now - min(before, now) }

// recentWaits and recentHolds are those of the present period and the one
// before it.
func (h *history) recentWaits() Percentiles { return percentiles(h.waits, h.lastWaits) }
func (h *history) recentHolds() Percentiles { return percentiles(h.holds, h.lastHolds) }

func percentiles(of ...*hdrhistogram.Histogram) Percentiles {
	if of[0] == nil {
		return Percentiles{}
	}
	h := of[0]
	if len(of) > 1 && of[1].TotalCount() > 0 {
		h = hdrhistogram.Import(h.Export())
		h.Merge(of[1])
	}
	if h.TotalCount() == 0 {
		return Percentiles{}
	}
	at := func(q float64) time.Duration { return time.Duration(h.ValueAtPercentile(q)) }
	return Percentiles{P50: at(50), P90: at(90), P99: at(99), Max: time.Duration(h.Max())}
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
