package gate_test

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

var table = flag.Bool("table", false, "have TestInTime compare more, and print the table of docs/gate.md")

// A way is one that is compared in a situation.
type way struct {
	name string
	make func(t *testing.T, s situation) limiter // nil if it is not for that situation
}

func makeGate(hide func(context.Context, int) context.Context, shed bool) func(t *testing.T, s situation) limiter {
	return func(t *testing.T, s situation) limiter {
		config := s.config
		if config.Shed = shed; shed && config.Mode == gate.Chunked {
			return nil
		}
		return gated{newGate(t, config), hide}
	}
}

func makeOrdered(next func([]*orderedWaiter, time.Time) *orderedWaiter) func(t *testing.T, s situation) limiter {
	return func(t *testing.T, s situation) limiter {
		return &ordered{next: next, limit: s.config.Limit, waves: s.config.Mode == gate.Chunked}
	}
}

var (
	theGate        = way{"gate", makeGate(nil, false)}
	unpredicting   = way{"no prediction", makeGate(hideAll, false)}
	fifo           = way{"FIFO", makeOrdered(oldest)}
	lifo           = way{"LIFO", makeOrdered(newest)}
	oracleFirst    = way{"oracle", makeOrdered(first)}
	oracleShortest = way{"oracle", makeOrdered(shortest)}
	shedding       = way{"gate, Shed", makeGate(nil, true)}
)

// A comparison is how much is compared.
type comparison struct {
	loads  []float64
	ways   []way
	window time.Duration
	seeds  int
}

// load returns the requests of a situation, and what is done while they come.
func (s situation) load(seed int, load float64, window time.Duration) ([]request, func(limiter)) {
	requests := s.requests(rand.New(rand.NewPCG(uint64(seed), 1)), load, window)
	if s.during == nil {
		return requests, nil
	}
	return requests, func(l limiter) { s.during(l, window) }
}

// try has each way do a situation under a load. Of ways of the same name the better
// counts.
func (c comparison) try(t *testing.T, s situation, load float64) map[string][]outcome {
	all := map[string][]outcome{}
	for _, w := range c.ways {
		var of []outcome
		for seed := range c.seeds {
			synctest.Test(t, func(t *testing.T) {
				if l := w.make(t, s); l != nil {
					requests, during := s.load(seed, load, c.window)
					of = append(of, run(t, l, requests, during)...)
				}
			})
		}
		if of != nil && (all[w.name] == nil || percent(of, isDone) > percent(all[w.name], isDone)) {
			all[w.name] = of
		}
	}
	return all
}

// regretted returns some requests that a gate refused at once, and those of them
// that would have been done in time if the gate had let that one wait like others.
func regretted(t *testing.T, s situation, load float64) (some, done []outcome) {
	const most = 10
	one := func(hide func(context.Context, int) context.Context) (all []outcome) {
		synctest.Test(t, func(t *testing.T) {
			requests, during := s.load(0, load, 2*time.Second)
			all = run(t, makeGate(hide, false)(t, s), requests, during)
		})
		return all
	}
	refused := slices.DeleteFunc(one(nil), func(o outcome) bool { return !o.refused })
	for i := 0; i < len(refused); i += 1 + len(refused)/most {
		number := refused[i].number
		some = append(some, refused[i])
		later := func(ctx context.Context, n int) context.Context {
			if n != number {
				return ctx
			}
			return &datedLater{Context: ctx}
		}
		for _, o := range one(later) {
			if o.number == number && o.done {
				done = append(done, o)
			}
		}
	}
	return some, done
}

// TestInTime compares what a gate does in time with what other ways of waiting do.
// All of it is in virtual time and always the same. With -table it prints the
// table of docs/gate.md.
func TestInTime(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes a minute with the race detector, and has no races that other tests have not")
	}
	c := comparison{
		loads: []float64{1.1, 3}, ways: []way{theGate, unpredicting, fifo}, window: 3 * time.Second, seeds: 4,
	}
	most := 2.0 // that the gate may do less, in percent: with so few requests chance does that much
	if *table {
		c = comparison{
			loads:  []float64{0.9, 1, 1.1, 1.5, 3, 10},
			ways:   []way{theGate, unpredicting, fifo, lifo, oracleFirst, oracleShortest, shedding},
			window: 6 * time.Second, seeds: 2,
		}
		most = 1
	}
	var mu sync.Mutex // guards both
	shares, others := map[string]string{}, map[string]string{}
	t.Run("situations", func(t *testing.T) {
		for _, s := range situations() {
			t.Run("the gate does as much in time as without prediction and as FIFO: "+s.name, func(t *testing.T) {
				t.Parallel()
				for _, load := range c.loads {
					all := c.try(t, s, load)
					done := func(w way) float64 { return percent(all[w.name], isDone) }
					for _, w := range []way{unpredicting, fifo} {
						if g := done(theGate); g < done(w)-most {
							t.Errorf("at %.1f times the load: %.1f %%, and %s %.1f %%", load, g, w.name, done(w))
						}
					}
					if !*table {
						continue
					}
					share := fmt.Sprintf("| %s | %.1f |", s.name, load)
					for _, w := range []way{theGate, unpredicting, fifo, lifo, oracleFirst, shedding} {
						share += cell(all[w.name], isDone)
					}
					other := fmt.Sprintf("| %s | %.1f |%s%s%s", s.name, load, cell(all[theGate.name], isRefused),
						cell(all[theGate.name], isCutOff), cell(all[unpredicting.name], isCutOff))
					if some, done := regretted(t, s, load); len(some) > 0 {
						other += fmt.Sprintf(" %d of %d |", len(done), len(some))
					} else {
						other += " |"
					}
					mu.Lock()
					shares[s.name] += share + "\n"
					others[s.name] += other + "\n"
					mu.Unlock()
				}
			})
		}
	})
	if !*table {
		return
	}
	fmt.Println("| | load | gate | no prediction | FIFO | LIFO | oracle | gate, `Shed` |\n|---|--:|--:|--:|--:|--:|--:|--:|")
	for _, s := range situations() {
		fmt.Print(shares[s.name])
	}
	fmt.Println("\n| | load | refused at once | cut off | cut off, no prediction | regretted |\n|---|--:|--:|--:|--:|--:|")
	for _, s := range situations() {
		fmt.Print(others[s.name])
	}
}

// cell returns a cell of the table.
func cell(all []outcome, is func(outcome) bool) string {
	if all == nil {
		return " |"
	}
	return fmt.Sprintf(" %.1f |", percent(all, is))
}
