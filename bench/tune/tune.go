// Package tune finds the limit at which a database serves a given statement
// best, by trying: it sweeps the number of operations in flight, in random
// order and again and again, until the answer no longer depends on chance.
//
// The recommendation is the lowest limit whose throughput is within 5 % of the
// highest, between two numbers that were tried if need be: more in flight than that
// makes every operation slower and brings nearly nothing.
package tune

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of [Config].
const (
	DefaultMax     = 128
	DefaultWindow  = 300 * time.Millisecond
	DefaultLongest = 3 * time.Minute
)

const (
	// leastRounds is how often each number in flight is tried at least.
	leastRounds = 6

	// After firstRounds there is something to say. From then on what decides, the
	// numbers within a factor of closeBy of the recommendation, is tried closeTries
	// times in each round.
	firstRounds = 3
	closeBy     = 1.5
	closeTries  = 3

	// certain is the share of resamples that have to agree within 20 %.
	certain = 0.95
)

// Config says what to try.
type Config struct {
	// Max is the highest number of operations in flight. Zero means DefaultMax.
	Max int

	// Window is how long each try lasts, a third of it again before it to
	// settle. Zero means DefaultWindow. It is stretched to five times a slow
	// operation.
	Window time.Duration

	// Longest is when the sweep ends although the answer is not certain. Zero
	// means DefaultLongest.
	Longest time.Duration

	// Operation does one operation with everything that belongs to it. It is
	// called by up to Max goroutines at once.
	Operation func(ctx context.Context) error

	// Progress, if not nil, is called after each round.
	Progress func(p Progress)

	// CPU returns the CPU time that this process has used so far. Nil means
	// that it is not known.
	CPU func() (time.Duration, bool)
}

// Progress is how far a sweep is.
type Progress struct {
	Rounds      int
	Elapsed     time.Duration
	Recommended int     // so far; 0 in the first rounds
	Certainty   float64 // that it is that within 20 %, from 0 to 1
}

// A Level is what was measured with a number of operations in flight.
type Level struct {
	InFlight   int     `json:"in_flight"`
	Throughput float64 `json:"ops_per_second"`
	Low        float64 `json:"ops_per_second_low"`  // of its 95 % confidence interval
	High       float64 `json:"ops_per_second_high"` // of its 95 % confidence interval
	P50        float64 `json:"p50_ms"`
	P99        float64 `json:"p99_ms"`
	Operations int     `json:"operations"`
	ClientCPU  float64 `json:"client_cpu_cores"` // that this process used; 0 if not known

	tries     []float64 // throughput of each in the present round
	rounds    []float64 // the mean of each round
	windows   int
	durations []float64 // of operations, in ms: a sample
}

// A Result is what a sweep has found.
type Result struct {
	Recommended int     `json:"recommended_limit"`
	Knee        float64 `json:"knee"`             // the same, before it was rounded
	Low         int     `json:"recommended_low"`  // the recommendation of 2.5 % of the resamples is lower
	High        int     `json:"recommended_high"` // and that of 2.5 % higher
	Certain     bool    `json:"certain"`          // otherwise the time was up first
	Certainty   float64 `json:"certainty"`
	Rounds      int     `json:"rounds"`
	Seconds     float64 `json:"seconds"`
	Levels      []Level `json:"levels"`
	Law         Law     `json:"universal_scalability_law"`

	// ClientBound reports whether this process used nearly all the CPU that it
	// could have had at the recommended limit or before, so that the load
	// generator and not the database may have been the limit.
	ClientBound bool `json:"client_bound"`
	Cores       int  `json:"cores"`
}

// Levels returns the numbers of operations in flight that are tried up to most:
// steps of a third to a half.
func Levels(most int) []int {
	var levels []int
	for base := 1; base <= most; base *= 2 {
		for _, n := range []int{base, base * 3 / 2} {
			if n <= most && !slices.Contains(levels, n) {
				levels = append(levels, n)
			}
		}
	}
	if last := levels[len(levels)-1]; last < most && 4*most > 5*last {
		levels = append(levels, most)
	}
	return levels
}

// Estimate returns how long a sweep takes at least and at most, where
// operations are quick.
func (c Config) Estimate() (least, most time.Duration) {
	c = c.withDefaults()
	round := time.Duration(len(Levels(c.Max))) * (c.Window + c.Window/3)
	return min(leastRounds*round, c.Longest), c.Longest
}

func (c Config) withDefaults() Config {
	if c.Max == 0 {
		c.Max = DefaultMax
	}
	if c.Window == 0 {
		c.Window = DefaultWindow
	}
	if c.Longest == 0 {
		c.Longest = DefaultLongest
	}
	return c
}

// ErrOperation is the error of Run where operations failed; the first error of
// one is in it.
var ErrOperation = errors.New("tune: an operation failed")

