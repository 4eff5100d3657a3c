package gate_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// line starts callers of the named classes in order, and serve releases permits
// one by one until all have been served, returning the order in which they were.
type line struct {
	g       *gate.Gate
	names   []string
	callers []*caller
}

func (l *line) join(t *testing.T, classes ...string) {
	for _, class := range classes {
		l.names = append(l.names, class)
		l.callers = append(l.callers, call(gate.WithClass(t.Context(), class), l.g))
	}
}

// serve releases held and then the permit of each that was served.
func (l *line) serve(t *testing.T, held gate.Permit) (order []string) {
	served := make([]bool, len(l.callers))
	for range l.callers {
		held.Release()
		synctest.Wait()
		next := -1
		for i, c := range l.callers {
			if c.holds() && !served[i] {
				if next >= 0 {
					t.Fatal("one permit served two")
				}
				next = i
			}
		}
		if next < 0 {
			t.Fatalf("nobody was served after %v", order)
		}
		served[next] = true
		order = append(order, l.names[next])
		held = l.callers[next].permit
	}
	held.Release()
	return order
}

func TestClasses(t *testing.T) {
	for _, test := range []struct {
		name        string
		classes     []gate.Class
		come, serve string
	}{
		{"of equals the longest waiter goes first",
			[]gate.Class{{Name: "a"}, {Name: "b"}},
			"a b a b b a", "a b a b b a"},
		{"the higher priority goes first, in order within a class",
			[]gate.Class{{Name: "low", Priority: -1}, {Name: "high", Priority: 1}},
			"low default high low default high", "high high default default low low"},
		{"what is reserved goes to its owner before any priority, and no further",
			[]gate.Class{{Name: "owner", Reserved: 1, Priority: -1}, {Name: "high", Priority: 1}},
			"high owner high owner", "owner owner high high"},
	} {
		inBubble(t, test.name, func(t *testing.T) {
			g := newGate(t, gate.Config{Limit: 1, Classes: test.classes})
			l := &line{g: g}
			held := acquire(t, g)
			l.join(t, strings.Fields(test.come)...)
			if got := strings.Join(l.serve(t, held), " "); got != test.serve {
				t.Errorf("served %s, want %s", got, test.serve)
			}
		})
	}

	inBubble(t, "an idle reservation is lent, and comes back to its owner first", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 3, Classes: []gate.Class{{Name: "web", Reserved: 2}, {Name: "batch", Priority: 9}}})
		batch, web := gate.WithClass(t.Context(), "batch"), gate.WithClass(t.Context(), "web")
		var lent []*caller
		for range 3 {
			lent = append(lent, call(batch, g))
		}
		more := call(batch, g)
		first, second, third := call(web, g), call(web, g), call(web, g)
		for i, owner := range []*caller{first, second} {
			lent[i].permit.Release()
			synctest.Wait()
			if !owner.holds() || !more.waits() {
				t.Fatal("the owner did not get its permit back first")
			}
		}
		lent[2].permit.Release() // beyond the reservation priority decides
		synctest.Wait()
		if !more.holds() || !third.waits() {
			t.Fatal("the owner got more than its own")
		}
		for _, c := range []*caller{first, second, more} {
			c.permit.Release()
		}
		synctest.Wait()
		third.permit.Release()
	})

	inBubble(t, "nobody starves: a waiter that was passed over 16 times goes first", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, Classes: []gate.Class{
			{Name: "web", Reserved: 1, Priority: 1}, {Name: "batch", Priority: -1},
		}})
		l := &line{g: g}
		held := acquire(t, g)
		l.join(t, "batch", "batch")
		for range 40 {
			l.join(t, "web")
		}
		var at []string
		for i, class := range l.serve(t, held) {
			if class == "batch" {
				at = append(at, fmt.Sprint(i))
			}
		}
		if got := strings.Join(at, " "); got != "16 33" {
			t.Errorf("batch was served at %s", got)
		}
	})

	inBubble(t, "a class has no more out than its Max, while others pass it", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 3, Classes: []gate.Class{{Name: "batch", Max: 1, Priority: 9}}})
		batch := gate.WithClass(t.Context(), "batch")
		a, b := call(batch, g), call(batch, g)
		web := call(t.Context(), g)
		if !a.holds() || !b.waits() || !web.holds() {
			t.Fatal("the first batch and the web should hold, the second batch wait")
		}
		web.permit.Release()
		synctest.Wait()
		if !b.waits() {
			t.Fatal("let in above its Max")
		}
		a.permit.Release()
		synctest.Wait()
		if !b.holds() {
			t.Fatal("not let in at its Max")
		}
		b.permit.Release()
	})

	inBubble(t, "a class that could not enter was not passed over", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2, Classes: []gate.Class{{Name: "batch", Max: 1, Priority: -1}}})
		batch := gate.WithClass(t.Context(), "batch")
		a, b := call(batch, g), call(batch, g)
		held := acquire(t, g)
		for range 20 { // come after b and are served before it, since batch has its Max
			next := call(t.Context(), g)
			held.Release()
			synctest.Wait()
			held = next.permit
		}
		web := call(t.Context(), g)
		a.permit.Release()
		synctest.Wait()
		if !web.holds() || !b.waits() {
			t.Fatal("the batch went before the web")
		}
		held.Release()
		synctest.Wait()
		web.permit.Release()
		b.permit.Release()
	})

	inBubble(t, "each class has the queue and the wait that it says", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, MaxWait: time.Minute, Classes: []gate.Class{
			{Name: "web", MaxWaiting: 1, MaxWait: time.Second},
		}})
		web := gate.WithClass(t.Context(), "web")
		p := acquire(t, g)
		slow := call(t.Context(), g)
		time.Sleep(time.Second)
		quick := call(web, g) // comes later, and its time is up sooner
		_, err := g.Acquire(web)
		var rejected *gate.RejectedError
		if !errors.As(err, &rejected) || rejected.Reason != gate.ErrQueueFull || rejected.Class != "web" || rejected.Waiting != 1 {
			t.Errorf("got %v", err)
		}
		if want := `1 waiting in class "web"`; !strings.Contains(err.Error(), want) {
			t.Errorf("%q does not say %s", err, want)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if quick.after != time.Second || slow.after != time.Minute {
			t.Errorf("refused after %v and %v", quick.after, slow.after)
		}
		p.Release()
		for _, c := range g.Stats().Classes {
			if c.WaitTimeout != 1 {
				t.Errorf("%s: %+v", c.Name, c)
			}
		}
	})

	t.Run("an unknown class is refused where there are classes, and ignored where there are none", func(t *testing.T) {
		ctx := gate.WithClass(context.Background(), "rports")
		g := newGate(t, gate.Config{Limit: 1, Classes: []gate.Class{{Name: "reports"}}})
		var ends []gate.AcquireEnd
		defer g.Observe(gate.Observer{AcquireEnd: func(_ context.Context, a gate.AcquireEnd) { ends = append(ends, a) }})()
		_, byContext := g.Acquire(ctx)
		_, byRequest := g.AcquireWith(context.Background(), gate.Request{Class: "rports", Weight: 3})
		_, withContext := g.AcquireWith(ctx, gate.Request{})
		for i, err := range []error{byContext, byRequest, withContext} {
			rejected, ok := errors.AsType[*gate.RejectedError](err)
			if !ok || !errors.Is(err, gate.ErrUnknownClass) || rejected.Class != "rports" ||
				strings.Join(rejected.Classes, " ") != "default reports" || rejected.RetryAfter != 0 {
				t.Fatalf("got %+v", err)
			}
			for _, word := range []string{`"rports"`, `"default"`, `"reports"`} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("%q does not name %s", err, word)
				}
			}
			if len(ends) <= i || ends[i].Err != err || ends[i].Class != "" {
				t.Errorf("observed: %+v", ends)
			}
		}
		done, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := g.Acquire(done); err != context.Canceled {
			t.Errorf("got %v", err)
		}
		if _, ok := g.TryAcquire(ctx); ok || g.ClassOf(ctx) != "" {
			t.Errorf("let in, or of class %q", g.ClassOf(ctx))
		}
		if s := g.Stats(); s.UnknownClass != 3 || s.Refused() != 3 || s.Acquired != 0 || s.Classes[0].Refused() != 0 {
			t.Errorf("stats: %+v", s)
		}

		without := newGate(t, gate.Config{Limit: 1})
		p, err := without.Acquire(ctx)
		if err != nil || p.Class() != gate.DefaultClass || without.ClassOf(ctx) != gate.DefaultClass {
			t.Fatalf("got %v, class %q", err, p.Class())
		}
		p.Release()
	})

	t.Run("what cannot be is refused with the field's name", func(t *testing.T) {
		for field, classes := range map[string][]gate.Class{
			"Config.Classes[0].Name ":       {{}},
			"Config.Classes[1].Name ":       {{Name: "a"}, {Name: "a"}},
			"Config.Classes[0].Reserved ":   {{Name: "a", Reserved: -1}},
			"Config.Classes[0].Max ":        {{Name: "a", Reserved: 2, Max: 1}},
			"Config.Classes[0].MaxWaiting ": {{Name: "a", MaxWaiting: -2}},
			"Config.Classes[0].MaxWait ":    {{Name: "a", MaxWait: -1}},
			"Config.Classes reserve 5 ":     {{Name: "a", Reserved: 2}, {Name: "b", Reserved: 3}},
		} {
			if _, err := gate.New(gate.Config{Limit: 4, Classes: classes}); err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("%v does not say %s", err, field)
			}
		}
	})
}
