package gate_test

import (
	"context"
	"errors"
	"math"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// arrival is somebody who comes, works and goes.
type arrival struct {
	err   error
	after time.Duration // from its arrival to the end of its work
	ended atomic.Bool   // the others are set
}

// load has n goroutines acquire, hold for that long and release, one coming after
// the other at this distance, and returns when the last has come.
func load(t *testing.T, g *gate.Gate, n int, distance, hold, deadline time.Duration, class string) []*arrival {
	var all []*arrival
	for range n {
		a := new(arrival)
		all = append(all, a)
		go func() {
			ctx := gate.WithClass(context.Background(), class)
			if deadline > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, deadline)
				defer cancel()
			}
			start := time.Now()
			p, err := g.Acquire(ctx)
			if err == nil {
				time.Sleep(hold)
				p.Release()
			}
			a.err, a.after = err, time.Since(start)
			a.ended.Store(true)
		}()
		time.Sleep(distance)
	}
	return all
}

func TestDeadlines(t *testing.T) {
	const ms = time.Millisecond
	inBubble(t, "who could not be through in time is refused on arrival", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2})
		warm := load(t, g, 40, 0, 10*ms, 0, "") // 5 ms for each grant, 10 ms for each hold
		time.Sleep(100 * ms)
		synctest.Wait()
		waiting := g.Stats().Waiting
		try := func(d time.Duration) error {
			ctx, cancel := context.WithTimeout(t.Context(), d)
			defer cancel()
			start := time.Now()
			p, err := g.Acquire(ctx)
			if errors.Is(err, gate.ErrDeadline) && time.Since(start) != 0 {
				t.Errorf("refused after %v", time.Since(start))
			}
			p.Release()
			return err
		}
		need := time.Duration(waiting)*5*ms + 10*ms
		if err := try(need / 2); !errors.Is(err, gate.ErrDeadline) || !errors.Is(err, gate.ErrRejected) {
			t.Errorf("with half of the time that it needs: %v", err)
		}
		if err := try(need * 2); err != nil {
			t.Errorf("with twice the time that it needs: %v", err)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		for _, a := range warm {
			if a.err != nil {
				t.Error(a.err)
			}
		}
	})

	inBubble(t, "nobody is refused while too little is known, nor without a deadline, nor where a permit is free", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		all := load(t, g, 10, 10*ms, 9*ms, 10*ms, "")
		synctest.Wait()
		for _, a := range all {
			if a.err != nil {
				t.Error(a.err)
			}
		}
		if s := g.Stats(); s.Deadline != 0 || s.Refused() != 0 {
			t.Errorf("stats: %+v", s)
		}
	})

	inBubble(t, "what was learned is forgotten after a second", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		load(t, g, 40, 0, 20*ms, 0, "")
		time.Sleep(3 * time.Second)
		p := acquire(t, g)
		ctx, cancel := context.WithTimeout(t.Context(), 10*ms)
		defer cancel()
		c := call(ctx, g)
		if !c.waits() {
			t.Errorf("got %v", c.err)
		}
		p.Release()
		synctest.Wait()
		if !c.holds() { // it has 10 ms left, and a hold took 20
			t.Fatalf("got %v", c.err)
		}
		c.permit.Release()
	})

	// done returns how many of all were done by their deadline.
	done := func(all []*arrival, deadline time.Duration) (n int) {
		synctest.Wait()
		for _, a := range all {
			if a.err == nil && a.after <= deadline {
				n++
			}
		}
		return n
	}

	inBubble(t, "a pause says nothing about how quickly the queue moves", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 10})
		load(t, g, 200, 30*ms, 300*ms, 0, "") // as much as can be done
		g.Pause()
		load(t, g, 20, time.Second, 300*ms, 0, "")
		g.Resume()
		all := load(t, g, 39, 25*ms, 300*ms, 2*time.Second, "")
		time.Sleep(time.Minute)
		synctest.Wait()
		if n := done(all, 2*time.Second); n != len(all) {
			t.Errorf("%d of %d are done in time", n, len(all))
		}
	})

	for _, idle := range []time.Duration{0, 2 * time.Second, 20 * time.Second, time.Hour} {
		inBubble(t, "long holds do not stand in the way of short ones that follow after "+idle.String(), func(t *testing.T) {
			g := newGate(t, gate.Config{Limit: 4})
			load(t, g, 200, time.Second, 5*time.Second, 0, "")
			for g.Stats().InFlight > 0 {
				time.Sleep(time.Second)
			}
			time.Sleep(idle)
			for range 100 {
				all := load(t, g, 30, 0, 10*ms, 100*ms, "") // 80 ms of work
				time.Sleep(time.Second)
				if n := done(all, 100*ms); n != len(all) {
					t.Fatalf("%d of %d are done in time: %+v", n, len(all), g.Stats().Counts)
				}
			}
		})
	}

	inBubble(t, "a deadline in a far future is not too late", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1})
		for _, deadline := range []time.Time{time.Unix(math.MaxInt64/int64(time.Second), 0), time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC), time.Now().Add(math.MaxInt64)} {
			load(t, g, 40, 0, 10*ms, 0, "")
			time.Sleep(100 * ms)
			ctx, cancel := context.WithDeadline(t.Context(), deadline)
			p, err := g.Acquire(ctx)
			if err != nil {
				t.Errorf("until %v: %v", deadline, err)
			}
			p.Release()
			cancel()
		}
	})
}

