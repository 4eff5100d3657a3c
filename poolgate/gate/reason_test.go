package gate_test

import (
	"errors"
	"fmt"
	"reflect"
	"testing"
	"testing/synctest"

	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestReasons(t *testing.T) {
	words := "[queue_full wait_timeout deadline shed deadlock too_heavy paused closed unknown_class]"
	var got []string
	for _, r := range gate.Reasons() {
		got = append(got, r.String())
		err := fmt.Errorf("query: %w", &gate.RejectedError{Reason: r})
		for _, other := range append(gate.Reasons(), gate.ErrCanceled) {
			if errors.Is(err, other) != (other == r) {
				t.Errorf("%v matches %v: %v", err, other, !errors.Is(err, other))
			}
		}
		if !errors.Is(err, gate.ErrRejected) || r.Error() == "" {
			t.Errorf("%v is no rejection", err)
		}
	}
	if fmt.Sprint(got) != words {
		t.Errorf("got %v", got)
	}
	gate.Reasons()[0] = gate.ErrClosed
	if gate.Reasons()[0] != gate.ErrQueueFull {
		t.Error("Reasons hands out its own array")
	}
	if text := gate.Reason(200).String(); text != "Reason(200)" {
		t.Errorf("got %s", text)
	}
}

// TestCounts sets each count and reads it in all the ways that there are.
func TestCounts(t *testing.T) {
	fields := map[gate.Reason]string{
		gate.ErrQueueFull: "QueueFull", gate.ErrWaitTimeout: "WaitTimeout", gate.ErrDeadline: "Deadline",
		gate.ErrShed: "Shed", gate.ErrDeadlock: "Deadlock", gate.ErrTooHeavy: "TooHeavy", gate.ErrPaused: "Paused",
		gate.ErrClosed: "Closed", gate.ErrUnknownClass: "UnknownClass",
	}
	for _, r := range gate.Reasons() {
		var s gate.Stats
		reflect.ValueOf(&s.Counts).Elem().FieldByName(fields[r]).SetUint(3)
		if s.RefusedFor(r) != 3 || s.Refused() != 3 || s.RefusedFor(gate.ErrCanceled) != 0 {
			t.Errorf("%v: %d of %d", r, s.RefusedFor(r), s.Refused())
		}
	}
	if n := (gate.Counts{Canceled: 2}); n.Refused() != 0 || n.RefusedFor(gate.ErrCanceled) != 2 || n.RefusedFor(0) != 0 {
		t.Errorf("counts: %+v", n)
	}
	for _, stats := range []any{gate.Stats{}, gate.ClassStats{}} {
		for _, count := range reflect.VisibleFields(reflect.TypeFor[gate.Counts]()) {
			of := reflect.TypeOf(stats)
			if f, ok := of.FieldByName(count.Name); !ok || len(f.Index) != 2 {
				t.Errorf("%v hides Counts.%s", of, count.Name)
			}
		}
	}
}

func TestTryAcquire(t *testing.T) {
	inBubble(t, "takes a permit that is free, and never waits", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 2, Classes: []gate.Class{{Name: "batch", Max: 1}}})
		batch := gate.WithClass(t.Context(), "batch")
		p, ok := g.TryAcquire(batch)
		if !ok || p.Class() != "batch" {
			t.Fatalf("got %v, class %q", ok, p.Class())
		}
		if _, ok := g.TryAcquire(batch); ok {
			t.Error("above the Max of its class")
		}
		q, ok := g.TryAcquire(t.Context())
		if _, full := g.TryAcquire(t.Context()); !ok || full {
			t.Errorf("got %v and %v", ok, full)
		}
		q.Release()
		heavy := callWith(t.Context(), g, gate.Request{Weight: 2})
		if _, ok := g.TryAcquire(t.Context()); ok {
			t.Error("it overtakes a waiter")
		}
		if s := g.Stats(); s.Refused() != 0 || s.Waiting != 1 || s.Acquired != 2 {
			t.Errorf("stats: %+v", s)
		}
		p.Release()
		synctest.Wait()
		if _, ok := g.TryAcquire(t.Context()); ok {
			t.Error("above the limit")
		}
		g.Pause()
		heavy.permit.Release()
		if _, ok := g.TryAcquire(t.Context()); ok {
			t.Error("paused")
		}
	})
}
