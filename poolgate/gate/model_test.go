package gate_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// model is what a gate should do, written as plainly as possible: one list of
// all that wait, in the order in which they came, no concurrency, no clock but
// a number.
type model struct {
	config   gate.Config // with a class for every name that is used
	now      time.Duration
	inFlight map[string]int
	wave     int
	paused   bool
	closed   bool
	queue    []*modelCaller
	passed   map[string]int // how often each class was passed over since it was served
	overdue  int            // newcomers served since one of a class that was overdue, at most 16
}

type modelCaller struct {
	class           gate.Class // with OutOfBandClass for the lane
	weight          int
	since, deadline time.Duration // deadline 0: none
	nested          bool          // its goroutine held a permit when it came
	decided         bool
	err             error // where decided; nil: it holds its permits
}

func (c *modelCaller) lane() bool { return c.class.Name == gate.OutOfBandClass }

func (m *model) ofLimit() (n int) {
	for name, k := range m.inFlight {
		if name != gate.OutOfBandClass {
			n += k
		}
	}
	return n
}

func (m *model) laneSize() int { return max(1, m.config.Limit/4) }

// fits reports whether there are permits enough, and within reports whether the
// class may have them.
func (m *model) fits(c *modelCaller) bool {
	limit, used := m.config.Limit, m.ofLimit()
	switch {
	case m.paused || m.closed:
		return false
	case c.lane():
		limit, used = m.laneSize(), m.inFlight[gate.OutOfBandClass]
	case m.config.Mode == gate.Chunked:
		used = m.wave
	}
	return used+min(c.weight, limit) <= limit
}

func (m *model) within(c *modelCaller) bool {
	most := c.class.Max
	return most == 0 || m.inFlight[c.class.Name]+min(c.weight, most) <= most
}

// newcomers are the first of each class that is within it, in order.
func (m *model) newcomers(lane bool) (first []*modelCaller) {
	seen := map[string]bool{}
	for _, c := range m.queue {
		if c.nested || c.lane() != lane || seen[c.class.Name] {
			continue
		}
		seen[c.class.Name] = true
		if m.within(c) {
			first = append(first, c)
		}
	}
	return first
}

func (m *model) isOverdue(c *modelCaller) bool {
	return m.passed[c.class.Name] >= 16 && m.overdue >= 16
}

func (m *model) serve() {
	for _, lane := range []bool{false, true} {
		for m.serveOne(lane) {
		}
	}
}

func (m *model) serveOne(lane bool) bool {
	if m.paused || m.closed {
		return false
	}
	full := false
	for _, c := range m.queue { // holders first
		if c.nested && c.lane() == lane && m.within(c) {
			if m.fits(c) {
				m.letIn(c)
				return true
			}
			full = true
		}
	}
	if full {
		return false
	}
	rank := func(c *modelCaller) int { // the longest waiter of the highest rank
		switch {
		case m.isOverdue(c):
			return 1<<20 + m.passed[c.class.Name]
		case m.inFlight[c.class.Name] < c.class.Reserved:
			return 1<<10 + c.class.Priority
		}
		return c.class.Priority
	}
	first := m.newcomers(lane)
	var best *modelCaller
	for _, c := range first {
		if (m.fits(c) || m.isOverdue(c)) && (best == nil || rank(c) > rank(best)) {
			best = c
		}
	}
	if best == nil || !m.fits(best) {
		return false
	}
	if !lane {
		if m.isOverdue(best) {
			m.overdue = 0
		} else {
			m.overdue = min(m.overdue+1, 16)
		}
		m.passed[best.class.Name] = 0
		for _, c := range first {
			if c == best {
				break
			}
			m.passed[c.class.Name]++
		}
	}
	m.letIn(best)
	return true
}

func (m *model) letIn(c *modelCaller) {
	m.queue = slices.DeleteFunc(m.queue, func(d *modelCaller) bool { return c == d })
	m.take(c)
}

