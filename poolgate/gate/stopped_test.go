package gate

import (
	"math"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A process that is stopped, by SIGSTOP or as its machine is, finds an hour gone when
// it goes on: only its timer can show that in a bubble.
func stop(g *Gate, d time.Duration) {
	g.mu.Lock()
	g.clock.timer.Stop()
	g.clock.due = 0 // so that nobody sets it
	g.mu.Unlock()
	time.Sleep(d)
	g.tick()
}

func TestNobodyIsShedBecauseTheProcessWasStopped(t *testing.T) {
	for name, test := range map[string]struct {
		callers int
		before  time.Duration // for how long they wait before the stop
		atOnce  uint64        // that may be shed when it goes on
		stands  bool          // their queue
	}{
		"a queue that has just formed": {20, 0, 0, false},
		"a queue that stands":          {500, 2 * time.Second, 1, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, err := New(Config{Limit: 1, Shed: true, MaxWait: 24 * time.Hour, MaxWaiting: 1000})
				if err != nil {
					t.Fatal(err)
				}
				defer g.Close()
				p, err := g.Acquire(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				var all sync.WaitGroup
				for range test.callers {
					all.Go(func() {
						if p, err := g.Acquire(t.Context()); err == nil {
							time.Sleep(time.Millisecond)
							p.Release()
						}
					})
				}
				synctest.Wait()
				time.Sleep(test.before)
				before := g.Stats()
				if before.Overloaded != test.stands {
					t.Fatalf("overloaded before the stop: %v", before.Overloaded)
				}
				stop(g, time.Hour)
				after := g.Stats()
				if n := after.Shed - before.Shed; n > test.atOnce || after.Overloaded != test.stands {
					t.Errorf("after the stop %d were shed at once; overloaded: %v", n, after.Overloaded)
				}
				if after.Waiting < test.callers/2 {
					t.Errorf("%d wait", after.Waiting)
				}
				p.Release()
				all.Wait()
				if n := g.Stats().Shed - before.Shed; !test.stands && n != 0 {
					t.Errorf("%d of %d were shed although they were quick", n, test.callers)
				}
			})
		})
	}
}

// Nothing that a gate may have seen makes RetryAfter negative or longer than it may be.
func TestRetryAfterAtExtremes(t *testing.T) {
	for _, each := range []float64{0, 1, 1e9, 3e10, 1e18, math.MaxInt64, 1e300} {
		for _, waiting := range []int{0, 1, 1e6, math.MaxInt} {
			for _, now := range []time.Duration{time.Hour, math.MaxInt64 - 1<<40} {
				for _, holds := range []bool{false, true} {
					c := new(class)
					c.queue.n = waiting
					s := &c.service
					if holds {
						s.holds, s.held = serviceSamples, now
						for i := range s.kept {
							s.kept[i] = time.Duration(min(each, math.MaxInt64-1<<10))
						}
					} else {
						s.grants, s.granted, s.lastGrant, s.interval = serviceSamples, now, now-time.Hour, each
					}
					for range 3 {
						for _, reason := range []Reason{ErrQueueFull, ErrCanceled} {
							if d := c.retryAfter(reason, now); d < 0 || d > retryMost || d == 0 && (reason != ErrCanceled || waiting > 0 && each > 1) {
								t.Errorf("each %g, %d waiting, %v: %v after %v, by holds: %v", each, waiting, now, d, reason, holds)
							}
						}
					}
				}
			}
		}
	}
}
