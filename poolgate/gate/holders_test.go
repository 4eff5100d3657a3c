package gate_test

import (
	"context"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestStatsOfTheConfiguration(t *testing.T) {
	t.Run("they have what a reader of the page has to know", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, Shadow: true, LeakAfter: time.Minute, StackEvery: 2})
		if s := g.Stats(); !s.Shadow || s.LeakAfter != time.Minute || s.StackEvery != 2 || s.Stopped {
			t.Errorf("got %+v", s)
		}
		g.Close()
		if !g.Stats().Stopped {
			t.Error("closed, and not said so")
		}
	})
}

func TestHolders(t *testing.T) {
	t.Run("a stack begins with the caller's own code", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, StackEvery: 1})
		defer acquire(t, g).Release()
		holders := g.Holders()
		if len(holders) != 1 || !strings.HasPrefix(holders[0].Stack, "github.com/poolgate/poolgate/poolgate/gate_test.acquire\n") {
			t.Errorf("got %+v", holders)
		}
	})
}

func TestStartOf(t *testing.T) {
	t.Run("it is what WithStart has said", func(t *testing.T) {
		start := time.Now().Add(-time.Hour)
		if got, ok := gate.StartOf(gate.WithStart(context.Background(), start)); !ok || !got.Equal(start) {
			t.Errorf("got %v, %v", got, ok)
		}
	})
	t.Run("a context that says nothing has none", func(t *testing.T) {
		if got, ok := gate.StartOf(context.Background()); ok || !got.IsZero() {
			t.Errorf("got %v, %v", got, ok)
		}
	})
}

func TestRefusalsAreInThePeriodInWhichTheyHappen(t *testing.T) {
	inBubble(t, "what happens is of the period in which it happens, even if nobody looks", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, MaxWaiting: gate.NoWaiting, LeakAfter: time.Hour})
		p := acquire(t, g)
		time.Sleep(time.Minute)
		for range 3 { // each of a period of its own
			g.Acquire(t.Context())
			time.Sleep(10 * time.Second)
		}
		var acquired, refused []uint64
		for _, period := range g.History(gate.DefaultClass) {
			acquired, refused = append(acquired, period.Acquired), append(refused, period.Refused)
		}
		if !slices.Equal(acquired, []uint64{1, 0, 0, 0, 0, 0, 0, 0, 0, 0}) || !slices.Equal(refused, []uint64{0, 0, 0, 0, 0, 0, 1, 1, 1, 0}) {
			t.Errorf("acquired %v, refused %v", acquired, refused)
		}
		p.Release()
	})
}
