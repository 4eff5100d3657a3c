package overload

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// A stream is the requests of one class: how many come in a second, on
// average, at random moments.
type stream struct {
	class string
	rate  float64
}

// Requests is what became of the requests of a class.
type Requests struct {
	Class    string  `json:"class"`
	Rate     float64 `json:"rate"`      // in a second, on average
	Offered  int     `json:"offered"`   // so many came
	InTime   int     `json:"in_time"`   // were answered within the deadline
	Late     int     `json:"late"`      // were answered after it
	Refused  int     `json:"refused"`   // by the gate, with an error of its own
	TimedOut int     `json:"timed_out"` // the deadline ended the wait or the query
	Failed   int     `json:"failed"`    // for another reason

	// Error is one of those that failed, if any did.
	Error string `json:"error,omitempty"`

	// Goodput is how many were answered in time in a second.
	Goodput float64 `json:"goodput"`

	// How long requests took, from when they were to be sent. Those that were
	// not answered in time count as longer than any: where more than one in a
	// hundred was not, P99 is the deadline.
	P50 float64 `json:"p50_ms"`
	P99 float64 `json:"p99_ms"`

	// How late requests were sent: of the client, not of the server.
	LagP50 float64 `json:"lag_p50_ms"`
	LagP99 float64 `json:"lag_p99_ms"`
	LagMax float64 `json:"lag_max_ms"`
}

// tally collects what becomes of the requests of a stream.
type tally struct {
	mu       sync.Mutex // guards all
	requests Requests
	took     *hdrhistogram.Histogram // in µs
	lag      *hdrhistogram.Histogram // in µs
}

func newTally(s stream) *tally {
	histogram := func() *hdrhistogram.Histogram { return hdrhistogram.New(1, time.Hour.Microseconds(), 3) }
	return &tally{requests: Requests{Class: s.class, Rate: s.rate}, took: histogram(), lag: histogram()}
}

// end notes how a request ended.
func (t *tally) end(took, deadline time.Duration, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &t.requests
	inTime := false
	switch {
	case err == nil && took <= deadline:
		r.InTime++
		inTime = true
	case err == nil:
		r.Late++
	case errors.Is(err, gate.ErrRejected):
		r.Refused++
	case took >= deadline: // drivers have errors of their own for that
		r.TimedOut++
	default:
		r.Failed++
		r.Error = err.Error()
	}
	if !inTime {
		took = deadline
	}
	t.took.RecordValue(max(1, took.Microseconds())) // which is less than an hour
}

// sent notes that a request was sent, and how late.
func (t *tally) sent(lag time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.requests.Offered++
	t.lag.RecordValue(min(max(1, lag.Microseconds()), time.Hour.Microseconds()))
}

func (t *tally) result(window time.Duration) Requests {
	ms := func(h *hdrhistogram.Histogram, q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1000 }
	r := t.requests
	r.Goodput = float64(r.InTime) / window.Seconds()
	r.P50, r.P99 = ms(t.took, 50), ms(t.took, 99)
	r.LagP50, r.LagP99, r.LagMax = ms(t.lag, 50), ms(t.lag, 99), float64(t.lag.Max())/1000
	return r
}

// offer sends the requests of all streams, and returns what became of those of
// the window, which begins after the warm-up, as soon as all have ended.
func offer(ctx context.Context, s *server, q query, streams []stream, config Config) []Requests {
	tallies := make([]*tally, len(streams))
	var wg sync.WaitGroup
	start := time.Now()
	for i, stream := range streams {
		t := newTally(stream)
		tallies[i] = t
		random := rand.New(rand.NewPCG(config.Seed, uint64(i)))
		wg.Go(func() {
			begin, end := start.Add(config.Warmup), start.Add(config.Warmup+config.Window)
			class := gate.WithClass(ctx, stream.class)
			for at := start; ctx.Err() == nil; {
				at = at.Add(time.Duration(random.ExpFloat64() / stream.rate * float64(time.Second)))
				if at.After(end) {
					return
				}
				time.Sleep(time.Until(at))
				counts := !at.Before(begin)
				if counts {
					t.sent(time.Since(at))
				}
				wg.Go(func() {
					ctx, cancel := context.WithDeadline(class, at.Add(config.Deadline))
					defer cancel()
					err := s.do(ctx, q)
					if counts {
						t.end(time.Since(at), config.Deadline, err)
					}
				})
			}
		})
	}
	wg.Wait()
	results := make([]Requests, len(streams))
	for i, t := range tallies {
		results[i] = t.result(config.Window)
	}
	return results
}
