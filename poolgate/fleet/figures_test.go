package fleet

import (
	"flag"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

var figures = flag.Bool("figures", false, "have TestFigures print its table for fleets of up to 1,000 members")

// A figure is measured with a fleet of so many members, all of them idle, in
// virtual time. The messages take 5 ms each way.
var allFigures = []struct {
	name    string
	measure func(t *testing.T, c *crowd, members int) float64
	goal    [3]float64 // of the protocol's design, for 10, 100 and 1,000 members
	share   bool       // a part of the budget, of which more is better; otherwise seconds
}{
	{"a burst at an idle member, half of the budget is free: 95 % of what it wants", burstFree, [3]float64{0.02, 0.02, 0.02}, false},
	{"a burst at an idle member, the budget is exhausted: its first permit", burstExhausted, [3]float64{0.01, 0.01, 0.01}, false},
	{"all demands change at once: within 5 % of what is fair", allChange, [3]float64{0.7, 2.3, 2.2}, false},
	{"a rollout that doubles the members in a minute: a joiner's first permit, at most", rollout, [3]float64{0.4, 4, 11}, false},
	{"half of the members crash: within 5 % of what is fair", halfCrash, [3]float64{11, 10, 10}, false},
	{"bursty load of 1.2 budgets: in flight, of what one pool with the whole budget would have", bursty, [3]float64{0.94, 0.94, 0.91}, true},
}

// TestFigures measures how fast a fleet is. The bounds are a fifth from the goals, and
// half a second for chance.
func TestFigures(t *testing.T) {
	if testing.Short() {
		t.Skip("it takes long with the race detector")
	}
	sizes := []int{10, 100, 1000}
	if !*figures {
		sizes = sizes[:1]
	}
	var table strings.Builder
	fmt.Fprintf(&table, "| | %d members |", sizes[0])
	for _, n := range sizes[1:] {
		fmt.Fprintf(&table, " %d |", n)
	}
	table.WriteString("\n|---|" + strings.Repeat("---|", len(sizes)) + "\n")
	for _, f := range allFigures {
		t.Run(f.name, func(t *testing.T) {
			fmt.Fprintf(&table, "| %s |", f.name)
			for i, members := range sizes {
				got := 0.0
				synctest.Test(t, func(t *testing.T) {
					c := newCrowd(t, 200)
					defer c.stop()
					c.learnt()
					c.store.set(func(s *memory) { s.delay = func() time.Duration { return 5 * time.Millisecond } })
					for range members {
						c.join(Config{}, 100*time.Millisecond)
					}
					time.Sleep(2 * time.Second)
					got = f.measure(t, c, members)
					c.verify()
				})
				goal := f.goal[i]
				t.Logf("with %d members: %.3f, and %.2f is the goal", members, got, goal)
				if f.share {
					fmt.Fprintf(&table, " %.2f (%.2f) |", got, goal)
					if got < 0.8*goal {
						t.Error("it is too little")
					}
				} else {
					fmt.Fprintf(&table, " %.2f s (%.2f) |", got, goal)
					if got > 1.2*goal+0.5 {
						t.Error("it is too long")
					}
				}
			}
			table.WriteString("\n")
		})
	}
	if *figures {
		fmt.Println(table.String())
	}
}

// until returns after how many seconds condition holds; a hundred at most.
func until(condition func() bool) float64 {
	const most = 100.0
	for began := time.Now(); ; time.Sleep(5 * time.Millisecond) {
		if s := time.Since(began).Seconds(); condition() || s >= most {
			return s
		}
	}
}

// active has so many members want n each.
func (c *crowd) active(some []*modelUser, n func() int) {
	for _, u := range some {
		u.want(n())
	}
}

// median runs a measurement five times.
func median(measure func() float64) float64 {
	var all []float64
	for range 5 {
		all = append(all, measure())
	}
	for i := range all {
		for j := range i {
			if all[i] < all[j] {
				all[i], all[j] = all[j], all[i]
			}
		}
	}
	return all[len(all)/2]
}

func few(members int) int { return min(members/2, 100) }

func burstFree(_ *testing.T, c *crowd, members int) float64 {
	some := c.users[:few(members)]
	for i, u := range some { // 100 in all
		u.want(100*(i+1)/len(some) - 100*i/len(some))
	}
	time.Sleep(30 * time.Second)
	burst := c.users[members-1]
	return median(func() float64 {
		burst.want(60)
		s := until(func() bool { return burst.flying() >= 57 })
		burst.want(0)
		time.Sleep(40 * time.Second)
		return s
	})
}

func burstExhausted(_ *testing.T, c *crowd, members int) float64 {
	some := c.users[:few(members)]
	c.active(some, func() int { return 800 / len(some) })
	time.Sleep(30 * time.Second)
	burst := c.users[members-1]
	return median(func() float64 {
		burst.want(60)
		s := until(func() bool { return burst.flying() > 0 })
		burst.want(0)
		time.Sleep(40 * time.Second)
		return s
	})
}

// nearFair reports whether at least 95 % of what is fair is there where it
// should be.
func (c *crowd) nearFair() bool {
	var claims []claim
	for _, u := range c.users {
		if u.ctx.Err() == nil {
			u.mu.Lock()
			claims = append(claims, claim{demand: float64(u.callers), weight: 1})
			u.mu.Unlock()
		}
	}
	level := fairLevel(claims, (1-reserve)*float64(c.budget))
	want, have := 0.0, 0.0
	for _, u := range c.users {
		if u.ctx.Err() != nil {
			continue
		}
		u.mu.Lock()
		x := min(float64(u.callers), level)
		want += x
		have += min(x, float64(u.effective(time.Now())))
		u.mu.Unlock()
	}
	// Shares are whole numbers: of those that want more than the level, its fraction
	// has more than that, and the others have as much less as the fraction is.
	_, fraction := math.Modf(min(level, want))
	limited := 0
	for _, c := range claims {
		if c.demand > level {
			limited++
		}
	}
	return have >= 0.95*want-float64(limited)*fraction*(1-fraction)
}

func allChange(_ *testing.T, c *crowd, members int) float64 {
	demand := func() int { return 1 + rand.IntN(800/few(members)) }
	c.active(c.users[:few(members)], demand)
	time.Sleep(30 * time.Second)
	return median(func() float64 {
		for _, u := range c.users {
			u.want(0)
		}
		for _, i := range rand.Perm(members)[:few(members)] {
			c.users[i].want(demand())
		}
		s := until(c.nearFair)
		time.Sleep(20 * time.Second)
		return s
	})
}

// Of more than 100 members as many are busy as of 100, before and after.
func rollout(_ *testing.T, c *crowd, members int) float64 {
	busy := min(members, 100)
	demand := func() int { return 400 / busy }
	c.active(c.users[:busy], demand)
	time.Sleep(time.Minute)
	var joiners []*modelUser
	for i := range members {
		time.Sleep(time.Minute / time.Duration(members))
		u := c.join(Config{}, 100*time.Millisecond)
		if i%(members/busy) == 0 {
			u.want(demand())
			joiners = append(joiners, u)
		}
	}
	time.Sleep(time.Minute)
	worst := 0.0
	for _, u := range joiners {
		u.mu.Lock()
		first := u.first
		if first.IsZero() { // it still waits
			first = time.Now()
		}
		worst = max(worst, first.Sub(u.since).Seconds())
		u.mu.Unlock()
	}
	return worst
}

func halfCrash(_ *testing.T, c *crowd, members int) float64 {
	some := c.users[:few(members)]
	c.active(some, func() int { return 800 / len(some) })
	time.Sleep(30 * time.Second)
	for i, u := range some {
		if i%2 == 0 {
			u.crash()
		}
	}
	return until(c.nearFair)
}

func bursty(_ *testing.T, c *crowd, members int) float64 {
	each := max(1, 4*240/members) // for a quarter of the time
	stop := time.Now().Add(5 * time.Minute)
	var all sync.WaitGroup
	for _, u := range c.users {
		all.Go(func() {
			on := rand.IntN(4) == 0
			for time.Now().Before(stop) {
				n, mean := 0, 30*time.Second
				if on {
					n, mean = each, 10*time.Second
				}
				u.want(n)
				time.Sleep(time.Duration(rand.ExpFloat64() * float64(mean)))
				on = !on
			}
		})
	}
	time.Sleep(time.Minute)
	used, could := 0, 0
	for time.Now().Before(stop) {
		used += c.inFlight()
		wanted := 0
		for _, u := range c.users {
			wanted += u.load().needs
		}
		could += min(wanted, c.budget)
		time.Sleep(100 * time.Millisecond)
	}
	all.Wait()
	return float64(used) / float64(could)
}
