package gate_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// model is what a gate should do, written as plainly as possible: slices, no
// concurrency, no clock but a number.
type model struct {
	config   gate.Config
	now      time.Duration
	inFlight int
	wave     int
	closed   bool
	queue    []*modelCaller
}

type modelCaller struct {
	since, deadline time.Duration // deadline 0: none
	decided         bool
	err             error // where decided; nil: it holds a permit
}

func (m *model) room() bool {
	if m.config.Mode == gate.Chunked {
		return m.wave < m.config.Limit
	}
	return m.inFlight < m.config.Limit
}

func (m *model) serve() {
	for len(m.queue) > 0 && m.room() {
		c := m.queue[0]
		m.queue = m.queue[1:]
		c.decided = true
		m.inFlight++
		m.wave++
	}
}

func (m *model) arrive(deadline time.Duration) *modelCaller {
	c := &modelCaller{since: m.now, deadline: deadline}
	switch {
	case m.closed:
		c.decided, c.err = true, gate.ErrClosed
	case (!m.room() || len(m.queue) > 0) && len(m.queue) >= m.config.MaxWaiting:
		c.decided, c.err = true, gate.ErrQueueFull
	default:
		m.queue = append(m.queue, c)
		m.serve()
	}
	return c
}

func (m *model) release() {
	m.inFlight--
	if m.inFlight == 0 {
		m.wave = 0
	}
	m.serve()
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
		timeout := c.since + m.config.MaxWait
		switch {
		case c.deadline > 0 && c.deadline < timeout && c.deadline <= m.now:
			return context.DeadlineExceeded
		case timeout <= m.now:
			return gate.ErrWaitTimeout
		}
		return nil
	})
}

// drive runs the steps against a gate and the model at once, and compares the
// two after each.
func drive(t *testing.T, config gate.Config, steps []byte) {
	g := newGate(t, config)
	m := &model{config: config}
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
			open = append(open, pair{call(ctx, g), m.arrive(deadline), cancel})
		case 3, 4: // somebody is through
			if len(holding) > 0 {
				p := holding[arg%len(holding)]
				holding = append(holding[:arg%len(holding)], holding[arg%len(holding)+1:]...)
				p.real.permit.Release()
				p.cancel()
				m.release()
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
			if arg == 31 {
				g.Close()
				m.closed = true
				m.leave(func(*modelCaller) error { return gate.ErrClosed })
				break
			}
			limit := 1 + arg%4
			if err := g.SetLimit(limit); err != nil {
				t.Fatal(err)
			}
			m.config.Limit = limit
			m.serve()
		}
		synctest.Wait()

		s := g.Stats()
		if s.Limit != m.config.Limit || s.InFlight != m.inFlight || s.Waiting != len(m.queue) {
			t.Fatalf("step %d (%d): limit, in flight, waiting are %d, %d, %d; want %d, %d, %d",
				i, step, s.Limit, s.InFlight, s.Waiting, m.config.Limit, m.inFlight, len(m.queue))
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

func modelConfig(mode gate.Mode) gate.Config {
	return gate.Config{Limit: 2, Mode: mode, MaxWaiting: 5, MaxWait: 157 * time.Millisecond}
}

func TestModel(t *testing.T) {
	sequences, length := 400, 300
	if testing.Short() {
		sequences = 40
	}
	for _, mode := range []gate.Mode{gate.Sliding, gate.Chunked} {
		t.Run("a gate does what the model does: "+mode.String(), func(t *testing.T) {
			for seed := range sequences {
				random := rand.New(rand.NewPCG(uint64(seed), uint64(mode)))
				steps := make([]byte, length)
				for i := range steps {
					steps[i] = byte(random.UintN(256))
					if steps[i] == 0xff && random.UintN(8) > 0 { // Close ends the story: keep it rare
						steps[i] = 0
					}
				}
				synctest.Test(t, func(t *testing.T) { drive(t, modelConfig(mode), steps) })
				if t.Failed() {
					t.Fatalf("seed %d", seed)
				}
			}
		})
	}
}

func FuzzGate(f *testing.F) {
	f.Add(false, []byte{0, 0, 0, 6, 3, 5, 7, 255})
	f.Add(true, []byte{0, 8, 0, 8, 0, 3, 3, 246})
	f.Fuzz(func(t *testing.T, chunked bool, steps []byte) {
		mode := gate.Sliding
		if chunked {
			mode = gate.Chunked
		}
		if len(steps) > 1000 {
			steps = steps[:1000]
		}
		synctest.Test(t, func(t *testing.T) { drive(t, modelConfig(mode), steps) })
	})
}
