package gate

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"
)

func TestSetLimitIsTheMaximumOfAnAdaptiveGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := adaptiveGate(t, Config{Adaptive: &Adaptive{}})
		k := new(knee)
		k.n.Store(50)
		ctx, cancel := context.WithCancel(t.Context())
		wait := press(ctx, g, k, 300)
		time.Sleep(time.Minute)
		for _, share := range []int{10, 3, 1, 20} { // as a fleet's share may change
			if err := g.SetLimit(share); err != nil {
				t.Fatal(err)
			}
			for range 100 {
				time.Sleep(200 * time.Millisecond)
				if n := g.Limit(); n > share {
					t.Fatalf("the limit is %d, above the %d that were set", n, share)
				}
			}
		}
		if err := g.SetLimit(200); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		wantCenter(t, g, 35, 80)
		cancel()
		wait()
	})
}

func TestSetLimitReachesTheFinder(t *testing.T) {
	for _, test := range []struct{ max, set, knee, least, most int }{
		{20, 200, 60, 40, 90},
		{200, 40, 6, 3, 12}, // from a limit that is found above 40
	} {
		t.Run(fmt.Sprintf("max=%d,set=%d", test.max, test.set), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := adaptiveGate(t, Config{Adaptive: &Adaptive{Max: test.max}})
				k := new(knee)
				k.n.Store(120)
				ctx, cancel := context.WithCancel(t.Context())
				wait := press(ctx, g, k, 300)
				time.Sleep(time.Minute)
				if err := g.SetLimit(test.set); err != nil {
					t.Fatal(err)
				}
				k.n.Store(int64(test.knee))
				time.Sleep(time.Minute)
				wantCenter(t, g, test.least, test.most)
				cancel()
				wait()
			})
		})
	}
}

func TestSetLimitLeavesTheFinderWhatItKnows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := adaptiveGate(t, Config{Adaptive: &Adaptive{Max: 60}})
		k := new(knee)
		k.n.Store(20)
		k.each = 3 * time.Second
		ctx, cancel := context.WithCancel(t.Context())
		wait := press(ctx, g, k, 100)
		time.Sleep(10 * time.Minute)
		g.worked(time.Second, true, true) // the server refuses work at more than some limit
		known := func() (slot time.Duration, ceiling float64) {
			g.adaptation.mu.Lock()
			defer g.adaptation.mu.Unlock()
			p := g.adaptation.finder.(*PairedProbe)
			return p.slot, p.ceiling
		}
		slot, ceiling := known()
		if slot < 3*time.Second || ceiling == 0 {
			t.Errorf("a slot lasts %v, and statements three seconds; the ceiling is %.1f", slot, ceiling)
		}
		for _, most := range []int{150, 30, 60} {
			if err := g.SetLimit(most); err != nil {
				t.Fatal(err)
			}
			if s, c := known(); s != slot || c != ceiling {
				t.Errorf("a slot lasts %v, and the ceiling is %.1f; before SetLimit they were %v and %.1f", s, c, slot, ceiling)
			}
		}
		cancel()
		wait()
	})
}

func TestAdaptiveWithinAShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := adaptiveGate(t, Config{OutOfBand: NoOutOfBand, Adaptive: &Adaptive{}})
		k := new(knee)
		k.n.Store(50)
		ctx, cancel := context.WithCancel(t.Context())
		wait := press(ctx, g, k, 300)
		time.Sleep(time.Minute)
		wantCenter(t, g, 35, 80)
		for _, share := range []int{10, 3, 1, 0, 20} { // as it changes in a fleet
			for range 20 {
				g.SetShare(share, time.Now().Add(10*time.Second))
				for range 5 {
					time.Sleep(200 * time.Millisecond)
					if s := g.Stats(); s.Limit > share || share > 0 && s.Limit < share*2/3 {
						t.Fatalf("the limit is %d, and the share %d", s.Limit, share)
					}
				}
			}
		}
		wantCenter(t, g, 35, 80) // what it knows is not lost

		g.SetShare(300, time.Time{})
		time.Sleep(time.Second)
		if n := g.Limit(); n < 28 {
			t.Errorf("with a share that is large enough the limit is %d", n)
		}

		g.SetShare(20, time.Time{})
		k.n.Store(4) // too slow even for the share
		time.Sleep(time.Minute)
		wantCenter(t, g, 2, 8)
		if n := g.Limit(); n > 10 {
			t.Errorf("the limit is %d, and the server has become slow", n)
		}

		k.n.Store(50)
		time.Sleep(time.Minute)
		if n := g.Limit(); n < 14 || n > 20 {
			t.Errorf("the limit is %d, and the server is quick enough for the share of 20", n)
		}
		cancel()
		wait()
	})
}

// A share takes from what is reserved in proportion; a probe within it does not.
func TestProbesWithinAShareLeaveReservationsAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := adaptiveGate(t, Config{OutOfBand: NoOutOfBand, Limit: 40, Adaptive: &Adaptive{}, Classes: []Class{{Name: "web", Reserved: 10}}})
		g.SetShare(20, time.Time{})
		k := new(knee)
		k.n.Store(100)
		ctx, cancel := context.WithCancel(t.Context())
		wait := press(ctx, g, k, 300)
		seen := map[int]bool{}
		for range 100 {
			time.Sleep(100 * time.Millisecond)
			g.mu.Lock()
			seen[g.limit] = true
			if reserved, want := g.classes[1].reserved, 10*20/g.wanted; reserved != want {
				t.Errorf("%d are reserved at a limit of %d within %d, want %d", reserved, g.limit, g.wanted, want)
			}
			g.mu.Unlock()
		}
		if len(seen) < 2 {
			t.Errorf("the limits were %v: it does not probe", seen)
		}
		cancel()
		wait()
	})
}
