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
// between them: of 1.2 once the limit is found, and of 2 where there are so few
// statements that less would not show. Everything else, the noise of a shared
// machine included, hardly differs. If statements take longer in the same
// proportion, more in flight brings no more throughput, and the limit falls; if
// they take as long as before, it rises. In between it moves towards the
// elasticity that its [Aim] asks for. The more its measurements differ from one
// to the next, the less it moves.
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
	q0          float64 // the growth of statement time in proportion to what is in flight that is worth it, at a limit of 1
	center      float64 // the limit that is held to be right
	least, most float64 // between which it may probe
	ratio       float64 // between the two limits
	ceiling     float64 // above which the server refused to work; 0 if it never did

	slot   time.Duration
	index  int64 // of the present slot: its beginning on the wall clock, in slots
	begun  time.Time
	settle time.Time // until when the effect of the slot before is felt
	high   bool      // the present slot is the one with the higher limit
	open   bool      // the first slot of the present pair has been seen from its beginning
	sides  [2]side   // with the lower limit, and with the higher
	pairs  int       // of which sides consists

	missed float64 // by how much the growth of statement time was below what is worth it; 0 before the first measurement
	turned bool    // the center has gone up and down
	unrest float64 // half of the squared difference of two measurements that follow one another, a moving average
	trend  float64 // missed, a moving average

	statements int // since the last decision
	binding    int // of these, while somebody waited
	logs       float64
	lastError  time.Time
	limit      int
	reason     string
}

// A side is what was seen with one of the two limits.
type side struct {
	seen     int    // statements that ended
	inFlight int    // permits that were out then, added up
	times    sample // of those that began in the slot too, in seconds
	logs     sample // and the logarithms of these
}

// A sample is what is known of some numbers.
type sample struct {
	n            float64
	sum, squares float64
}

func (s *sample) add(x float64) {
	s.n++
	s.sum += x
	s.squares += x * x
}

func (s *sample) mean() float64 { return s.sum / s.n }

// variance is that of the mean.
func (s *sample) variance() float64 {
	return max(0, s.squares/s.n-s.mean()*s.mean()) / s.n
}

