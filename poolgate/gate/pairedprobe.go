package gate

import (
	"fmt"
	"math"
	"math/bits"
	"time"
)

// PairedProbe is the default [Finder]. It compares two neighbouring slots of
// time, one with a limit somewhat above the one it holds to be right and one
// with a limit somewhat below. What is in flight differs by a factor of 1.4
// between them, or of 2 where there are so few statements that 1.4 would not
// show. Everything else, the noise of a shared machine included, hardly
// differs. If statements take longer in the same proportion, more in flight
// brings no more throughput, and the limit falls; if they take as long as
// before, it rises. In between it moves towards the elasticity that its [Aim]
// asks for.
//
// Slots begin at multiples of their length on the wall clock, and a hash that
// is the same for every process says which of the two is the higher one. Gates
// in several processes on one server therefore probe together and see the joint
// effect. A gate alone would see its own throughput grow with its limit at the
// cost of the others, as each of them would, and all would end at their
// maximum. Clocks may differ by 50 ms.
//
// A slot lasts half a second, and longer where statements do, up to 64 s. From
// a limit of 8 it takes 5 to 30 seconds to the knee with statements of
// milliseconds.
//
// The method is that of a paired experiment with blocks; the elasticity as the
// target comes from the universal scalability law (N. Gunther) and the joint
// dithering from extremum-seeking control. PairedProbe was chosen in a
// simulation that stands in docs/limit.md.
type PairedProbe struct {
	q0       float64 // the growth of statement time in proportion to what is in flight that is worth it, at a limit of 1
	min, max float64
	center   float64 // the limit that is held to be right
	ratio    float64 // between the two limits
	ceiling  float64 // above which the server refused to work; 0 if it never did

	slot   time.Duration
	index  int64 // of the present slot: its beginning on the wall clock, in slots
	begun  time.Time
	settle time.Time // until when the effect of the slot before is felt
	high   bool      // the present slot is the one with the higher limit
	open   bool      // the first slot of the present pair has been seen from its beginning
	sides  [2]side   // with the lower limit, and with the higher
	pairs  int       // of which sides consists

	statements int // since the last decision
	binding    int // of these, while somebody waited
	logs       float64
	lastError  time.Time
	limit      int
	reason     string
}

// A side is what was seen with one of the two limits.
type side struct {
	seen     int // statements that ended
	inFlight int // permits that were out then, added up
	timed    int // of these statements, those that began in the slot too
	logs     float64
	squares  float64 // of the logs
}

const (
	probeRatio    = 1.4 // between the two limits
	searchRatio   = 2   // where there are so few statements that 1.4 would not show in them
	uncertain     = 0.5 // the standard error of an elasticity that is worth half of what a certain one is
	probeGain     = 0.5
	probeFairness = 0.15 // larger limits ask for a little more: several gates on one server become equal
	slotLeast     = 500 * time.Millisecond
	slotMost      = 64 * time.Second
	pairSamples   = 25 // of each side, for a decision
	pairsMost     = 10 // after which a decision is made with what there is
)

// NewPairedProbe returns a PairedProbe that begins with the limit start. It is
// what an [Adaptive] without a Finder uses.
func NewPairedProbe(a Adaptive, start int) Finder {
	q0 := map[Aim]float64{LowLatency: 0.75, Balanced: 0.85, HighThroughput: 0.95}[a.Aim]
	return &PairedProbe{
		q0:     q0,
		min:    float64(a.Min),
		max:    float64(a.Max),
		center: float64(start),
		ratio:  searchRatio,
		slot:   slotLeast,
		limit:  start,
		reason: "start",
	}
}

// Done reports a statement that has ended.
func (p *PairedProbe) Done(w Work) {
	if w.Overloaded {
		p.overloaded(w)
		return
	}
	if w.Failed {
		return
	}
	log := math.Log(max(w.Took.Seconds(), 1e-9))
	p.statements++
	p.logs += log
	if w.Binding {
		p.binding++
	}
	if !p.open || w.End.Before(p.settle) {
		return
	}
	s := &p.sides[0]
	if p.high {
		s = &p.sides[1]
	}
	if w.Binding {
		s.seen++
		s.inFlight += w.InFlight
	}
	if !w.End.Add(-w.Took).Before(p.begun) {
		s.timed++
		s.logs += log
		s.squares += log * log
	}
}

// overloaded takes a tenth away from what was too much, once for all statements
// that were under way then.
func (p *PairedProbe) overloaded(w Work) {
	if w.End.Add(-w.Took).Before(p.lastError) {
		return
	}
	p.lastError = w.End
	p.ceiling = max(1, math.Floor(0.9*float64(p.limit)))
	p.limit = int(p.ceiling)
	p.center = max(1, min(p.center, p.ceiling/math.Sqrt(p.ratio)))
	p.reason = fmt.Sprintf("the server refused work at more than %d", p.limit)
}

