package gate

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestSetShare(t *testing.T) {
	for _, test := range []struct{ limit, lane, share, want, wantLane int }{
		{40, 0, 100, 40, 10},
		{40, 0, 50, 40, 10},
		{40, 0, 49, 39, 10},
		{40, 0, 20, 16, 4},
		{40, 0, 2, 1, 1},
		{40, 0, 1, 1, 0},
		{40, 0, 0, 0, 0},
		{40, 8, 20, 12, 8},
		{40, 8, 6, 1, 5},
		{40, 8, 1, 1, 0},
		{40, NoOutOfBand, 20, 20, 0},
		{math.MaxInt, 0, 10, 8, 2},
		{math.MaxInt, 0, math.MaxInt, math.MaxInt - math.MaxInt/5, math.MaxInt / 5},
	} {
		t.Run(fmt.Sprintf("limit=%d,lane=%d,share=%d", test.limit, test.lane, test.share), func(t *testing.T) {
			g, err := New(Config{Limit: test.limit, OutOfBand: test.lane})
			if err != nil {
				t.Fatal(err)
			}
			g.SetShare(test.share, time.Time{})
			s := g.Stats()
			near := func(a, b int) bool { return a == b || b > 1000 && math.Abs(float64(a)/float64(b)-1) < 0.01 }
			if !near(s.Limit, test.want) || !near(s.OutOfBand.Max, test.wantLane) {
				t.Errorf("the limit is %d and the lane %d, want %d and %d", s.Limit, s.OutOfBand.Max, test.want, test.wantLane)
			}
			if s.Limit < 0 || s.OutOfBand.Max < 0 || s.Limit > test.share-s.OutOfBand.Max {
				t.Errorf("%d and %d are more than %d", s.Limit, s.OutOfBand.Max, test.share)
			}
		})
	}
}

func TestShareOfNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := New(Config{Limit: 4, MaxWait: time.Minute})
		if err != nil {
			t.Fatal(err)
		}
		var waits atomic.Int64
		g.OnWait(func() { waits.Add(1) })
		g.SetShare(0, time.Time{})
		granted := make(chan Permit, 3)
		for range 2 {
			go func() {
				p, err := g.Acquire(t.Context())
				if err != nil {
					t.Error(err)
				}
				granted <- p
			}()
		}
		go func() {
			p, err := g.AcquireWith(t.Context(), Request{Weight: 3})
			if err != nil {
				t.Error(err)
			}
			granted <- p
		}()
		time.Sleep(30 * time.Second)
		if s := g.Stats(); s.Waiting != 3 || s.InFlight != 0 || waits.Load() != 3 {
			t.Fatalf("%d wait and %d are in flight, and %d were seen to wait", s.Waiting, s.InFlight, waits.Load())
		}
		g.SetShare(5, time.Now().Add(time.Second))
		(<-granted).Release()
		(<-granted).Release()
		(<-granted).Release()
		if s := g.Stats(); s.Limit != 4 {
			t.Errorf("the limit is %d, want 4", s.Limit)
		}
		time.Sleep(2 * time.Second)
		if s := g.Stats(); s.Limit != 0 || s.OutOfBand.Max != 0 {
			t.Errorf("after the share's end the limit is %d and the lane %d", s.Limit, s.OutOfBand.Max)
		}
		if _, ok := g.TryAcquire(t.Context()); ok {
			t.Error("a share that has ended gives a permit")
		}
		if _, err := g.Acquire(t.Context()); !errors.Is(err, ErrWaitTimeout) || !strings.Contains(err.Error(), "no share") {
			t.Errorf("the error is %v", err)
		}
	})
}

