package gate

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// knee is a server that works on at most n statements side by side, and takes
// 10 ms for each of these, or each; more make all slower.
type knee struct {
	each     time.Duration
	n        atomic.Int64
	inFlight atomic.Int64
	slow     atomic.Bool // one statement in 20,000 waits two minutes for something else
	count    atomic.Int64
}

func (k *knee) work() (took time.Duration) {
	if k.count.Add(1)%20_000 == 0 && k.slow.Load() {
		time.Sleep(2 * time.Minute)
		return 2 * time.Minute
	}
	n := k.inFlight.Add(1)
	defer k.inFlight.Add(-1)
	if took = k.each; took == 0 {
		took = 10 * time.Millisecond
	}
	took = took * time.Duration(max(k.n.Load(), n)) / time.Duration(k.n.Load())
	time.Sleep(took)
	return took
}

// press has many workers use g until ctx ends.
func press(ctx context.Context, g *Gate, k *knee, workers int) (wait func()) {
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for ctx.Err() == nil {
				p, err := g.Acquire(context.WithoutCancel(ctx)) // whose deadline would be refused at once, without end
				if err != nil {
					return
				}
				p.Worked(k.work(), false, false)
				p.Release()
			}
		})
	}
	return all.Wait
}

func adaptiveGate(t *testing.T, config Config) *Gate {
	t.Helper()
	config.MaxWait = time.Hour
	g, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		g.Close()
		if s := g.Stats(); s.InFlight != 0 || s.Waiting != 0 {
			t.Errorf("%d in flight and %d waiting at the end", s.InFlight, s.Waiting)
		}
	})
	return g
}

func wantCenter(t *testing.T, g *Gate, least, most int) {
	t.Helper()
	if s := g.Stats().Adaptive; s.Center < least || s.Center > most {
		t.Errorf("the center is %d, want %d to %d (%s)", s.Center, least, most, s.Reason)
	}
}

func TestAdaptiveFindsTheKnee(t *testing.T) {
	for _, start := range []int{1, 8, 200} {
		t.Run(fmt.Sprintf("start=%d", start), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := adaptiveGate(t, Config{Limit: start, Adaptive: &Adaptive{}})
				k := new(knee)
				k.n.Store(20)
				ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
				defer cancel()
				press(ctx, g, k, 300)()
				wantCenter(t, g, 14, 32)
			})
		})
	}
}

func TestAdaptiveFollowsTheServer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := adaptiveGate(t, Config{Adaptive: &Adaptive{}})
		k := new(knee)
		k.n.Store(40)
		ctx, cancel := context.WithCancel(t.Context())
		wait := press(ctx, g, k, 300)
		time.Sleep(time.Minute)
		wantCenter(t, g, 28, 62)
		k.n.Store(5) // three times less, and five times less again
		time.Sleep(time.Minute)
		wantCenter(t, g, 3, 9)
		k.n.Store(40)
		time.Sleep(time.Minute)
		wantCenter(t, g, 28, 62)
		cancel()
		wait()
	})
}

func TestAdaptiveHoldsStillWhileTheLimitDoesNotBind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := adaptiveGate(t, Config{Limit: 50, Adaptive: &Adaptive{}})
		k := new(knee)
		k.n.Store(5) // the server is overloaded, but not because of the limit
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		press(ctx, g, k, 20)()
		wantCenter(t, g, 50, 50)
	})
}

func TestAdaptiveStaysWithinItsBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := adaptiveGate(t, Config{
			Adaptive: &Adaptive{Min: 3, Max: 30},
			Classes:  []Class{{Name: "web", Reserved: 4}, {Name: "batch", Reserved: 3}},
		})
		var least, most atomic.Int64
		least.Store(1000)
		stop := g.Observe(Observer{LimitChange: func(c LimitChange) {
			least.Store(min(least.Load(), int64(c.New)))
			most.Store(max(most.Load(), int64(c.New)))
		}})
		defer stop()
		k := new(knee)
		k.n.Store(100)
		ctx, cancel := context.WithCancel(t.Context())
		wait := press(ctx, g, k, 100)
		time.Sleep(time.Minute)
		if got := most.Load(); got != 30 {
			t.Errorf("the highest limit is %d, want 30", got)
		}
		k.n.Store(1)
		time.Sleep(2 * time.Minute)
		if got := least.Load(); got != 7 {
			t.Errorf("the least limit is %d, want the 7 that are reserved", got)
		}
		cancel()
		wait()
	})
}