func (m *model) take(c *modelCaller) {
	c.decided = true
	m.inFlight[c.class.Name] += c.weight
	if !c.lane() {
		m.wave += c.weight
	}
}

func (m *model) arrive(class gate.Class, weight int, deadline time.Duration, nested bool) *modelCaller {
	c := &modelCaller{class: class, weight: weight, since: m.now, deadline: deadline, nested: nested}
	waiting, heavy := 0, false
	for _, other := range m.queue {
		if other.class == class && !other.nested {
			waiting++
		}
		heavy = heavy || other.weight > 1
	}
	most := m.config.Limit
	if c.lane() {
		most = m.laneSize()
	} else if class.Max > 0 {
		most = min(most, class.Max)
	}
	free := !heavy && m.fits(c) && m.within(c)
	switch {
	case m.closed:
		c.decided, c.err = true, gate.ErrClosed
	case weight > most:
		c.decided, c.err = true, gate.ErrTooHeavy
	case free:
		m.take(c)
	case class.MaxWaiting == gate.NoWaiting || !nested && waiting >= class.MaxWaiting:
		c.decided, c.err = true, m.unlessPaused(gate.ErrQueueFull)
	default:
		m.queue = append(m.queue, c)
		m.serve()
	}
	return c
}

func (m *model) release(c *modelCaller) {
	m.inFlight[c.class.Name] -= c.weight
	if m.ofLimit() == 0 {
		m.wave = 0
	}
	m.serve()
}

func (m *model) unlessPaused(reason error) error {
	if m.paused {
		return gate.ErrPaused
	}
	return reason
}

func (m *model) leave(gone func(c *modelCaller) error) {
	var stay []*modelCaller
	for _, c := range m.queue {
		if c.err = gone(c); c.err != nil {
			c.decided = true
		} else {
			stay = append(stay, c)
		}
	}
	m.queue = stay
	m.serve()
}

func (c *modelCaller) timeout() time.Duration { return c.since + c.class.MaxWait }

// pass lets time pass, from one end of a wait to the next: who leaves may have
// been in the way.
func (m *model) pass(d time.Duration) {
	for end := m.now + d; m.now < end; {
		next := end
		for _, c := range m.queue {
			next = min(next, c.timeout())
			if c.deadline > 0 {
				next = min(next, c.deadline)
			}
		}
		m.now = next
		m.leave(func(c *modelCaller) error {
			switch {
			case c.deadline > 0 && c.deadline <= m.now:
				return context.DeadlineExceeded
			case c.timeout() <= m.now:
				return m.unlessPaused(gate.ErrWaitTimeout)
			}
			return nil
		})
	}
}

// undated hides when a context ends: what a gate predicts is not for the model.
type undated struct{ context.Context }

func (undated) Deadline() (time.Time, bool) { return time.Time{}, false }

