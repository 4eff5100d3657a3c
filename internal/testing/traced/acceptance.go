package traced

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/sdk/resource"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/session"
	"github.com/poolgate/poolgate/tracing"
)

// service names the traces of the tests in Jaeger.
var service = resource.NewSchemaless(semconv.ServiceName("poolgate-test"))

// read returns a trace as Jaeger has it, if there is one, and else as the SDK has.
func (f *Fixture) read(trace string) View {
	f.T.Helper()
	v := f.View().Trace(trace)
	if f.Jaeger == nil {
		return v
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	Must(f.T, f.Traces.ForceFlush(ctx))
	found, err := f.Jaeger.Trace(ctx, trace, len(v))
	Must(f.T, err)
	if len(found.Spans) != len(v) {
		f.T.Errorf("Jaeger has %d spans, there were %d", len(found.Spans), len(v))
	}
	f.T.Logf("%s\n%s", found.ID, found)
	var read View
	for _, s := range found.Spans {
		kind, _ := s.Tags["span.kind"].(string)
		failed, _ := s.Tags["error"].(bool)
		read = append(read, Span{Trace: found.ID, ID: s.ID, Parent: s.Parent, Name: s.Name, Kind: kind,
			Start: s.Start, Duration: s.Duration, Attributes: s.Tags, Links: s.Links, Failed: failed, Events: s.Events})
	}
	return read
}

// AcceptanceGate is the gate that Acceptance needs.
var AcceptanceGate = gate.Config{Limit: 2, MaxWaiting: 1, OutOfBand: gate.NoOutOfBand,
	Classes: []gate.Class{{Name: "web", Priority: 1}}}

// Acceptance produces the cases that an on-call engineer has to tell apart, and
// checks that their spans do so.
func Acceptance(t *testing.T, f *Fixture) {
	ctx := tracing.Operations(gate.WithClass(context.Background(), "web"), f.Traces)
	f.MustExec(ctx, "CREATE TABLE t (id int PRIMARY KEY)")
	in := func(name string, work func(ctx context.Context)) View {
		ctx, span := f.Tracer.Start(ctx, name)
		work(ctx)
		span.End()
		return f.read(span.SpanContext().TraceID().String())
	}

	t.Run("a session that waits, works, idles and commits", func(t *testing.T) {
		v := in("request", func(ctx context.Context) {
			one, two := f.Hold(), f.Hold()
			released := make(chan struct{})
			go func() {
				defer close(released)
				f.Queued(1)
				time.Sleep(20 * time.Millisecond)
				Must(t, one.Close())
			}()
			Must(t, session.Run(ctx, func(ctx context.Context) error {
				db := session.DB(ctx, f.DB.DB)
				if _, err := db.ExecContext(ctx, "INSERT INTO t VALUES ($1)", 1); err != nil {
					return err
				}
				time.Sleep(20 * time.Millisecond) // an HTTP call, say
				_, err := db.ExecContext(ctx, "SELECT pg_sleep(0.02)")
				return err
			}))
			<-released
			Must(t, two.Close())
		})
		request, unit := v.One(t, "request"), v.One(t, "poolgate.session")
		wait, lease := v.One(t, "poolgate.wait"), v.One(t, "poolgate.lease")
		begin, commit, statements := v.One(t, "sql.conn.begin_tx"), v.One(t, "sql.tx.commit"), v.All("sql.conn.exec")
		if len(statements) != 2 {
			t.Fatalf("%d statements, want 2", len(statements))
		}
		if unit.Parent != request.ID {
			t.Error("the unit is not the request's child")
		}
		for _, s := range []Span{wait, lease, begin, statements[0], statements[1], commit} {
			if s.Parent != unit.ID {
				t.Errorf("%s is not the unit's child", s.Name)
			}
			s.Want(t, map[string]any{"poolgate.class": "web", "db.system.name": "postgresql"})
		}
		Adds(t, request, unit)
		Adds(t, unit, wait, lease)
		Adds(t, lease, begin, statements[0], statements[1], commit)
		unit.Want(t, map[string]any{"poolgate.session.committed": true})
		wait.Want(t, map[string]any{"poolgate.gate.limit": int64(2), "poolgate.gate.in_flight": int64(2), "poolgate.gate.waiting": int64(0)})
		const pause = 20 * time.Millisecond
		if wait.Duration < pause {
			t.Errorf("the wait is %v, want %v at least", wait.Duration, pause)
		}
		if gap := statements[1].Start.Sub(statements[0].End()); gap < pause-time.Millisecond {
			t.Errorf("between the statements there are %v, want %v", gap, pause)
		}
		if lease.Seconds(t, "poolgate.lease.between_calls") < pause {
			t.Error("the lease does not tell of the pause")
		}
		if statements[1].Duration < pause-time.Millisecond {
			t.Errorf("the server's work is %v, want %v at least", statements[1].Duration, pause)
		}
		if begin.Seconds(t, "poolgate.waited") < pause {
			t.Error("BEGIN does not tell of the wait")
		}
	})

	t.Run("a gather of three through two permits, on one snapshot", func(t *testing.T) {
		const nap = 20 * time.Millisecond
		v := in("request", func(ctx context.Context) {
			Must(t, gather.Run(ctx, f.DB, gather.Options{Consistency: gather.Snapshot},
				gather.Discard("SELECT pg_sleep(0.02)"), gather.Discard("SELECT pg_sleep(0.02)"), gather.Discard("SELECT pg_sleep(0.02)")))
		})
		all, leases, queries := v.One(t, "poolgate.gather"), v.All("poolgate.lease"), v.All("sql.conn.query")
		if all.Parent != v.One(t, "request").ID || all.Failed {
			t.Errorf("the gather is %+v", all)
		}
		all.Want(t, map[string]any{"poolgate.gather.consistency": "snapshot", "poolgate.gather.statements": int64(3)})
		var naps View
		for _, q := range queries {
			if strings.Contains(fmt.Sprint(q.Attributes["db.query.text"]), "pg_sleep") {
				naps = append(naps, q)
			}
		}
		if len(naps) != 3 || len(leases) == 0 {
			t.Fatalf("%d statements in %d leases: %v", len(naps), len(leases), v.Names())
		}
		for _, s := range slices.Concat(leases, naps) {
			if s.Parent != all.ID {
				t.Errorf("%s is not the gather's child", s.Name)
			}
			Within(t, all, s)
		}
		for _, n := range naps {
			if n.Attributes["db.query.text"] != "SELECT pg_sleep(?)" {
				t.Errorf("a statement is %v", n.Attributes["db.query.text"])
			}
		}
		// Three on two at most take as long as two, one after the other.
		if all.Duration < 2*nap-time.Millisecond {
			t.Errorf("the gather took %v, want %v at least", all.Duration, 2*nap)
		}
	})

	t.Run("a refusal", func(t *testing.T) {
		one, two := f.Hold(), f.Hold()
		gone, leave := context.WithCancel(ctx)
		waiting := make(chan struct{})
		go func() {
			defer close(waiting)
			f.ExecContext(gone, "SELECT 1")
		}()
		f.Queued(1)
		v := in("request", func(ctx context.Context) {
			_, err := f.ExecContext(ctx, "SELECT 1")
			Is(t, err, gate.ErrQueueFull)
		})
		leave()
		<-waiting
		Must(t, one.Close())
		Must(t, two.Close())
		refused := v.One(t, "poolgate.wait")
		if refused.Parent != v.One(t, "request").ID || !refused.Failed || len(v) != 2 {
			t.Errorf("the refusal is %+v, of %v", refused, v.Names())
		}
		refused.Want(t, map[string]any{"poolgate.class": "web", "error.type": "queue_full",
			"poolgate.gate.limit": int64(2), "poolgate.gate.in_flight": int64(2), "poolgate.gate.waiting": int64(1)})
	})

	t.Run("a deadlock", func(t *testing.T) {
		v := in("request", func(ctx context.Context) {
			first, err := f.BeginTx(ctx, nil)
			Must(t, err)
			second, err := f.BeginTx(ctx, nil)
			Must(t, err)
			_, err = f.ExecContext(ctx, "SELECT 1")
			Is(t, err, gate.ErrDeadlock)
			Must(t, second.Rollback())
			Must(t, first.Rollback())
		})
		wait, leases := v.One(t, "poolgate.wait"), v.All("poolgate.lease")
		if len(leases) != 2 || !wait.Failed {
			t.Fatalf("the spans are %v", v.Names())
		}
		wait.Want(t, map[string]any{"error.type": "deadlock", "poolgate.gate.in_flight": int64(2)})
		for _, lease := range leases {
			Within(t, lease, wait)
		}
	})
}

// Adds checks that whole contains parts, in this order: none overlaps the next,
// and together they are no longer than whole. A moment that ends one span and
// begins the next may be read from the clock twice, but in this order.
func Adds(t *testing.T, whole Span, parts ...Span) {
	t.Helper()
	at, total := whole.Start, time.Duration(0)
	for _, p := range parts {
		if p.Start.Before(at) {
			t.Errorf("%s begins %v before what precedes it ends", p.Name, at.Sub(p.Start))
		}
		at = p.End()
		total += p.Duration
	}
	if at.After(whole.End()) || total > whole.Duration {
		t.Errorf("the parts take %v, %s takes %v", total, whole.Name, whole.Duration)
	}
}

// Within checks that part is not longer than whole at either end.
func Within(t *testing.T, whole, part Span) {
	t.Helper()
	if part.Start.Before(whole.Start) || part.End().After(whole.End()) {
		t.Errorf("%s, from %v to %v, is not within %s, from %v to %v", part.Name, part.Start, part.End(), whole.Name, whole.Start, whole.End())
	}
}