func TestAdaptiveShrinksAtOnceWhenTheServerIsOverloaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := adaptiveGate(t, Config{Limit: 40, Adaptive: &Adaptive{}})
		p, err := g.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		p.Worked(time.Millisecond, true, false)
		if n := g.Limit(); n < 25 {
			t.Errorf("an ordinary failure took the limit from 40 to %d", n)
		}
		before := g.Limit()
		p.Worked(time.Millisecond, true, true)
		if n := g.Limit(); n >= before {
			t.Errorf("the limit is %d after the server refused work, and was %d", n, before)
		}
		p.Release()
		if s := g.Stats().Adaptive; !strings.Contains(s.Reason, "refused") {
			t.Errorf("the reason is %q", s.Reason)
		}
	})
}

func TestAdaptiveSurvivesIdleHours(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := adaptiveGate(t, Config{Adaptive: &Adaptive{}})
		k := new(knee)
		k.n.Store(20)
		run := func(d time.Duration) {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			press(ctx, g, k, 100)()
		}
		run(30 * time.Second)
		before := g.Stats().Adaptive.Center
		time.Sleep(5 * time.Hour)
		if after := g.Stats().Adaptive.Center; after != before {
			t.Errorf("the center moved from %d to %d while nothing happened", before, after)
		}
		for range 20 { // bursts
			run(300 * time.Millisecond)
			time.Sleep(time.Minute)
		}
		wantCenter(t, g, 10, 40)
		run(30 * time.Second)
		wantCenter(t, g, 14, 32)
	})
}

func TestAdaptiveIsNotMisledByMinutesAmongMilliseconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := adaptiveGate(t, Config{Adaptive: &Adaptive{}})
		k := new(knee)
		k.n.Store(20)
		k.slow.Store(true)
		ctx, cancel := context.WithTimeout(t.Context(), 4*time.Minute)
		defer cancel()
		press(ctx, g, k, 200)()
		wantCenter(t, g, 20, 60) // 12 of these wait, and 20 work
	})
}

func TestAdaptiveWhilePaused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := adaptiveGate(t, Config{Adaptive: &Adaptive{}})
		k := new(knee)
		k.n.Store(20)
		ctx, cancel := context.WithCancel(t.Context())
		wait := press(ctx, g, k, 100)
		time.Sleep(30 * time.Second)
		for range 10 {
			g.Pause()
			time.Sleep(7 * time.Second)
			g.Resume()
			time.Sleep(3 * time.Second)
		}
		wantCenter(t, g, 12, 36)
		cancel()
		wait()
	})
}

func TestProbeSurvivesClockJumps(t *testing.T) {
	p := NewPairedProbe(Adaptive{Min: 1, Max: 200}, 8)
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for i, jump := range []time.Duration{0, time.Hour, -3 * time.Hour, 24 * 365 * time.Hour, -time.Second, 0} {
		now = now.Add(jump)
		for range 40 {
			d := p.Decide(now, 1, 200)
			if d.Again <= 0 || d.Again > slotMost || d.Limit < 1 || d.Center != 8 {
				t.Fatalf("after jump %d: %+v", i, d)
			}
			now = now.Add(d.Again)
		}
	}
}

func TestAdaptiveConfig(t *testing.T) {
	for name, test := range map[string]struct {
		config Config
		want   string // in the error; "" if there is none
		limit  int
	}{
		"the zero Adaptive":              {Config{Adaptive: &Adaptive{}}, "", 8},
		"a limit to begin with":          {Config{Limit: 30, Adaptive: &Adaptive{}}, "", 30},
		"a low maximum":                  {Config{Adaptive: &Adaptive{Max: 4}}, "", 4},
		"a high minimum":                 {Config{Adaptive: &Adaptive{Min: 300}}, "", 300},
		"reservations":                   {Config{Adaptive: &Adaptive{}, Classes: []Class{{Name: "a", Reserved: 12}}}, "", 12},
		"a negative Min":                 {Config{Adaptive: &Adaptive{Min: -1}}, "Config.Adaptive.Min", 0},
		"Max below Min":                  {Config{Adaptive: &Adaptive{Min: 5, Max: 4}}, "Config.Adaptive.Max", 0},
		"Max below the reservations":     {Config{Adaptive: &Adaptive{Max: 4}, Classes: []Class{{Name: "a", Reserved: 5}}}, "Config.Adaptive.Max", 0},
		"a limit above Max":              {Config{Limit: 5, Adaptive: &Adaptive{Max: 4}}, "Config.Limit", 0},
		"a limit below the reservations": {Config{Limit: 4, Adaptive: &Adaptive{}, Classes: []Class{{Name: "a", Reserved: 5}}}, "Config.Limit", 0},
		"an Aim that does not exist":     {Config{Adaptive: &Adaptive{Aim: 3}}, "Config.Adaptive.Aim", 0},
		"waves":                          {Config{Mode: Chunked, Adaptive: &Adaptive{}}, "Config.Adaptive", 0},
	} {
		t.Run(name, func(t *testing.T) {
			g, err := New(test.config)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("the error is %v, want one about %s", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := g.Limit(); got != test.limit {
				t.Errorf("the limit is %d, want %d", got, test.limit)
			}
		})
	}
}

func TestAimText(t *testing.T) {
	for a := range Aim(len(aims)) {
		text, err := a.MarshalText()
		if err != nil {
			t.Fatal(err)
		}
		var back Aim
		if err := back.UnmarshalText(text); err != nil || back != a {
			t.Errorf("%s is read as %v, %v", text, back, err)
		}
	}
	var a Aim
	if err := a.UnmarshalText([]byte("fast")); err == nil {
		t.Error("an Aim that does not exist is read")
	}
}

func TestOtherFinders(t *testing.T) {
	for name, finder := range map[string]func(Adaptive, int) Finder{"gradient2": NewGradient2, "aimd": NewAIMD} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := adaptiveGate(t, Config{Adaptive: &Adaptive{Max: 60, Finder: finder}})
				k := new(knee)
				k.n.Store(20)
				ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
				defer cancel()
				press(ctx, g, k, 300)()
				wantCenter(t, g, 15, 60)
			})
		})
	}
}

