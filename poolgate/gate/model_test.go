package gate_test

import (
	"context"
	"errors"
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
}

type modelCaller struct {
	class           gate.Class
	since, deadline time.Duration // deadline 0: none
	passed          int
	decided         bool
	err             error // where decided; nil: it holds a permit
}

func (m *model) allInFlight() (n int) {
	for _, k := range m.inFlight {
		n += k
	}
	return n
}

func (m *model) room(class gate.Class) bool {
	if m.paused || m.closed {
		return false
	}
	if class.Max > 0 && m.inFlight[class.Name] >= class.Max {
		return false
	}
	if m.config.Mode == gate.Chunked {
		return m.wave < m.config.Limit
	}
	return m.allInFlight() < m.config.Limit
}

// heads are the first of each class that could enter now, in order.
func (m *model) heads() (heads []*modelCaller) {
	seen := map[string]bool{}
	for _, c := range m.queue {
		if !seen[c.class.Name] && m.room(c.class) {
			heads = append(heads, c)
		}
		seen[c.class.Name] = true
	}
	return heads
}

func (m *model) serve() {
	for {
		heads := m.heads()
		if len(heads) == 0 {
			return
		}
		rank := func(c *modelCaller) int { // the longest waiter of the highest rank
			switch {
			case c.passed >= 16:
				return 1 << 20
			case m.inFlight[c.class.Name] < c.class.Reserved:
				return 1<<10 + c.class.Priority
			}
			return c.class.Priority
		}
		best := heads[0]
		for _, c := range heads {
			if rank(c) > rank(best) {
				best = c
			}
		}
		for _, c := range heads {
			if c == best {
				break
			}
			c.passed++
		}
		m.queue = slices.DeleteFunc(m.queue, func(c *modelCaller) bool { return c == best })
		best.decided = true
		m.inFlight[best.class.Name]++
		m.wave++
	}
}

func (m *model) arrive(class gate.Class, deadline time.Duration) *modelCaller {
	c := &modelCaller{class: class, since: m.now, deadline: deadline}
	waiting := 0
	for _, other := range m.queue {
		if other.class == class {
			waiting++
		}
	}
	switch {
	case m.closed:
		c.decided, c.err = true, gate.ErrClosed
	case !m.room(class) && waiting >= max(class.MaxWaiting, 0): // NoWaiting is negative
		c.decided, c.err = true, m.unlessPaused(gate.ErrQueueFull)
	default:
		m.queue = append(m.queue, c)
		m.serve()
	}
	return c
}

func (m *model) release(c *modelCaller) {
	m.inFlight[c.class.Name]--
	if m.allInFlight() == 0 {
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
}

func (m *model) pass(d time.Duration) {
	m.now += d
	m.leave(func(c *modelCaller) error {
		timeout := c.since + c.class.MaxWait
		switch {
		case c.deadline > 0 && c.deadline < timeout && c.deadline <= m.now:
			return context.DeadlineExceeded
		case timeout <= m.now:
			return m.unlessPaused(gate.ErrWaitTimeout)
		}
		return nil
	})
}

// drive runs the steps against a gate and the model at once, and compares the
// two after each.
func drive(t *testing.T, config gate.Config, steps []byte) {
	g := newGate(t, config)
	m := &model{config: config, inFlight: map[string]int{}}
	type pair struct {
		real   *caller
		model  *modelCaller
		cancel context.CancelFunc
	}
	var open, holding []pair // undecided; with a permit

	for i, step := range steps {
		arg := int(step >> 3)
		switch step & 7 {
		case 0, 1, 2: // somebody comes
			ctx, cancel := context.WithCancel(context.Background())
			deadline := time.Duration(0)
			if arg&1 == 1 {
				// Deadlines end on 3 ms and waits on 7 ms, so never in the same instant.
				d := time.Duration(arg)*10*time.Millisecond + 3*time.Millisecond
				deadline = m.now + d
				ctx, cancel = context.WithTimeout(context.Background(), d)
			}
			class := config.Classes[arg/2%len(config.Classes)]
			open = append(open, pair{call(gate.WithClass(ctx, class.Name), g), m.arrive(class, deadline), cancel})
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
			d := time.Duration(1+arg) * 10 * time.Millisecond
			time.Sleep(d)
			m.pass(d)
		case 7:
			switch {
			case arg == 31:
				g.Close()
				m.closed = true
				m.leave(func(*modelCaller) error { return gate.ErrClosed })
			case arg > 28:
				g.Pause()
				m.paused = true
			case arg > 20:
				g.Resume()
				m.paused = false
				m.serve()
			default:
				limit := 1 + arg%4
				if err := g.SetLimit(limit); err != nil {
					t.Fatal(err)
				}
				m.config.Limit = limit
				m.serve()
			}
		}
		synctest.Wait()

		s := g.Stats()
		if s.Limit != m.config.Limit || s.InFlight != m.allInFlight() || s.Waiting != len(m.queue) {
			t.Fatalf("step %d (%d): limit, in flight, waiting are %d, %d, %d; want %d, %d, %d",
				i, step, s.Limit, s.InFlight, s.Waiting, m.config.Limit, m.allInFlight(), len(m.queue))
		}
		for _, c := range s.Classes {
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
		{Limit: 2, Mode: mode, Classes: []gate.Class{alone}},
		{Limit: 4, Mode: mode, Classes: []gate.Class{alone, web, batch, admin}},
	}
}

func TestModel(t *testing.T) {
	sequences, length := 300, 300
	if testing.Short() {
		sequences = 30
	}
	for _, mode := range []gate.Mode{gate.Sliding, gate.Chunked} {
		for _, config := range modelConfigs(mode) {
			t.Run(fmt.Sprintf("a gate does what the model does: %v, %d classes", mode, len(config.Classes)), func(t *testing.T) {
				for seed := range sequences {
					random := rand.New(rand.NewPCG(uint64(seed), uint64(mode)))
					steps := make([]byte, length)
					for i := range steps {
						steps[i] = byte(random.UintN(256))
						if steps[i] == 0xff && random.UintN(8) > 0 { // Close ends the story: keep it rare
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
	f.Add(uint8(0), []byte{0, 0, 0, 6, 3, 5, 7, 255})
	f.Add(uint8(3), []byte{0, 8, 16, 24, 32, 3, 3, 246})
	f.Fuzz(func(t *testing.T, which uint8, steps []byte) {
		configs := modelConfigs(gate.Mode(which & 1))
		if len(steps) > 1000 {
			steps = steps[:1000]
		}
		synctest.Test(t, func(t *testing.T) { drive(t, configs[which>>1&1], steps) })
	})
}
