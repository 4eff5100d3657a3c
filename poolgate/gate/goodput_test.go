package gate_test

import (
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// openLoop sends requests that do not wait for one another, at random moments
// and so many in a second by class, to a server with as many places as the gate
// has permits, and returns how long those of each class took that were done by
// their deadline, and how many came. Those of the first second do not count. It
// must be called in a synctest bubble.
func openLoop(t *testing.T, g *gate.Gate, rates map[string]float64, stall bool) (took map[string][]time.Duration, came map[string]int) {
	const warmup, window, deadline = time.Second, 4 * time.Second, 200 * time.Millisecond
	took, came = map[string][]time.Duration{}, map[string]int{}
	var mu sync.Mutex // guards both
	var wg sync.WaitGroup
	start := time.Now()
	for class, rate := range rates {
		random := rand.New(rand.NewPCG(1, uint64(len(class))))
		wg.Go(func() {
			for at := start; at.Sub(start) < warmup+window; {
				at = at.Add(time.Duration(random.ExpFloat64() / rate * float64(time.Second)))
				time.Sleep(time.Until(at))
				work := goodputWork/2 + time.Duration(random.ExpFloat64()*float64(goodputWork/2))
				if since := at.Sub(start); stall && since > warmup/4 && since < warmup/2 {
					work = time.Second
				}
				counts := at.Sub(start) >= warmup
				wg.Go(func() {
					ctx, cancel := context.WithDeadline(gate.WithClass(t.Context(), class), at.Add(deadline))
					defer cancel()
					p, err := g.Acquire(ctx)
					if err == nil {
						select {
						case <-time.After(work):
						case <-ctx.Done():
							err = ctx.Err()
						}
						p.Release()
					}
					if !counts {
						return
					}
					mu.Lock()
					defer mu.Unlock()
					came[class]++
					if err == nil {
						took[class] = append(took[class], time.Since(at))
					}
				})
			}
		})
	}
	wg.Wait()
	for class := range took {
		slices.Sort(took[class])
	}
	return took, came
}

const (
	goodputWork  = 10 * time.Millisecond // how long a request takes on average
	goodputLimit = 5
)

func TestGoodput(t *testing.T) {
	const capacity = float64(goodputLimit) / 0.010 // in a second
	newOverloaded := func(t *testing.T) *gate.Gate {
		return newGate(t, gate.Config{Limit: goodputLimit, Shed: true, Classes: []gate.Class{
			{Name: "web", Reserved: 3, Priority: 1}, {Name: "batch"},
		}})
	}
	for _, test := range []struct {
		name     string
		multiple float64
		stall    bool
		least    float64
	}{
		{"what can be done is done", 0.8, false, 0.8 * 0.95},
		{"as much as can be done is done, but for what chance has come at once", 1, false, 0.9},
		{"what is just too much is done as far as it can be", 1.2, false, 0.9},
		{"at three times of it no less is done in time", 3, false, 0.9},
		{"at three times of it no less is done in time after a stall", 3, true, 0.9},
		{"at ten times of it no less is done in time", 10, false, 0.9},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			g := newOverloaded(t)
			took, came := openLoop(t, g, map[string]float64{"web": test.multiple * capacity}, test.stall)
			offered := float64(came["web"]) / (test.multiple * capacity)
			if offered < 3 {
				t.Fatalf("%d requests came", came["web"])
			}
			if got := float64(len(took["web"])) / (4 * capacity); got < test.least {
				t.Errorf("%.3f of what can be done was done in time, want %.3f; %+v", got, test.least, g.Stats().Counts)
			}
		})
	}
	inBubble(t, "a class with a reservation takes no longer than twice its time while another floods", func(t *testing.T) {
		const web = 0.3 * capacity
		p99 := func(took []time.Duration) time.Duration { return took[len(took)*99/100] }
		alone, _ := openLoop(t, newOverloaded(t), map[string]float64{"web": web}, false)
		took, came := openLoop(t, newOverloaded(t), map[string]float64{"web": web, "batch": 9 * capacity}, false)
		if n := len(took["web"]); float64(n) < 0.99*float64(came["web"]) {
			t.Errorf("%d of %d were done in time", n, came["web"])
		}
		if a, b := p99(alone["web"]), p99(took["web"]); b > 2*a {
			t.Errorf("the 99th percentile is %v, and %v where nobody else is", b, a)
		}
		if n := len(took["batch"]) + len(took["web"]); float64(n) < 0.9*4*capacity {
			t.Errorf("%d were done in time", n)
		}
	})
}