// BenchmarkAdaptive runs a fixed and an adaptive gate of the same limit in turns, and
// reports the median of how many nanoseconds an Acquire and Release take more with the
// adaptive one. So it says something on a busy machine too.
func BenchmarkAdaptive(b *testing.B) {
	for _, goroutines := range []int{1, 100} {
		b.Run(fmt.Sprintf("goroutines=%d", goroutines), func(b *testing.B) {
			const limit, ops = 4, 50_000
			var gates [2]*Gate
			for i, a := range []*Adaptive{nil, {Min: limit, Max: limit}} {
				g, err := New(Config{Limit: limit, Adaptive: a})
				if err != nil {
					b.Fatal(err)
				}
				defer g.Close()
				gates[i] = g
			}
			ctx := b.Context()
			run := func(g *Gate) time.Duration {
				var all sync.WaitGroup
				start := time.Now()
				for range goroutines {
					all.Go(func() {
						for range ops / goroutines {
							p, err := g.Acquire(ctx)
							if err != nil {
								b.Error(err)
								return
							}
							p.Release()
						}
					})
				}
				all.Wait()
				return time.Since(start)
			}
			var more []float64
			for b.Loop() {
				var took [2]time.Duration
				for i := range gates { // each is first as often as the other
					k := (i + len(more)) % 2
					took[k] = run(gates[k])
				}
				more = append(more, float64(took[1]-took[0])/ops)
			}
			slices.Sort(more)
			b.ReportMetric(more[len(more)/2], "ns-more/permit")
			b.ReportMetric(0, "ns/op")
		})
	}
}

func BenchmarkWorked(b *testing.B) {
	g, err := New(Config{Adaptive: &Adaptive{}})
	if err != nil {
		b.Fatal(err)
	}
	defer g.Close()
	p, err := g.Acquire(b.Context())
	if err != nil {
		b.Fatal(err)
	}
	defer p.Release()
	b.ReportAllocs()
	for b.Loop() {
		p.Worked(time.Millisecond, false, false)
	}
}

type panicking struct{}

func (panicking) Done(Work)                           { panic("finder") }
func (panicking) Decide(time.Time, int, int) Decision { return Decision{Limit: 1} }

func TestPanicOfAFinder(t *testing.T) {
	g := adaptiveGate(t, Config{Adaptive: &Adaptive{Finder: func(Adaptive, int) Finder { return panicking{} }}})
	p, err := g.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		func() {
			defer func() {
				if v := recover(); v != "finder" {
					t.Errorf("it arrived as %v", v)
				}
			}()
			p.Worked(time.Second, false, false)
		}()
	}
	p.Release()
}

// A clock can be too coarse to see a statement.
func TestFindersWithStatementsThatTakeNoTime(t *testing.T) {
	for name, finder := range map[string]func(Adaptive, int) Finder{"pairedprobe": NewPairedProbe, "gradient2": NewGradient2, "aimd": NewAIMD} {
		f := finder(Adaptive{Min: 1, Max: 50}, 8)
		now := time.Unix(1e9, 0)
		for range 100 {
			for range 50 {
				f.Done(Work{End: now, Binding: true, InFlight: 8})
			}
			d := f.Decide(now, 1, 50)
			if d.Limit < 1 || d.Limit > 50 || d.Center < 1 || d.Center > 50 {
				t.Fatalf("%s: %+v", name, d)
			}
			now = now.Add(d.Again)
		}
	}
}