func TestShareKeepsReservationsInProportion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := New(Config{Limit: 20, OutOfBand: NoOutOfBand, Classes: []Class{{Name: "web", Reserved: 10}, {Name: "batch"}}})
		if err != nil {
			t.Fatal(err)
		}
		g.SetShare(6, time.Time{})
		done := map[string]int{}
		count := make(chan string)
		stop := time.Now().Add(10 * time.Second)
		for i := range 60 {
			class := "web"
			if i%2 == 0 {
				class = "batch"
			}
			go func() {
				random := rand.New(rand.NewPCG(uint64(i), 1))
				for time.Now().Before(stop) {
					p, err := g.AcquireWith(t.Context(), Request{Class: class})
					if err != nil {
						t.Error(err)
						break
					}
					time.Sleep(time.Duration(random.IntN(20)) * time.Millisecond)
					p.Release()
					count <- class
				}
				count <- ""
			}()
		}
		for left := 60; left > 0; {
			if class := <-count; class == "" {
				left--
			} else {
				done[class]++
			}
		}
		// Three of the six are the web's own.
		if share := float64(done["web"]) / float64(done["web"]+done["batch"]); share < 0.5 || share > 0.9 {
			t.Errorf("web got %.2f of the permits", share)
		}
	})
}

func TestShareAndAdaptive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := New(Config{Limit: 30, Adaptive: &Adaptive{Max: 50}, OutOfBand: NoOutOfBand})
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		g.SetShare(10, time.Time{})
		p, err := g.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for range 100 {
			p.Worked(time.Millisecond, false, false)
			time.Sleep(100 * time.Millisecond)
			if n := g.Limit(); n > 10 {
				t.Fatalf("the limit is %d, above the share", n)
			}
		}
		p.Release()
		g.SetShare(100, time.Time{})
		if n := g.Limit(); n < 20 {
			t.Errorf("the limit is %d after the share has grown", n)
		}
	})
}

// A burst at a member that sleeps is not refused for want of places to wait.
func TestQueueDoesNotShrinkWithTheShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := New(Config{Limit: 100, MaxWait: time.Second})
		if err != nil {
			t.Fatal(err)
		}
		places := g.Stats().MaxWaiting
		g.SetShare(0, time.Time{})
		if n := g.Stats().MaxWaiting; n != places {
			t.Errorf("%d may wait, and %d without the share", n, places)
		}
		for range places {
			go g.Acquire(t.Context())
		}
		synctest.Wait()
		if s := g.Stats(); s.Waiting != places || s.Refused() > 0 {
			t.Errorf("of %d callers %d wait, and %d were refused", places, s.Waiting, s.Refused())
		}
		time.Sleep(2 * time.Second)
	})
}

func TestAShareOfOneHasNothingForTheLane(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := New(Config{Limit: 4})
		if err != nil {
			t.Fatal(err)
		}
		g.SetShare(1, time.Time{})
		p, err := g.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		granted := make(chan Permit)
		go func() {
			p, err := g.AcquireWith(t.Context(), Request{OutOfBand: true})
			if err != nil {
				t.Error(err)
			}
			granted <- p
		}()
		synctest.Wait()
		if s := g.Stats(); s.InFlight+s.OutOfBand.InFlight != 1 {
			t.Errorf("%d and %d are in flight", s.InFlight, s.OutOfBand.InFlight)
		}
		g.SetShare(2, time.Time{})
		(<-granted).Release()
		p.Release()
	})
}

func TestAShareUntilTheFarFuture(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := New(Config{Limit: 4})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Hour)
		g.SetShare(2, time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC))
		time.Sleep(time.Hour)
		if n := g.Limit(); n != 1 { // and one of the lane
			t.Errorf("the limit is %d, want 1", n)
		}
	})
}

// The lane of a share of 1 may come to have permits again.
func TestAShareWithoutALaneIsNoDeadlock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := New(Config{Limit: 4})
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error)
		start := make(chan struct{})
		go func() {
			p, err := g.AcquireWith(t.Context(), Request{OutOfBand: true})
			if err != nil {
				t.Error(err)
			}
			p.SetOwner()
			<-start
			q, err := g.AcquireWith(t.Context(), Request{OutOfBand: true})
			q.Release()
			p.Release()
			done <- err
		}()
		synctest.Wait()
		g.SetShare(1, time.Time{})
		close(start)
		time.Sleep(time.Second)
		g.SetShare(10, time.Time{}) // of which two are the lane's
		g.SetLimit(8)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestTheEndOfAShareIsAChangeOfTheLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := New(Config{Limit: 8})
		if err != nil {
			t.Fatal(err)
		}
		seen := make(chan LimitChange, 10)
		g.Observe(Observer{LimitChange: func(c LimitChange) { seen <- c }})
		g.SetShare(5, time.Now().Add(time.Second))
		time.Sleep(time.Second) // and Stats may see the end before the timer does
		g.Stats()
		time.Sleep(time.Second)
		g.SetShare(0, time.Time{})
		synctest.Wait()
		close(seen)
		var all []LimitChange
		for c := range seen {
			all = append(all, c)
		}
		want := []LimitChange{{Old: 8, New: 4, Center: 4, Reason: LimitShare}, {Old: 4, New: 0, Reason: LimitShare}}
		if !slices.Equal(all, want) {
			t.Errorf("got %+v", all)
		}
	})
}

