package debugpage_test

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolgate/poolgate/poolgate/debugpage"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// inBubble runs f in virtual time.
func inBubble(t *testing.T, name string, f func(t *testing.T)) {
	t.Run(name, func(t *testing.T) { synctest.Test(t, f) })
}

func shows(t *testing.T, h http.Handler, target string, want ...string) {
	t.Helper()
	body := get(t, h, target)
	for _, one := range want {
		if !strings.Contains(body, one) {
			_, body, _ := strings.Cut(body, "<body>")
			t.Errorf("there is no %q in\n%s", one, body)
		}
	}
}

func TestReport(t *testing.T) {
	inBubble(t, "an adaptive limit has its reason and its charts", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 12, Adaptive: &gate.Adaptive{Max: 50}})
		h := only("orders", g)
		for range 3 {
			p := acquire(t, g, gate.Request{})
			p.Worked(20*time.Millisecond, false, false)
			p.Release()
			time.Sleep(20 * time.Second)
		}
		shows(t, h, "/", "<b>12</b> found, between 1 and 50", "The gate finds its limit: start",
			`aria-label="Limit, up to 12"`, `aria-label="Statements per 10 s, up to 1"`, `aria-label="Statement time, up to 20 ms"`)
		shows(t, h, "/?format=json", `"adaptive"`, `"center"`, `"took_seconds"`)
	})

	inBubble(t, "it tells the queue by class, the oldest waiter, waits, holds and refusals", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, Classes: []gate.Class{{Name: "web"}, {Name: "reports", MaxWaiting: 1, MaxWait: time.Hour}}})
		h := only("orders", g)
		leave := make(chan struct{})
		p := acquire(t, g, gate.Request{Class: "web", Holder: statement("SELECT 1")})
		for range 3 { // one waits, and the queue is full for two
			go func() {
				if p, err := g.AcquireWith(t.Context(), gate.Request{Class: "reports"}); err == nil {
					<-leave
					p.Release()
				}
			}()
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		ctx, cancel := context.WithCancel(t.Context())
		for range 2 {
			go g.AcquireWith(ctx, gate.Request{Class: "web"})
		}
		synctest.Wait()
		time.Sleep(time.Second)

		all := tell(t, h, "").Gates[0]
		web, reports, lane := all.Classes[1], all.Classes[2], all.Classes[3]
		switch {
		case all.Limit != 1, all.InFlight != 1, all.Waiting != 3, all.OldestWait != 3, all.Mode != "sliding":
			t.Errorf("the gate: %+v", all)
		case web.Name != "web", web.Waiting != 2, web.InFlight != 1, web.OldestWait != 1, web.Totals.Acquired != 1:
			t.Errorf("web: %+v", web)
		case reports.Waiting != 1, reports.OldestWait != 3, reports.Totals.Refused != 2, reports.Totals.RefusedBy["queue_full"] != 2:
			t.Errorf("reports: %+v", reports)
		case all.Totals.Refused != 2, all.Totals.RefusedBy["queue_full"] != 2, len(all.Totals.RefusedBy) != len(gate.Reasons()):
			t.Errorf("totals: %+v", all.Totals)
		case lane.Name != gate.OutOfBandClass:
			t.Errorf("the lane: %+v", lane)
		case len(all.Notes) != 2, all.Notes[0].Text != "The only permit is in use, and 3 callers wait, the longest for 3 s.",
			all.Notes[1].Text != "2 callers were refused in the last 3 s.":
			t.Errorf("notes: %+v", all.Notes)
		}
		shows(t, h, "/", "<b>3 s</b> oldest waiter", `<b class="bad">2</b> refused`, "The only permit is in use, and 3 callers wait")

		cancel()
		synctest.Wait()
		p.Release() // and the report is let in
		synctest.Wait()
		reports = tell(t, h, "").Gates[0].Classes[2]
		if near := func(x float64) bool { return x > 2.8 && x < 3.2 }; !near(reports.Wait.P50) || !near(reports.Wait.P99) || reports.InFlight != 1 {
			t.Errorf("reports: %+v", reports)
		}
		if now := reports.History[len(reports.History)-1]; now.Acquired != 1 || now.Waited != 1 || now.Refused != 2 || now.Wait.P50 < 2.8 {
			t.Errorf("the present period: %+v", now)
		}
		shows(t, h, "/", `aria-label="Callers per 10 s of reports, up to 3"`, `aria-label="Wait time of reports, up to 3`, "default: nothing happened")
		close(leave)
		synctest.Wait()
	})

	inBubble(t, "it tells who holds what since when, and for whom that is too long", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 9, LeakAfter: time.Minute, StackEvery: 1})
		h := only("orders", g)
		time.Sleep(time.Second)
		old := acquire(t, g, gate.Request{Holder: statement("SELECT old"), Weight: 2})
		time.Sleep(2*time.Minute + 3*time.Second)
		young := acquire(t, g, gate.Request{Holder: statement("SELECT young")})
		time.Sleep(time.Second)
		all := tell(t, h, "").Gates[0]
		if len(all.Holders) != 2 {
			t.Fatalf("got %+v", all.Holders)
		}
		a, b := all.Holders[0], all.Holders[1]
		if a.Statement != "SELECT old" || a.Held != 124 || a.Weight != 2 || !a.Leaked || !strings.Contains(a.Stack, "debugpage_test.TestReport") {
			t.Errorf("the old one: %+v", a)
		}
		if b.Statement != "SELECT young" || b.Held != 1 || b.Weight != 1 || b.Leaked {
			t.Errorf("the young one: %+v", b)
		}
		if all.Totals.Leaked != 1 || all.Notes[0].Text != "1 holder has had its permit for longer than 1 min, the longest for 2 min 4 s; taken in debugpage_test.acquire, main_test.go:44." {
			t.Errorf("got %+v, %+v", all.Totals, all.Notes)
		}
		shows(t, h, "/", `<span class="leaked">too long</span> 2 min 4 s</td>`, "<code>SELECT old</code>", "debugpage_test.acquire, main_test.go:",
			`<a href="?goroutines=show#gate-1">Where are the holders now?</a>`, "<b>running</b> <code>SELECT young</code>", "Too long is longer than 1 min (LeakAfter).")
		young.Release()
		old.Release()
		shows(t, h, "/", "No permit is in use.", `<b class="bad">1</b> held too long`)
	})

	inBubble(t, "it tells for how long nobody was let in, where the most were taken, and how many were refused", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 3, LeakAfter: time.Second, StackEvery: 1, MaxWait: time.Second, Classes: []gate.Class{{Name: "web"}}})
		h := only("orders", g)
		var held []gate.Permit
		for range 2 {
			held = append(held, acquire(t, g, gate.Request{Class: "web"}))
		}
		p, err := g.Acquire(t.Context())
		must(t, err)
		held = append(held, p)
		give := func(ctx context.Context) {
			if p, err := g.Acquire(ctx); err == nil {
				p.Release()
			}
		}
		go give(t.Context())
		time.Sleep(2 * time.Second) // it is refused
		ctx, cancel := context.WithCancel(t.Context())
		wait := func() { // for as long as it is looked at
			go give(ctx)
			synctest.Wait()
		}
		wait()
		notes := fmt.Sprint(tell(t, h, "").Gates[0].Notes)
		for _, want := range []string{"; taken 2 in debugpage_test.acquire, main_test.go:44; 1 in debugpage_test.TestReport", "{true 1 caller was refused in the last 2 s."} {
			if !strings.Contains(notes, want) {
				t.Errorf("%q is not in %s", want, notes)
			}
		}
		if strings.Contains(notes, "Nobody was admitted") {
			t.Errorf("too early: %s", notes)
		}
		time.Sleep(30 * time.Second)
		wait()
		audit := acquire(t, g, gate.Request{OutOfBand: true}) // is none of the limit
		if notes = fmt.Sprint(tell(t, h, "").Gates[0].Notes); !strings.Contains(notes, "Nobody was admitted for 32 s.") {
			t.Errorf("got %s", notes)
		}
		audit.Release()
		cancel()
		for _, p := range held {
			p.Release()
		}
		synctest.Wait()
		go give(t.Context())
		synctest.Wait()
		if notes = fmt.Sprint(tell(t, h, "").Gates[0].Notes); strings.Contains(notes, "Nobody was admitted") {
			t.Errorf("got %s", notes)
		}
	})

	inBubble(t, "it does not guess", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 4, LeakAfter: time.Second, StackEvery: 3})
		h := only("orders", g)
		defer acquire(t, g, gate.Request{}).Release()
		for range 3 {
			p := acquire(t, g, gate.Request{})
			p.Release()
			defer acquire(t, g, gate.Request{}).Release() // of the same record, and not captured
		}
		time.Sleep(2 * time.Second)
		if notes := fmt.Sprint(tell(t, h, "").Gates[0].Notes); !regexp.MustCompile(`; taken 1 in debugpage_test.acquire, `).MatchString(notes) {
			t.Errorf("of few stacks it says %s", notes)
		}

		plain := newGate(t, gate.Config{Limit: 2, OutOfBand: gate.NoOutOfBand})
		acquire(t, plain, gate.Request{}).Release()
		time.Sleep(time.Minute)
		for range 2 {
			p, err := plain.Acquire(t.Context()) // which is not timed
			must(t, err)
			defer p.Release()
		}
		ctx, cancel := context.WithCancel(t.Context())
		go plain.Acquire(ctx)
		synctest.Wait()
		if notes := fmt.Sprint(tell(t, only("plain", plain), "").Gates[0].Notes); strings.Contains(notes, "admitted") {
			t.Errorf("of those who came just now it says %s", notes)
		}
		cancel()
		synctest.Wait()
	})

	inBubble(t, "it says what the gate does not look for", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 9, StackEvery: 0})
		p := acquire(t, g, gate.Request{})
		shows(t, only("orders", g), "/", "LeakAfter is not set", "StackEvery is not set", `<span class="quiet">not captured</span>`, `<span class="quiet">?</span>`)
		p.Release()
		shows(t, only("orders", newGate(t, gate.Config{Limit: 1, StackEvery: 10, LeakAfter: time.Second})), "/", "The stack of one in 10 is captured")
	})

	inBubble(t, "it says that a share bounds the limit", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 20, OutOfBand: gate.NoOutOfBand})
		h := only("orders", g)
		g.SetShare(3, time.Time{})
		shows(t, h, "/", "a share of 3 of a fleet", "the limit would be 20", "<b>3</b> of a fleet")
		g.SetShare(0, time.Time{})
		shows(t, h, "/", "has no share of its fleet", "the limit would be 20")
		if s := tell(t, h, "").Gates[0]; s.Notes[0].Alarm || len(s.Notes) != 1 {
			t.Errorf("the notes of a gate that nobody needs are %+v", s.Notes)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var waiter sync.WaitGroup
		waiter.Go(func() { g.Acquire(ctx) })
		synctest.Wait()
		if s := tell(t, h, "").Gates[0]; !s.Notes[0].Alarm {
			t.Errorf("the notes of a gate with a waiter are %+v", s.Notes)
		}
		cancel()
		waiter.Wait()
		g.ReportFleet(gate.FleetStats{Budget: 40, Target: 6, Demand: 2.52, Members: 7, Active: 3, Heartbeats: 11})
		shows(t, h, "/", "budget of 40", "<b>6</b> would be fair, for a demand of 2.5", "<b>7</b> in the fleet, 3 active", "<b>11</b> heartbeats", "<b>0</b> failed")
		g.ReportFleet(gate.FleetStats{Budget: 40, Failures: 1, LastError: fmt.Errorf("a secret: %w", context.DeadlineExceeded)})
		shows(t, h, "/", "heartbeat of the fleet has failed (context.DeadlineExceeded)", `<b class="bad">1</b> failed`)
		if s := tell(t, h, "").Gates[0]; len(s.Notes) != 2 || !s.Notes[1].Alarm {
			t.Errorf("the notes of a gate whose heartbeats fail are %+v", s.Notes)
		}
	})

	inBubble(t, "it says in which state the gate is", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 4, Shadow: true, Mode: gate.Chunked, OutOfBand: gate.NoOutOfBand})
		h := only("orders", g)
		shows(t, h, "/", "Shadow mode: nobody is refused", "Would have been refused", "limit, chunked")
		if classes := tell(t, h, "").Gates[0].Classes; len(classes) != 1 {
			t.Errorf("a lane that there is not: %+v", classes)
		}
		a, b := acquire(t, g, gate.Request{}), acquire(t, g, gate.Request{})
		must(t, g.SetLimit(1))
		shows(t, h, "/", "The limit was lowered, and more permits")
		a.Release()
		b.Release()
		g.Pause()
		shows(t, h, "/", "Paused: the gate admits nobody")
		g.Resume()
		g.Close()
		shows(t, h, "/", "Closed: the gate admits nobody")
		if s := tell(t, h, "").Gates[0]; !s.Shadow || !s.Stopped || s.Paused || !s.Notes[0].Alarm {
			t.Errorf("got %+v", s)
		}
	})

	inBubble(t, "an overloaded gate says so", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1, Shed: true})
		h := only("orders", g)
		p := acquire(t, g, gate.Request{})
		ctx, cancel := context.WithCancel(t.Context())
		for range 50 {
			go g.Acquire(ctx)
		}
		for range 100 {
			time.Sleep(10 * time.Millisecond)
			synctest.Wait()
		}
		if !g.Stats().Overloaded {
			t.Fatal("it is not overloaded")
		}
		shows(t, h, "/", "Overloaded: the newest callers go first")
		cancel()
		synctest.Wait()
		p.Release()
	})

	inBubble(t, "what is wrong comes first, whatever the name of its gate", func(t *testing.T) {
		well, full := newGate(t, gate.Config{Limit: 4}), newGate(t, gate.Config{Limit: 1})
		bad := newGate(t, gate.Config{Limit: 2, LeakAfter: time.Second, OutOfBand: gate.NoOutOfBand})
		h := debugpage.New(map[string]*gate.Gate{"alpha": well, "beta": full, "zeta": bad})
		var held []gate.Permit
		for range 2 {
			held = append(held, acquire(t, bad, gate.Request{}))
		}
		only := acquire(t, full, gate.Request{})
		ctx, cancel := context.WithCancel(t.Context())
		for range 16 {
			go bad.Acquire(ctx)
		}
		time.Sleep(6 * time.Second)

		shows(t, h, "/", "<title>(1) poolgate</title>",
			`<nav><a href="#gate-3" class="alarm">zeta</a> <a href="#gate-1" class="well">alpha</a> <a href="#gate-2" class="info">beta</a> </nav>`,
			`<p class="note alarm"><a href="#gate-3">zeta</a>: 2 holders have had their permits for longer than 1 s, the longest for 6 s. 2 more below.</p>`,
			"The only permit is in use, and nobody waits.", "All 2 permits are in use, and 16 callers wait, the longest for 6 s.", "Nobody was admitted for 6 s.")
		body := get(t, h, "/")
		if zeta, alpha := strings.Index(body, `id="gate-3"`), strings.Index(body, `id="gate-1"`); zeta < 0 || zeta > alpha {
			t.Errorf("zeta is at %d, alpha at %d", zeta, alpha)
		}
		if all := tell(t, h, ""); all.Gates[0].Name != "alpha" || all.Gates[2].Name != "zeta" {
			t.Error("the JSON has another order than that of the names")
		}
		cancel()
		synctest.Wait()
		only.Release()
		for _, p := range held {
			p.Release()
		}
	})

	t.Run("the page has the 200 that hold longest, and the JSON has all", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 1000})
		for i := range 1000 {
			defer acquire(t, g, gate.Request{Holder: statement(fmt.Sprintf("SELECT of-%d-", i))}).Release()
		}
		h := only("orders", g)
		body := get(t, h, "/")
		if n := strings.Count(body, "SELECT of-"); n != 200 || !strings.Contains(body, "800 more have held a permit for less time") || !strings.Contains(body, "SELECT of-0-") {
			t.Errorf("%d holders are shown", n)
		}
		if n := len(tell(t, h, "").Gates[0].Holders); n != 1000 {
			t.Errorf("%d holders are told", n)
		}
	})
}
