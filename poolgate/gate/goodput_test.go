package gate_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// flooding returns requests of a class at a multiple of what can be done. Half of a
// hold is always the same, and half is random.
func flooding(seed uint64, class string, load float64, window time.Duration) []request {
	random := rand.New(rand.NewPCG(seed, 2))
	return open(random, load*usualCapacity, window, func() request {
		return request{class: class, hold: usualHold/2 + exponential(random, usualHold/2), within: 2 * usualDeadline}
	})
}

// together returns the requests of all in the order in which they come.
func together(all ...[]request) []request {
	one := slices.Concat(all...)
	slices.SortStableFunc(one, func(a, b request) int { return int(a.at - b.at) })
	return one
}

func TestGoodput(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long with the race detector")
	}
	const window = 5 * time.Second
	newShedding := func(t *testing.T) *gate.Gate {
		return newGate(t, gate.Config{Limit: usualLimit, Shed: true, Classes: []gate.Class{
			{Name: "web", Reserved: usualLimit / 2, Priority: 2}, {Name: "api", Priority: 1}, {Name: "batch"},
		}})
	}
	for _, test := range []struct {
		name  string
		load  float64
		stall bool
		least float64 // of what can be done
	}{
		{"what can be done is done", 0.8, false, 0.8 * 0.97},
		{"as much as can be done is done, but for what chance has come at once", 1, false, 0.92},
		{"what is just too much is done as far as it can be", 1.2, false, 0.98},
		{"at three times of it no less is done in time", 3, false, 0.99},
		{"at three times of it no less is done in time after a stall", 3, true, 0.99},
		{"at ten times of it no less is done in time", 10, false, 0.99},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			requests := flooding(1, "web", test.load, window)
			for i, r := range requests {
				if test.stall && r.at > settling/4 && r.at < settling/2 {
					requests[i].hold = time.Second
				}
			}
			g := newShedding(t)
			n := 0
			for _, o := range run(t, gated{Gate: g}, requests, nil) {
				if o.done {
					n++
				}
			}
			if got := float64(n) / (usualCapacity * (window - 2*settling).Seconds()); got < test.least {
				t.Errorf("%.3f of what can be done was done in time, want %.3f; %+v", got, test.least, g.Stats().Counts)
			}
		})
	}

	inBubble(t, "a class with a reservation takes no longer than twice its time while another floods", func(t *testing.T) {
		web := flooding(1, "web", 0.3, window)
		p99 := func(all []outcome) time.Duration {
			slices.SortFunc(all, func(a, b outcome) int { return int(a.took - b.took) })
			return all[len(all)*99/100].took
		}
		alone := run(t, gated{Gate: newShedding(t)}, web, nil)
		all := run(t, gated{Gate: newShedding(t)}, together(web, flooding(2, "batch", 9, window)), nil)
		of := slices.DeleteFunc(slices.Clone(all), func(o outcome) bool { return o.class != "web" })
		if done := percent(of, isDone); done < 99 {
			t.Errorf("%.1f %% were done in time", done)
		}
		if a, b := p99(alone), p99(of); b > 2*a {
			t.Errorf("the 99th percentile is %v, and %v where nobody else is", b, a)
		}
		if done := percent(all, isDone) / 100 * 9.3; done < 0.99 {
			t.Errorf("%.3f of what can be done was done in time", done)
		}
	})

	for _, load := range []float64{0.3, 0.6, 3} {
		name := fmt.Sprintf("a class that has less than its reservation waits no longer than a hold: at %.1f times the load", load)
		inBubble(t, name, func(t *testing.T) {
			requests := together(flooding(1, "web", load, window), flooding(2, "api", 4, window), flooding(3, "batch", 5, window))
			for i := range requests {
				requests[i].hold = usualHold // always the same
			}
			g := newShedding(t)
			var longest time.Duration
			all := run(t, gated{Gate: g}, requests, func(limiter) {
				since, acquired := time.Now(), uint64(0)
				for start := since; time.Since(start) < window; time.Sleep(usualHold / 10) {
					web := g.Stats().Classes[1]
					if web.Waiting == 0 || web.InFlight >= web.Reserved || web.Acquired > acquired {
						since, acquired = time.Now(), web.Acquired
					}
					longest = max(longest, time.Since(since))
				}
			})
			if longest > usualHold {
				t.Errorf("it had less and got nothing for %v, with holds of %v", longest, usualHold)
			}
			of := slices.DeleteFunc(slices.Clone(all), func(o outcome) bool { return o.class != "web" })
			if done := percent(of, isDone) / 100 * load; done < min(load, 0.5)*0.99 {
				t.Errorf("%.3f of what can be done was done in time, and half of it is reserved", done)
			}
		})
	}
}