func TestReportFleet(t *testing.T) {
	g, err := New(Config{Limit: 4})
	if err != nil {
		t.Fatal(err)
	}
	var seen []FleetStats
	stop := g.Observe(Observer{Heartbeat: func(s FleetStats) { seen = append(seen, s) }})
	reported := []FleetStats{{Members: 5, Granted: 3}, {Members: 6, Failures: 1, LastError: errors.ErrUnsupported}}
	for _, s := range reported {
		g.ReportFleet(s)
	}
	stop()
	if !slices.Equal(seen, reported) {
		t.Errorf("observed %+v, want %+v", seen, reported)
	}
	if s := g.Stats().Share; s != (ShareStats{}) {
		t.Errorf("without a share the statistics have %+v", s)
	}
	g.SetShare(2, time.Time{})
	want := ShareStats{Held: true, Permits: 2, Without: 4, FleetStats: reported[1]}
	if s := g.Stats().Share; s != want {
		t.Errorf("the statistics have %+v, want %+v", s, want)
	}
}

// With the share that is needed nobody waits, and with one less somebody does.
func TestNeededShare(t *testing.T) {
	for _, test := range []struct {
		lane, limit, callers, weight, outOfBand int
		want                                    int
	}{
		{0, 20, 0, 1, 0, 0},
		{0, 20, 1, 1, 0, 1},
		{0, 20, 2, 1, 0, 3}, // one for the lane
		{0, 20, 8, 1, 0, 10},
		{0, 20, 2, 3, 0, 7},
		{0, 20, 50, 1, 0, 25}, // as many as the limit lets in
		{0, 20, 0, 1, 1, 2},
		{0, 20, 4, 1, 1, 5},
		{3, 20, 4, 1, 3, 7},
		{NoOutOfBand, 20, 4, 1, 0, 4},
	} {
		t.Run(fmt.Sprint(test), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g, err := New(Config{Limit: test.limit, OutOfBand: test.lane, MaxWait: time.Hour})
				if err != nil {
					t.Fatal(err)
				}
				g.SetShare(0, time.Time{})
				ctx, cancel := context.WithCancel(t.Context())
				acquire := func(r Request) {
					if p, err := g.AcquireWith(ctx, r); err == nil {
						<-ctx.Done()
						p.Release()
					}
				}
				for range test.callers {
					go acquire(Request{Weight: test.weight})
				}
				for range test.outOfBand {
					go acquire(Request{OutOfBand: true})
				}
				synctest.Wait()
				if n := g.Stats().Share.Needed; n != test.want {
					t.Errorf("%d are needed, want %d", n, test.want)
				}
				waiting := max(0, test.callers*test.weight-test.limit) // whatever the share is
				if test.want > 0 {
					g.SetShare(test.want-1, time.Time{})
					synctest.Wait()
					if n := g.Stats().Waiting; n <= waiting {
						t.Errorf("with a share of %d there are %d waiting", test.want-1, n)
					}
				}
				g.SetShare(test.want, time.Time{})
				synctest.Wait()
				if n := g.Stats().Waiting; n != waiting {
					t.Errorf("with a share of %d there are %d waiting, want %d", test.want, n, waiting)
				}
				if n := g.Stats().Share.Needed; n != test.want {
					t.Errorf("with that %d are needed, want %d", n, test.want)
				}
				cancel()
				synctest.Wait()
			})
		})
	}
}