// Decide returns the limit of the present slot.
func (p *PairedProbe) Decide(now time.Time) Decision {
	if k := p.slotAt(now); p.begun.IsZero() || k != p.index {
		p.turn(now, k)
	}
	limit := p.limit
	next := time.Duration((p.index+1)*int64(p.slot) - now.UnixNano())
	return Decision{
		Limit:  limit,
		Center: max(1, int(math.Round(p.center))),
		Reason: p.reason,
		Again:  max(time.Millisecond, next),
	}
}

func (p *PairedProbe) slotAt(now time.Time) int64 { return now.UnixNano() / int64(p.slot) }

// turn begins slot k.
func (p *PairedProbe) turn(now time.Time, k int64) {
	jumped := !p.begun.IsZero() && k != p.index+1 // the clock, or the process was stopped
	if jumped {
		p.sides, p.pairs, p.open = [2]side{}, 0, false
	}
	if k%2 == 0 {
		if p.open {
			p.decide()
			k = p.slotAt(now)
		}
		p.open = k%2 == 0
	}
	p.index, p.begun = k, now
	flip := hash(uint64(k>>1))&1 == 1
	p.high = (k&1 == 1) != flip
	settle := p.slot / 3
	if usual := p.usual(); usual > 0 {
		settle = min(settle, 2*usual)
	}
	p.settle = now.Add(settle)
	if p.ceiling > 0 {
		p.ceiling *= 1 + 0.003*p.slot.Seconds() // so that it is tried again every half minute or so
	}
	low := max(1, math.Round(p.center/math.Sqrt(p.ratio)))
	limit := low
	if p.high {
		limit = max(low+1, math.Round(p.center*math.Sqrt(p.ratio)))
	}
	if p.ceiling > 0 {
		limit = min(limit, p.ceiling)
	}
	p.limit = max(1, int(min(limit, p.max)))
}

// usual is the geometric mean of the statements since the last decision; 0 if
// there was none.
func (p *PairedProbe) usual() time.Duration {
	if p.statements == 0 {
		return 0
	}
	return time.Duration(math.Exp(p.logs/float64(p.statements)) * float64(time.Second))
}

// decide looks at the pairs of slots since the last decision, and moves the
// center if they say enough.
func (p *PairedProbe) decide() {
	p.pairs++
	low, high := p.sides[0], p.sides[1]
	done := low.timed >= pairSamples && high.timed >= pairSamples || p.pairs >= pairsMost
	if done && 10*p.binding >= 9*p.statements && low.timed >= 5 && high.timed >= 5 && low.seen > 0 && high.seen > 0 {
		p.move(low, high)
	}
	if p.statements > 0 && (done || p.pairs >= 2) {
		p.fitSlot()
	}
	if done {
		p.sides, p.pairs = [2]side{}, 0
		p.statements, p.binding, p.logs = 0, 0, 0
	}
}

func (p *PairedProbe) move(low, high side) {
	grown := math.Log(high.mean() / low.mean())
	if grown <= math.Log(p.ratio)/3 { // something else keeps what is in flight where it is
		return
	}
	q := (high.logs/float64(high.timed) - low.logs/float64(low.timed)) / grown
	err := math.Sqrt(high.variance()/float64(high.timed)+low.variance()/float64(low.timed)) / grown
	gain := probeGain / (1 + err*err/(uncertain*uncertain))
	gain *= math.Pow(float64(p.slot)/float64(slotLeast), 0.25) // slots that are long are few
	p.ratio = probeRatio
	if err > uncertain {
		p.ratio = searchRatio
	}
	q = min(max(q, -0.5), 1.5)
	want := p.q0 - probeFairness*math.Log10(p.center)
	center := p.center * math.Exp(gain*(want-q))
	if p.ceiling > 0 {
		center = min(center, p.ceiling)
	}
	p.center = max(1, p.min, min(center, p.max))
	p.reason = fmt.Sprintf("10 %% more in flight brings %+.1f %% throughput", 10*(1-q))
}

func (s side) mean() float64 { return float64(s.inFlight) / float64(s.seen) }

func (s side) variance() float64 {
	mean := s.logs / float64(s.timed)
	return max(0, s.squares/float64(s.timed)-mean*mean)
}

// fitSlot makes the slots as long as the statements need.
func (p *PairedProbe) fitSlot() {
	wanted := 2 * p.usual()
	for p.slot < wanted && p.slot < slotMost {
		p.slot *= 2
	}
	for 2*p.slot > 5*wanted && p.slot > slotLeast {
		p.slot /= 2
	}
}

// hash is the finalizer of SplitMix64 (G. Steele and others, 2014).
func hash(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return bits.RotateLeft64(x^x>>31, 17)
}