// Run sweeps. It returns an error if config is wrong, if ctx ends before there
// is anything to say, or if an operation fails: what fails quickly would look
// quick. If ctx ends later, the result is not certain.
func Run(ctx context.Context, config Config) (*Result, error) {
	switch {
	case config.Operation == nil:
		return nil, errors.New("tune: Config.Operation is nil")
	case config.Max < 0:
		return nil, fmt.Errorf("tune: Config.Max must not be negative, got %d", config.Max)
	case config.Window < 0, config.Longest < 0:
		return nil, fmt.Errorf("tune: Config.Window and Longest must not be negative, got %v and %v", config.Window, config.Longest)
	}
	config = config.withDefaults()
	levels := make([]Level, 0)
	for _, n := range Levels(config.Max) {
		levels = append(levels, Level{InFlight: n})
	}
	start := time.Now()
	result := &Result{Levels: levels, Cores: runtime.GOMAXPROCS(0)}
	random := rand.New(rand.NewPCG(uint64(start.UnixNano()), 1))
	// The order is random, so that neither a table that grows nor a machine
	// that warms up speaks for or against a limit.
	decides := func(int) bool { return false }
	for round := 0; ; round++ {
		var order []int
		for i, l := range levels {
			tries := 1
			if decides(l.InFlight) {
				tries = closeTries
			}
			order = append(order, slices.Repeat([]int{i}, tries)...)
		}
		random.Shuffle(len(order), func(i, j int) { order[i], order[j] = order[j], order[i] })
		for _, i := range order {
			if err := levels[i].measure(ctx, config); err != nil {
				if ctx.Err() != nil && round > 0 { // this round is not complete
					return result.finish(start, random), nil
				}
				return nil, err
			}
		}
		for i := range levels {
			l := &levels[i]
			l.rounds = append(l.rounds, mean(l.tries))
			l.tries = l.tries[:0]
		}
		result.Rounds = round + 1
		p := Progress{Rounds: round + 1, Elapsed: time.Since(start)}
		if round+1 >= firstRounds {
			g := recommend(levels, random)
			p.Recommended, p.Certainty = whole(g.knee), g.certainty
			decides = func(n int) bool { return float64(n) <= closeBy*g.knee && closeBy*float64(n) >= g.knee }
		}
		if config.Progress != nil {
			config.Progress(p)
		}
		result.Certain = round+1 >= leastRounds && p.Certainty >= certain
		if result.Certain || p.Elapsed >= config.Longest {
			return result.finish(start, random), nil
		}
	}
}

func (r *Result) finish(start time.Time, random *rand.Rand) *Result {
	r.Seconds = time.Since(start).Seconds()
	g := recommend(r.Levels, random)
	r.Knee, r.Certainty = g.knee, g.certainty
	r.Recommended, r.Low, r.High = whole(g.knee), whole(g.low), whole(g.high)
	for i := range r.Levels {
		l := &r.Levels[i]
		l.Throughput, l.Low, l.High = interval(l.rounds)
		slices.Sort(l.durations)
		l.P50, l.P99 = quantile(l.durations, 0.5), quantile(l.durations, 0.99)
		if l.InFlight <= r.Recommended && l.ClientCPU > 0.8*float64(r.Cores) {
			r.ClientBound = true
		}
	}
	r.Law = fit(r.Levels)
	return r
}

// whole returns the limit for a knee.
func whole(knee float64) int { return max(1, int(math.Round(knee))) }

// Nearest returns the number in flight that was tried and is nearest to the
// recommendation.
func (r *Result) Nearest() int {
	nearest := slices.MinFunc(r.Levels, func(a, b Level) int {
		return cmp.Compare(math.Abs(math.Log(float64(a.InFlight)/r.Knee)), math.Abs(math.Log(float64(b.InFlight)/r.Knee)))
	})
	return nearest.InFlight
}

// At returns the throughput, and the median time of an operation in milliseconds,
// with so many operations in flight, on a line between the levels that were
// measured.
func (r *Result) At(inFlight int) (throughput, p50 float64) {
	last := r.Levels[0]
	for _, l := range r.Levels {
		if l.InFlight >= inFlight {
			part := 1.0
			if l.InFlight > last.InFlight {
				part = float64(inFlight-last.InFlight) / float64(l.InFlight-last.InFlight)
			}
			return last.Throughput + part*(l.Throughput-last.Throughput), last.P50 + part*(l.P50-last.P50)
		}
		last = l
	}
	return last.Throughput, last.P50
}

// keepDurations is how many durations of operations a level keeps for its
// percentiles.
const keepDurations = 20000

// measure runs a window with l.InFlight operations in flight.
func (l *Level) measure(ctx context.Context, config Config) error {
	window := config.Window
	if slow := time.Duration(5 * mean(l.durations) * float64(time.Millisecond)); slow > window {
		window = slow
	}
	var (
		begun, ended   atomic.Bool
		operations     atomic.Int64
		failed         atomic.Pointer[error]
		workers        sync.WaitGroup
		mu             sync.Mutex // guards l.durations
		workersStarted = time.Now()
	)
	for range l.InFlight {
		workers.Go(func() {
			var took []float64
			for !ended.Load() && failed.Load() == nil && ctx.Err() == nil {
				counts := begun.Load()
				start := time.Now()
				if err := config.Operation(ctx); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				d := time.Since(start)
				if !ended.Load() && begun.Load() {
					operations.Add(1)
				}
				if counts {
					took = append(took, float64(d)/float64(time.Millisecond))
				}
			}
			mu.Lock()
			if room := keepDurations - len(l.durations); room > 0 {
				l.durations = append(l.durations, took[:min(room, len(took))]...)
			}
			mu.Unlock()
		})
	}
	wait(ctx, window/3)
	cpu, known := time.Duration(0), false
	if config.CPU != nil {
		cpu, known = config.CPU()
	}
	start := time.Now()
	begun.Store(true)
	wait(ctx, window)
	ended.Store(true)
	elapsed := time.Since(start)
	if known {
		after, _ := config.CPU()
		used := (after - cpu).Seconds() / elapsed.Seconds()
		l.ClientCPU += (used - l.ClientCPU) / float64(l.windows+1)
	}
	workers.Wait()
	if err := failed.Load(); err != nil && ctx.Err() == nil {
		return fmt.Errorf("%w with %d in flight, after %v: %w", ErrOperation, l.InFlight, time.Since(workersStarted).Round(time.Millisecond), *err)
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	x := float64(operations.Load()) / elapsed.Seconds()
	l.Operations += int(operations.Load())
	l.tries = append(l.tries, x)
	l.windows++
	return nil
}

func wait(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-ctx.Done():
	}
}