// drive runs the steps, of two bytes each, against a gate and the model at once,
// and compares the two after each.
func drive(t *testing.T, config gate.Config, steps []byte) {
	config.IgnoreDeadlocks = true // those that hold and wait find no end before their time
	g := newGate(t, config)
	m := &model{config: config, inFlight: map[string]int{}, passed: map[string]int{}, overdue: 16}
	type pair struct {
		real   *caller
		model  *modelCaller
		worker *worker
		cancel context.CancelFunc
	}
	of := func(w *worker) func(pair) bool { return func(p pair) bool { return p.worker == w } }
	var open, holding []pair // undecided; with permits
	lane := gate.Class{Name: gate.OutOfBandClass, MaxWaiting: config.MaxWaiting, MaxWait: config.MaxWait}

	for i := 0; i+1 < len(steps); i += 2 {
		step, arg := steps[i], int(steps[i+1])
		switch step & 7 {
		case 0, 1, 2: // somebody wants permits
			ctx, cancel := context.WithCancel(context.Background())
			deadline := time.Duration(0)
			if arg&1 == 1 {
				// Deadlines end after 3 ms, each in an instant of its own, and
				// waits on 7 ms: where two end at once, either may be first.
				d := time.Duration(arg>>3)*10*time.Millisecond + 3*time.Millisecond + time.Duration(i)*time.Microsecond
				deadline = m.now + d
				ctx, cancel = context.WithTimeout(context.Background(), d)
			}
			class, r := config.Classes[arg>>1%len(config.Classes)], gate.Request{Weight: 1}
			if step>>3%4 == 0 {
				r.Weight = 1 + arg>>4%4
			}
			if step>>5 == 0 {
				class, r.OutOfBand = lane, true
			}
			var w *worker
			if step&7 == 2 && len(holding) > 0 { // somebody who holds permits wants more
				w = holding[arg%len(holding)].worker
			}
			if w == nil || slices.ContainsFunc(open, of(w)) {
				w = newWorker(t)
			}
			nested := slices.ContainsFunc(holding, of(w))
			real := w.call(gate.WithClass(undated{ctx}, class.Name), g, r)
			open = append(open, pair{real, m.arrive(class, r.Weight, deadline, nested), w, cancel})
		case 3, 4: // somebody is through
			if len(holding) > 0 {
				p := holding[arg%len(holding)]
				holding = append(holding[:arg%len(holding)], holding[arg%len(holding)+1:]...)
				p.real.permit.Release()
				p.cancel()
				m.release(p.model)
			}
		case 5: // a waiter is cancelled
			if len(open) > 0 {
				p := open[arg%len(open)]
				p.cancel()
				m.leave(func(c *modelCaller) error {
					if c == p.model {
						return context.Canceled
					}
					return nil
				})
			}
		case 6: // time passes
			d := time.Duration(1+arg>>3) * 10 * time.Millisecond
			time.Sleep(d)
			m.pass(d)
		case 7:
			switch {
			case arg == 255:
				g.Close()
				m.closed = true
				m.leave(func(*modelCaller) error { return gate.ErrClosed })
			case arg > 230:
				g.Pause()
				m.paused = true
			case arg > 160:
				g.Resume()
				m.paused = false
				m.serve()
			default:
				limit := 1 + arg%6
				if err := g.SetLimit(limit); err != nil {
					t.Fatal(err)
				}
				m.config.Limit = limit
				m.serve()
			}
		}
		synctest.Wait()

		s := g.Stats()
		if s.Limit != m.config.Limit || s.InFlight != m.ofLimit() || s.Waiting != len(m.queue) {
			t.Fatalf("step %d (%d): limit, in flight, waiting are %d, %d, %d; want %d, %d, %d",
				i, step, s.Limit, s.InFlight, s.Waiting, m.config.Limit, m.ofLimit(), len(m.queue))
		}
		for _, c := range append(s.Classes, s.OutOfBand) {
			if c.InFlight != m.inFlight[c.Name] {
				t.Fatalf("step %d (%d): %d of class %s in flight, want %d", i, step, c.InFlight, c.Name, m.inFlight[c.Name])
			}
		}
		var undecided []pair
		for _, p := range open {
			if p.real.waits() == p.model.decided {
				t.Fatalf("step %d (%d): a caller waits: %v, want %v", i, step, p.real.waits(), !p.model.decided)
			}
			switch {
			case p.real.waits():
				undecided = append(undecided, p)
			case !errors.Is(p.real.err, p.model.err):
				t.Fatalf("step %d (%d): a caller got %v, want %v", i, step, p.real.err, p.model.err)
			case p.real.err == nil:
				holding = append(holding, p)
			default:
				p.cancel()
			}
		}
		open = undecided
	}

	for _, p := range open {
		p.cancel()
	}
	synctest.Wait()
	for _, p := range open { // as one leaves, those behind it may be let in before they are cancelled
		p.real.permit.Release()
	}
	for _, p := range holding {
		p.real.permit.Release()
		p.cancel()
	}
}

