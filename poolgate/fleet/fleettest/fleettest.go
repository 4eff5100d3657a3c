// Package fleettest has the tests that every [fleet.Store] must pass.
package fleettest

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate/fleet"
)

// A Subject is a store that is tested.
type Subject struct {
	// Open returns the store of an empty fleet.
	Open func(t *testing.T) fleet.Store

	// Advance moves the store's clock on, as if so many seconds of heartbeats had
	// passed.
	Advance func(t *testing.T, s fleet.Store, seconds float64)

	// Empty deletes all that the store knows, as somebody who drops its tables
	// does.
	Empty func(t *testing.T, s fleet.Store)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// uuid returns the nth key of a test.
func uuid(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// beat returns a heartbeat of member n.
func beat(n int, seq int64, limit, target int) fleet.Heartbeat {
	token := int64(n)*1000 + seq
	return fleet.Heartbeat{
		Key: uuid(n), Seq: seq, Token: token, Tokens: []int64{token - 1, token},
		Limit: limit, InUse: limit, Target: target, Demand: float64(target), Weight: 1, Budget: 100, Seconds: 10,
	}
}

// Test runs the tests.
func Test(t *testing.T, subject Subject) {
	ctx := context.Background()
	// open returns a store that has learnt who is there.
	open := func(t *testing.T) fleet.Store {
		s := subject.Open(t)
		write(t, s, beat(999, 1, 0, 0), fleet.Reply{})
		subject.Advance(t, s, 31)
		return s
	}

	t.Run("it learns before it gives anything", func(t *testing.T) {
		s := subject.Open(t)
		write(t, s, beat(1, 1, 0, 10), fleet.Reply{})
		h := beat(2, 1, 7, 10)
		write(t, s, h, fleet.Reply{Limit: 7, Grant: 7}) // what it had before it was forgotten
		subject.Advance(t, s, 31)
		write(t, s, beat(3, 1, 0, 10), fleet.Reply{Limit: 10, Grant: 10})
	})

	t.Run("it learns again where it was emptied", func(t *testing.T) {
		s := open(t)
		write(t, s, beat(1, 1, 0, 60), fleet.Reply{Limit: 60, Grant: 60})
		subject.Empty(t, s)
		write(t, s, beat(2, 1, 0, 60), fleet.Reply{})
		write(t, s, beat(1, 2, 60, 60), fleet.Reply{Limit: 60, Grant: 60})
		subject.Advance(t, s, 31)
		write(t, s, beat(2, 2, 0, 60), fleet.Reply{Limit: 60, Grant: 60}) // the row of 1 has expired
	})

	t.Run("a grant is what the others leave", func(t *testing.T) {
		s := open(t)
		write(t, s, beat(1, 1, 0, 70), fleet.Reply{Limit: 70, Grant: 70})
		write(t, s, beat(2, 1, 0, 70), fleet.Reply{Limit: 30, Grant: 30})
		write(t, s, beat(3, 1, 0, 70), fleet.Reply{})
		write(t, s, beat(1, 2, 20, 20), fleet.Reply{Limit: 20, Grant: 20})
		write(t, s, beat(3, 2, 0, 70), fleet.Reply{Limit: 50, Grant: 50})
	})

	t.Run("what is in use is granted too", func(t *testing.T) {
		s := open(t)
		h := beat(1, 1, 0, 70)
		write(t, s, h, fleet.Reply{Limit: 70, Grant: 70})
		h = beat(1, 2, 20, 20)
		h.InUse = 55 // which have not ended yet
		write(t, s, h, fleet.Reply{Limit: 20, Grant: 55})
		write(t, s, beat(2, 1, 0, 70), fleet.Reply{Limit: 45, Grant: 45})
	})

	t.Run("a member keeps what it has", func(t *testing.T) {
		s := open(t)
		write(t, s, beat(1, 1, 0, 70), fleet.Reply{Limit: 70, Grant: 70})
		h := beat(2, 1, 0, 30)
		write(t, s, h, fleet.Reply{Limit: 30, Grant: 30})
		h = beat(2, 2, 30, 30)
		h.Budget = 50 // less than there is out
		write(t, s, h, fleet.Reply{Limit: 30, Grant: 30})
	})

	t.Run("a member without a row has nothing", func(t *testing.T) {
		s := open(t)
		write(t, s, beat(1, 1, 0, 90), fleet.Reply{Limit: 90, Grant: 90})
		write(t, s, beat(2, 5, 40, 40), fleet.Reply{Limit: 10, Grant: 40}) // its row has expired while it slept
	})

	t.Run("the lowest budget holds", func(t *testing.T) {
		s := open(t)
		h := beat(1, 1, 0, 10)
		h.Budget = 30
		write(t, s, h, fleet.Reply{Limit: 10, Grant: 10})
		write(t, s, beat(2, 1, 0, 70), fleet.Reply{Limit: 20, Grant: 20})
		v, err := s.Read(ctx)
		must(t, err)
		if v.Budget != 30 {
			t.Errorf("the budget is %d, want 30", v.Budget)
		}
	})

	t.Run("a late heartbeat changes nothing", func(t *testing.T) {
		s := open(t)
		write(t, s, beat(1, 1, 0, 70), fleet.Reply{Limit: 70, Grant: 70})
		h := beat(1, 3, 70, 10)
		h.Tokens = []int64{1001, 1002, 1003}
		write(t, s, h, fleet.Reply{Limit: 70, Grant: 70})
		late := beat(1, 2, 70, 50)
		late.Tokens = []int64{1001, 1002, 1003}
		write(t, s, late, fleet.Reply{Status: fleet.Late})
	})

	t.Run("two members with one key are told apart", func(t *testing.T) {
		s := open(t)
		write(t, s, beat(1, 1, 0, 70), fleet.Reply{Limit: 70, Grant: 70})
		other := beat(1, 2, 0, 70)
		other.Token, other.Tokens = 42, []int64{42}
		write(t, s, other, fleet.Reply{Status: fleet.Duplicate})
	})

	t.Run("a row expires by the store's clock", func(t *testing.T) {
		s := open(t)
		write(t, s, beat(1, 1, 0, 100), fleet.Reply{Limit: 100, Grant: 100})
		subject.Advance(t, s, 9)
		write(t, s, beat(2, 1, 0, 10), fleet.Reply{})
		subject.Advance(t, s, 2)
		write(t, s, beat(2, 2, 0, 10), fleet.Reply{Limit: 10, Grant: 10})
		v, err := s.Read(ctx)
		must(t, err)
		for _, m := range v.Members {
			if m.Key == uuid(1) {
				t.Error("the row is still there")
			}
		}
	})

	t.Run("a member that leaves makes room", func(t *testing.T) {
		s := open(t)
		write(t, s, beat(1, 1, 0, 100), fleet.Reply{Limit: 100, Grant: 100})
		must(t, s.Leave(ctx, uuid(1)))
		write(t, s, beat(2, 1, 0, 100), fleet.Reply{Limit: 100, Grant: 100})
	})

	t.Run("it returns what was written", func(t *testing.T) {
		s := open(t)
		h := beat(7, 1, 0, 12)
		h.Demand, h.Min, h.Weight = 12.5, 3, 2.25
		write(t, s, h, fleet.Reply{Limit: 12, Grant: 12})
		v, err := s.Read(ctx)
		must(t, err)
		want := fleet.Member{Key: uuid(7), Seq: 1, Demand: 12.5, Grant: 12, Min: 3, Weight: 2.25, Budget: 100}
		found := false
		for _, m := range v.Members {
			found = found || m == want
		}
		if !found {
			t.Errorf("%+v is not among %+v", want, v.Members)
		}
	})

	t.Run("many at once get no more than the budget", func(t *testing.T) {
		s := open(t)
		limits := make([]int, 20)
		var all sync.WaitGroup
		for i := range limits {
			all.Go(func() {
				for seq := range int64(20) {
					limits[i] = min(limits[i], rand.IntN(20))
					h := beat(i+1, seq+1, limits[i], rand.IntN(20))
					h.Limit = min(h.Limit, h.Target)
					h.InUse = h.Limit
					r, err := s.Write(ctx, h)
					if err != nil {
						t.Error(err)
						return
					}
					limits[i] = r.Limit
				}
			})
		}
		all.Wait()
		sum := 0
		for _, n := range limits {
			sum += n
		}
		if sum > 100 || sum < 50 {
			t.Errorf("the members have %d together, of a budget of 100", sum)
		}
	})

	t.Run("a context that has ended ends a call", func(t *testing.T) {
		s := open(t)
		ctx, cancel := context.WithDeadline(ctx, time.Now().Add(-time.Second))
		defer cancel()
		if _, err := s.Read(ctx); err == nil {
			t.Error("Read returns no error")
		}
		if _, err := s.Write(ctx, beat(1, 1, 0, 1)); err == nil {
			t.Error("Write returns no error")
		}
	})
}

func write(t *testing.T, s fleet.Store, h fleet.Heartbeat, want fleet.Reply) {
	t.Helper()
	got, err := s.Write(context.Background(), h)
	if err != nil {
		t.Fatal(err)
	}
	if got != want {
		t.Errorf("the reply is %+v, want %+v", got, want)
	}
}