func TestOverload(t *testing.T) {
	const ms = time.Millisecond
	inBubble(t, "a burst is not an overload", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2, Shed: true})
		for range 10 {
			load(t, g, 30, 0, 5*ms, 0, "") // 75 ms of work
			time.Sleep(100 * ms)
		}
		if s := g.Stats(); s.Refused() != 0 || s.Acquired != 300 || s.Overloaded {
			t.Errorf("stats: %+v", s)
		}
	})

	inBubble(t, "a queue that stands is shed by timer, more and more often, and what is newest goes first", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2, Shed: true})
		all := load(t, g, 1000, 2500*time.Microsecond, 10*ms, 0, "") // twice what can be done
		s := g.Stats()
		if !s.Overloaded || s.Shed < 20 {
			t.Errorf("stats: %+v", s)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		soon := 0
		for _, a := range all {
			if a.err == nil && a.after <= 30*ms {
				soon++
			}
			if a.err != nil && !errors.Is(a.err, gate.ErrShed) && !errors.Is(a.err, gate.ErrWaitTimeout) {
				t.Error(a.err)
			}
		}
		if soon < 350 { // of the 500 that could be
			t.Errorf("%d were through within 30 ms", soon)
		}
		if s := g.Stats(); s.Overloaded {
			t.Error("it is overloaded with nobody waiting")
		}
	})

	inBubble(t, "where no permit comes back the timer sheds alone", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, Shed: true})
		p := acquire(t, g)
		for range 20 {
			go g.Acquire(t.Context())
		}
		time.Sleep(2 * time.Second)
		if s := g.Stats(); s.Shed < 5 {
			t.Errorf("stats: %+v", s)
		}
		g.Close()
		p.Release()
	})

	inBubble(t, "the lane sheds its own callers, and no others", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 4, OutOfBand: 1, Shed: true})
		ctx, stop := context.WithCancel(t.Context())
		for range 100 {
			go func() {
				for ctx.Err() == nil {
					if p, err := g.AcquireWith(ctx, gate.Request{OutOfBand: true}); err == nil {
						time.Sleep(10 * ms)
						p.Release()
					} else {
						time.Sleep(10 * ms)
					}
				}
			}()
		}
		for range 100 { // a queue that comes and goes
			load(t, g, 8, 0, 10*ms, 0, "")
			time.Sleep(25 * ms)
		}
		stop()
		time.Sleep(100 * ms)
		if s := g.Stats(); s.OutOfBand.Shed == 0 || s.Classes[0].Shed != 0 || s.Classes[0].Acquired != 800 {
			t.Errorf("of the lane %d are shed, of the others %d", s.OutOfBand.Shed, s.Classes[0].Shed)
		}
	})

	inBubble(t, "the lowest class is shed, and none that has less than its reservation", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2, Shed: true, Classes: []gate.Class{
			{Name: "web", Priority: 1}, {Name: "batch"}, {Name: "owner", Priority: -1, Reserved: 1},
		}})
		a, b := acquire(t, g), acquire(t, g)
		for _, class := range []string{"web", "batch", "owner"} {
			for range 20 {
				go g.Acquire(gate.WithClass(t.Context(), class))
			}
		}
		time.Sleep(500 * ms)
		s := g.Stats()
		if s.Classes[1].Shed != 0 || s.Classes[2].Shed == 0 || s.Classes[3].Shed != 0 {
			t.Errorf("stats: %+v", s)
		}
		g.Close()
		a.Release()
		b.Release()
	})

	inBubble(t, "what began last goes first, not what came last", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, Shed: true})
		p := acquire(t, g)
		time.Sleep(time.Second)
		for range 50 { // a queue that stands
			go g.Acquire(t.Context())
		}
		time.Sleep(500 * ms)
		young := call(t.Context(), g)
		old := call(gate.WithStart(t.Context(), time.Now().Add(-time.Hour)), g)
		if s := g.Stats(); !s.Overloaded {
			t.Fatalf("stats: %+v", s)
		}
		p.Release()
		synctest.Wait()
		if !young.holds() || !old.waits() {
			t.Errorf("young: %v; old: %v", young.err, old.err)
		}
		g.Close()
		young.permit.Release()
	})
}