// modelConfigs are one class, and several that differ in everything.
func modelConfigs(mode gate.Mode) []gate.Config {
	const wait = 157 * time.Millisecond
	alone := gate.Class{Name: gate.DefaultClass, MaxWaiting: 5, MaxWait: wait}
	web := gate.Class{Name: "web", Reserved: 2, Priority: 1, MaxWaiting: 4, MaxWait: 87 * time.Millisecond}
	batch := gate.Class{Name: "batch", Max: 2, Priority: -1, MaxWaiting: 6, MaxWait: wait}
	admin := gate.Class{Name: "admin", Reserved: 1, Max: 1, MaxWaiting: gate.NoWaiting, MaxWait: wait}
	return []gate.Config{
		{Limit: 2, Mode: mode, MaxWaiting: 3, MaxWait: wait, Classes: []gate.Class{alone}},
		{Limit: 4, Mode: mode, MaxWaiting: 3, MaxWait: wait, Classes: []gate.Class{alone, web, batch, admin}},
		busyConfig(mode),
	}
}

// busyConfig has queues that are long enough for classes to be passed over.
func busyConfig(mode gate.Mode) gate.Config {
	config := gate.Config{Limit: 3, Mode: mode, MaxWaiting: 30, MaxWait: 20 * time.Second}
	for _, c := range []gate.Class{
		{Name: gate.DefaultClass}, {Name: "owner", Reserved: 1}, {Name: "high", Priority: 2}, {Name: "low", Priority: -1}, {Name: "lowest", Priority: -2},
	} {
		c.MaxWaiting, c.MaxWait = config.MaxWaiting, config.MaxWait
		config.Classes = append(config.Classes, c)
	}
	return config
}

// sequences is how many are tried of each configuration, of 300 steps each.
var sequences = flag.Int("sequences", 60, "of steps for TestModel; 3000 are some millions of steps")

func TestModel(t *testing.T) {
	for _, mode := range []gate.Mode{gate.Sliding, gate.Chunked} {
		for _, config := range modelConfigs(mode) {
			t.Run(fmt.Sprintf("a gate does what the model does: %v, %d classes", mode, len(config.Classes)), func(t *testing.T) {
				for seed := range *sequences {
					random := rand.New(rand.NewPCG(uint64(seed), uint64(mode)))
					steps := make([]byte, 2*300)
					busy := len(config.Classes) == len(busyConfig(mode).Classes)
					for i := range steps {
						steps[i] = byte(random.UintN(256))
						if busy && i%2 == 0 && random.UintN(8) > 0 { // mostly one permit for a newcomer, or one that comes back
							steps[i] = 1<<3 | 1<<5 | byte(random.UintN(2)*3)
						}
						if busy && i%2 == 1 && random.UintN(2) > 0 {
							steps[i] = 4 // of class high, without a deadline; or the longest holder
						}
						if steps[i] == 255 && random.UintN(8) > 0 { // Close ends the story: keep it rare
							steps[i] = 0
						}
					}
					synctest.Test(t, func(t *testing.T) { drive(t, config, steps) })
					if t.Failed() {
						t.Fatalf("seed %d", seed)
					}
				}
			})
		}
	}
}

func FuzzGate(f *testing.F) {
	f.Add(uint8(0), []byte{64, 0, 64, 0, 64, 5, 6, 9, 3, 0, 5, 0, 7, 200, 7, 255})
	f.Add(uint8(3), []byte{64, 8, 96, 56, 0, 24, 64, 7, 3, 0, 3, 0, 6, 99})
	f.Fuzz(func(t *testing.T, which uint8, steps []byte) {
		configs := modelConfigs(gate.Mode(which & 1))
		if len(steps) > 1000 {
			steps = steps[:1000]
		}
		synctest.Test(t, func(t *testing.T) { drive(t, configs[which>>1%3], steps) })
	})
}