const (
	probeRatio    = 1.4 // between the two limits
	fineRatio     = 1.2 // once the center is found, where that shows in the statements that there are
	searchRatio   = 2   // where there are so few statements that 1.4 would not show in them
	uncertain     = 0.5 // the standard error of a growth that is worth half of what a certain one is
	meanUncertain = 0.7 // the same of one that comes from mean times, beside one from logarithms
	meanCut       = 8   // mean times of a slot's eighth weigh half
	probeGain     = 0.5
	probeFairness = 0.15 // larger limits ask for a little more: several gates on one server become equal
	missedMost    = 0.8
	probeMemory   = 0.2  // weight of the last measurement in unrest
	trendMemory   = 0.3  // and in trend
	onWayUp       = 0.3  // the trend from which on the center is far from found
	onWayDown     = 0.15 // less, as missed is not as much there
	atLeast       = 4    // with the least limit one pair in so many has a higher one
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
		center: float64(start),
		least:  float64(a.Min),
		most:   float64(a.Max),
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
	took := max(w.Took.Seconds(), 1e-9)
	log := math.Log(took)
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
		s.logs.add(log)
		s.times.add(took)
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

// Decide returns the limit of the present slot. Where most is below what is held to
// be right, it probes below most: so the limit falls if the server has become
// slower, and is back where it was when most is higher again.
func (p *PairedProbe) Decide(now time.Time, least, most int) Decision {
	p.least, p.most = float64(least), float64(most)
	if k := p.slotAt(now); p.begun.IsZero() || k != p.index {
		p.turn(now, k)
	}
	next := time.Duration((p.index+1)*int64(p.slot) - now.UnixNano())
	return Decision{
		Limit:  max(least, min(p.limit, most)),
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
	random := hash(uint64(k >> 1))
	p.high = (k&1 == 1) != (random&1 == 1)
	if p.missed < 0 && p.center <= max(1, p.least) && random>>1%atLeast != 0 {
		p.high = false // too many at once even with the least limit: more does not have to be tried often
	}
	settle := p.slot / 3
	if usual := p.usual(); usual > 0 {
		settle = min(settle, 2*usual)
	}
	p.settle = now.Add(settle)
	if p.ceiling > 0 {
		p.ceiling *= 1 + 0.003*p.slot.Seconds() // so that it is tried again every half minute or so
	}
	center := p.within()
	low := max(1, math.Round(center/math.Sqrt(p.ratio)))
	limit := low
	if p.high {
		limit = max(low+1, math.Round(center*math.Sqrt(p.ratio)))
	}
	if p.ceiling > 0 {
		limit = min(limit, p.ceiling)
	}
	p.limit = max(1, int(min(limit, p.most)))
}

// within is the center within the bounds.
func (p *PairedProbe) within() float64 { return max(1, p.least, min(p.center, p.most)) }

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
	done := low.times.n >= pairSamples && high.times.n >= pairSamples || p.pairs >= pairsMost
	if done && 10*p.binding >= 9*p.statements && low.times.n >= 5 && high.times.n >= 5 && low.seen > 0 && high.seen > 0 {
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
	m := measure(low, high, grown, p.slot)
	center := p.within()
	missed := p.q0 - probeFairness*math.Log10(center) - m.growth
	missed = max(-missedMost, min(missed, missedMost)) // as far one way as the other: chance must not favour one
	p.turned = p.turned || missed*p.missed < 0
	if p.turned { // before, it is on its way, and measurements differ for that reason
		p.unrest += probeMemory * ((missed-p.missed)*(missed-p.missed)/2 - p.unrest)
	}
	p.missed = missed
	p.trend += trendMemory * (missed - p.trend)
	gain := probeGain * min(1, grown/math.Log(probeRatio)) / (1 + max(m.err*m.err, p.unrest)/(uncertain*uncertain))
	gain *= math.Pow(float64(p.slot)/float64(slotLeast), 0.25) // slots that are long are few
	onWay := !p.turned || p.trend > onWayUp || p.trend < -onWayDown
	switch {
	case onWay && m.err*grown > uncertain*math.Log(probeRatio):
		p.ratio = searchRatio
	case onWay, m.meanErr*grown > uncertain*math.Log(fineRatio):
		p.ratio = probeRatio
	default:
		p.ratio = fineRatio
	}
	moved := center * math.Exp(gain*missed)
	if p.ceiling > 0 {
		moved = min(moved, p.ceiling)
	}
	if moved < center || p.center <= p.most { // else the bound hides what is right
		p.center = max(1, p.least, min(moved, p.most))
	}
	p.reason = fmt.Sprintf("10 %% more in flight brings %+.1f %% throughput", 10*(1-m.growth))
}

// A measurement is by how much statement time grows in proportion to what is in
// flight, with standard errors.
type measurement struct {
	growth, err float64
	meanErr     float64 // if it were from mean times alone
}

// measure compares the two sides. The mean time is what counts for the throughput.
// The mean of the logarithms is more certain where a few statements take very long,
// but it says too much where the quick ones become slower and the slow ones do not,
// such as those that wait for a disk. So the mean time weighs less the less certain
// it is, and the more of the long statements are cut off by the end of the slot.
func measure(low, high side, grown float64, slot time.Duration) measurement {
	logs := (high.logs.mean() - low.logs.mean()) / grown
	logsErr := math.Sqrt(high.logs.variance()+low.logs.variance()) / grown
	h, l := high.times.mean(), low.times.mean()
	times := math.Log(h/l) / grown
	timesErr := math.Sqrt(high.times.variance()/(h*h)+low.times.variance()/(l*l)) / grown
	cut := meanCut * max(h, l) / slot.Seconds()
	weight := 1 / (1 + timesErr*timesErr/(meanUncertain*meanUncertain) + cut*cut)
	return measurement{weight*times + (1-weight)*logs, weight*timesErr + (1-weight)*logsErr, timesErr}
}

func (s side) mean() float64 { return float64(s.inFlight) / float64(s.seen) }

// fitSlot makes the slots as long as the statements need.
func (p *PairedProbe) fitSlot() {
	wanted := 3 * p.usual()
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
