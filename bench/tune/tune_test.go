package tune

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// server works on at most knee operations side by side and takes 5 ms for each
// of these.
func server(knee int) func(context.Context) error {
	var inFlight atomic.Int64
	return func(context.Context) error {
		n := inFlight.Add(1)
		defer inFlight.Add(-1)
		time.Sleep(5 * time.Millisecond * time.Duration(max(int64(knee), n)) / time.Duration(knee))
		return nil
	}
}

func TestRun(t *testing.T) {
	for _, knee := range []int{1, 6, 24, 96} {
		synctest.Test(t, func(t *testing.T) {
			r, err := Run(t.Context(), Config{Operation: server(knee)})
			if err != nil {
				t.Fatal(err)
			}
			if want := enough * float64(knee); r.Knee < 0.97*want || r.Knee > max(1, 1.03*want) {
				t.Errorf("the knee is %.2f, want %.2f, where there are %.0f %% of the throughput", r.Knee, want, 100*enough)
			}
			if r.Recommended != max(1, int(math.Round(r.Knee))) || r.Low > r.Recommended || r.High < r.Recommended {
				t.Errorf("%d is recommended, and %d to %d, for a knee of %.2f", r.Recommended, r.Low, r.High, r.Knee)
			}
			if !r.Certain || r.Rounds != leastRounds {
				t.Errorf("after %d rounds it ended (certain: %v), want %d", r.Rounds, r.Certain, leastRounds)
			}
			throughput, p50 := r.At(knee)
			if want := float64(knee) * 200; math.Abs(throughput-want) > 0.1*want {
				t.Errorf("the throughput at %d is %.0f, want about %.0f", knee, throughput, want)
			}
			if p50 < 4.9 || p50 > 5.5 {
				t.Errorf("the median at %d is %.1f ms, want 5", knee, p50)
			}
		})
	}
}

func TestRunEndsInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 1))
		var calls atomic.Int64
		start := time.Now()
		r, err := Run(t.Context(), Config{Longest: 30 * time.Second, Max: 8, Operation: func(context.Context) error {
			if calls.Add(1)%50 == 0 {
				time.Sleep(time.Duration(random.IntN(4000)) * time.Millisecond) // nothing is ever certain
			}
			time.Sleep(time.Millisecond)
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		if d := time.Since(start); d > 3*time.Minute {
			t.Errorf("it took %v", d)
		}
		if r.Recommended < 1 || len(r.Levels) != len(Levels(8)) {
			t.Errorf("%+v", r)
		}
	})
}

func TestRunIsCanceled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := Run(ctx, Config{Operation: server(4)}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("in the first round the error is %v", err)
		}
		ctx, cancel = context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		r, err := Run(ctx, Config{Operation: server(4)})
		if err != nil || r.Certain || r.Recommended != 4 {
			t.Errorf("later it is %+v, %v", r, err)
		}
		for _, l := range r.Levels {
			if len(l.rounds) != r.Rounds {
				t.Errorf("%d rounds with %d in flight, want %d", len(l.rounds), l.InFlight, r.Rounds)
			}
		}
	})
}

func TestRunRefusesWhatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fault := errors.New("no such table")
		_, err := Run(t.Context(), Config{Operation: func(context.Context) error { time.Sleep(time.Millisecond); return fault }})
		if !errors.Is(err, ErrOperation) || !errors.Is(err, fault) {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestConfig(t *testing.T) {
	for _, config := range []Config{
		{},
		{Operation: server(1), Max: -1},
		{Operation: server(1), Window: -1},
		{Operation: server(1), Longest: -1},
	} {
		if _, err := Run(t.Context(), config); err == nil {
			t.Errorf("%+v is accepted", config)
		}
	}
}

func TestLevels(t *testing.T) {
	for most, want := range map[int][]int{
		1:   {1},
		2:   {1, 2},
		10:  {1, 2, 3, 4, 6, 8},
		11:  {1, 2, 3, 4, 6, 8, 11},
		128: {1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 96, 128},
	} {
		if got := Levels(most); !slices.Equal(got, want) {
			t.Errorf("up to %d: %v, want %v", most, got, want)
		}
	}
}

func TestFit(t *testing.T) {
	for _, want := range []Law{
		{Lambda: 100, Sigma: 0.05, Kappa: 0.001},
		{Lambda: 3, Sigma: 0.3},
		{Lambda: 1000, Kappa: 0.01},
		{Lambda: 10},
	} {
		var levels []Level
		for _, n := range Levels(64) {
			levels = append(levels, Level{InFlight: n, Throughput: want.At(float64(n))})
		}
		got := fit(levels)
		if math.Abs(got.Lambda/want.Lambda-1) > 1e-6 || math.Abs(got.Sigma-want.Sigma) > 1e-6 || math.Abs(got.Kappa-want.Kappa) > 1e-6 {
			t.Errorf("got %+v, want %+v", got, want)
		}
		if got.R2 < 0.999 && want.Sigma+want.Kappa > 0 {
			t.Errorf("R² is %v", got.R2)
		}
		if want.Kappa > 1e-9 {
			if peak := math.Sqrt((1 - want.Sigma) / want.Kappa); math.Abs(got.Peak-peak) > 0.01 {
				t.Errorf("the peak is %v, want %v", got.Peak, peak)
			}
		}
	}
}

func TestRecommendIsStableUnderNoise(t *testing.T) {
	sharp := func(n float64) float64 { return min(n, 20) }
	for name, test := range map[string]struct {
		throughput func(n float64) float64
		want       float64 // where it is 95 % of the highest
	}{
		"it rises up to a knee":  {sharp, 22},
		"it rises less and less": {Law{Lambda: 1, Sigma: 0.1}.At, 67},
		"it falls after a peak":  {Law{Lambda: 1, Sigma: 0.02, Kappa: 0.002}.At, 14},
	} {
		t.Run(name, func(t *testing.T) {
			random := rand.New(rand.NewPCG(7, 7))
			agree := 0
			var knees []float64
			for range 100 {
				var levels []Level
				for _, n := range Levels(128) {
					levels = append(levels, Level{InFlight: n})
				}
				for range 2 * leastRounds {
					machine := math.Exp(0.1 * random.NormFloat64()) // the whole round is slower or faster
					for i := range levels {
						x := test.throughput(float64(levels[i].InFlight)) * machine * math.Exp(0.02*random.NormFloat64())
						levels[i].rounds = append(levels[i].rounds, x)
					}
				}
				g := recommend(levels, random)
				if g.low > g.knee || g.high < g.knee {
					t.Errorf("%.1f is not between %.1f and %.1f", g.knee, g.low, g.high)
				}
				knees = append(knees, g.knee)
				if g.knee <= near*test.want && near*g.knee >= test.want {
					agree++
				}
			}
			slices.Sort(knees)
			if agree < 90 {
				t.Errorf("%d of 100 sweeps are near %.0f: they say %.1f to %.1f, and half of them more than %.1f", agree, test.want, knees[0], knees[99], knees[50])
			}
		})
	}
}

func TestStudent(t *testing.T) {
	for degrees, want := range map[int]float64{3: 3.182, 5: 2.571, 10: 2.228, 30: 2.042} {
		if got := student(degrees); math.Abs(got/want-1) > 0.02 {
			t.Errorf("with %d degrees of freedom it is %.3f, want %.3f", degrees, got, want)
		}
	}
}
