package fleet

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// callsDuring returns how many calls of the store a member makes in a second.
func (c *crowd) callsDuring(work func()) float64 {
	calls := func() (n int) {
		c.store.set(func(s *memory) { n = s.calls })
		return n
	}
	before, began := calls(), time.Now()
	work()
	return float64(calls()-before) / time.Since(began).Seconds() / float64(len(c.users))
}

// A member makes at most two calls of the store a second, which are a heartbeat: also
// if it has too little and its callers keep coming, and while the store is away.
func TestWaitersDoNotHurryHeartbeats(t *testing.T) {
	for _, test := range []struct{ down, held bool }{{false, false}, {false, true}, {true, false}, {true, true}} {
		t.Run(fmt.Sprintf("down=%t,held=%t", test.down, test.held), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd(t, 10)
				defer c.stop()
				c.learnt()
				for range 5 {
					c.join(Config{}, 100*time.Millisecond).want(50)
				}
				// One holds more than the others leave it, so they are short.
				if test.held {
					c.store.write(Heartbeat{Key: "holder", Seq: 1, InUse: 9, Demand: 1, Weight: 1, Budget: 10, Seconds: 1000})
				}
				time.Sleep(20 * time.Second)
				c.store.set(func(s *memory) { s.down = test.down })
				n := c.callsDuring(func() {
					for range 60 * 20 {
						for _, u := range c.users {
							u.want(50)
						}
						time.Sleep(50 * time.Millisecond)
					}
				})
				if n < 0.1 || n > 2 {
					t.Errorf("a member makes %.2f calls of the store a second", n)
				}
			})
		})
	}
}

// A load that goes up and down around what is fair costs no more than a steady one.
func TestUnsteadyLoadDoesNotHurryHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 100)
		defer c.stop()
		c.learnt()
		for range 10 {
			c.join(Config{}, 100*time.Millisecond)
		}
		n := c.callsDuring(func() {
			for range 60 * 10 {
				for _, u := range c.users {
					u.want(rand.IntN(20))
				}
				time.Sleep(100 * time.Millisecond)
			}
		})
		t.Logf("a member makes %.2f calls of the store a second", n)
		if n > 2.5 { // the average, and the first burst
			t.Errorf("a member makes %.2f calls of the store a second", n)
		}
	})
}

// A member that needs nothing makes no call of the store.
func TestIdleMemberMakesNoCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCrowd(t, 100)
		defer c.stop()
		c.learnt()
		for range 10 {
			c.join(Config{}, 100*time.Millisecond).want(20)
		}
		time.Sleep(10 * time.Second)
		for _, u := range c.users {
			u.want(0)
		}
		time.Sleep(20 * time.Second)
		if n := c.callsDuring(func() { time.Sleep(time.Hour) }); n > 0 {
			t.Errorf("a member makes %v calls of the store a second", n)
		}
	})
}

// Members that sleep do not make the others slow, although the store keeps their
// rows for a while.
func TestSleepersDoNotSlowTheOthers(t *testing.T) {
	v := View{Members: make([]Member, 1000)}
	for i := range 50 {
		v.Members[i].Demand = 1
	}
	if between, _ := interval(active(v)); between > 1200*time.Millisecond {
		t.Errorf("the interval is %v", between)
	}
}

// The whole numbers that members get of what is fair add up to what there is.
func TestSharesAddUp(t *testing.T) {
	for members := 1; members <= 400; members = members*5/4 + 1 {
		for _, tick := range []float64{0, 7.3, 1e6} {
			v := View{Tick: tick}
			for range members {
				v.Members = append(v.Members, Member{Key: newKey(), Demand: 300, Weight: 1})
			}
			sum := 0
			for _, m := range v.Members {
				p := fair(v, m.Key, claim{demand: 300, weight: 1}, 200, 0)
				if math.IsInf(p.level, 1) {
					t.Fatal("it fits")
				}
				sum += p.target
			}
			if math.Abs(float64(sum)-190) > 1 {
				t.Errorf("%d members get %d of 190 at %v", members, sum, tick)
			}
		}
	}
}

// A member that has become idle gives back what others want within moments, and
// keeps it if nobody does.
func TestIdleMemberGivesBack(t *testing.T) {
	for _, wanted := range []int{10, 1000} {
		t.Run(fmt.Sprintf("others=%d", wanted), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCrowd(t, 100)
				defer c.stop()
				c.learnt()
				idle, busy := c.join(Config{}, 10*time.Millisecond), c.join(Config{}, 10*time.Millisecond)
				idle.want(40)
				busy.want(wanted)
				time.Sleep(20 * time.Second)
				idle.want(0)
				time.Sleep(1500 * time.Millisecond)
				share, other := idle.share(), busy.share()
				if wanted < 100 && share < 4 {
					t.Errorf("after 1.5 s the idle one has %d, which nobody wants", share)
				}
				for end := time.Now().Add(5 * time.Second); wanted > 100 && (share > 5 || other < 85); {
					if time.Now().After(end) { // the other one has had several heartbeats
						t.Fatalf("after 6.5 s the idle one has %d, and the other %d", share, other)
					}
					time.Sleep(100 * time.Millisecond)
					share, other = idle.share(), busy.share()
				}
			})
		})
	}
}
