package tracing_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/internal/testing/jaeger"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/session"
	"github.com/poolgate/poolgate/tracing"
)

// TestTraces checks what traces show, as the SDK has them.
func TestTraces(t *testing.T) {
	onBoth(t, acceptanceGate, func(t *testing.T, f *fixture) { acceptance(t, f) })
}

// TestTracesInJaeger checks the same after a real Jaeger was sent them. Its
// first run builds that Jaeger, for about ten minutes:
//
//	POOLGATE_JAEGER=1 go test -timeout 40m -run Jaeger ./tracing
func TestTracesInJaeger(t *testing.T) {
	if os.Getenv("POOLGATE_JAEGER") != "1" {
		t.Skip("set POOLGATE_JAEGER=1 to build and start a real Jaeger")
	}
	ctx := context.Background()
	pgserver.ForTest(t)
	leaks := goleak.IgnoreCurrent()
	path, err := jaeger.Build(ctx, os.Stderr)
	must(t, err)
	server, err := jaeger.Start(ctx, path, 0, 0)
	must(t, err)
	for _, d := range drivers {
		t.Run(d.name, func(t *testing.T) {
			exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(server.OTLP()+"/v1/traces"))
			must(t, err)
			f := newFixture(t, d, pgserver.ForTest(t).CreateDatabase(t), acceptanceGate)
			f.traces.RegisterSpanProcessor(sdktrace.NewBatchSpanProcessor(exporter))
			f.jaeger = server
			acceptance(t, f)
			f.nothingHeld()
			must(t, f.Close())
			must(t, f.traces.Shutdown(ctx))
		})
	}
	must(t, server.Close())
	goleak.VerifyNone(t, leaks)
}

// service names the traces of the tests in Jaeger.
var service = resource.NewSchemaless(semconv.ServiceName("poolgate-test"))

// read returns a trace as Jaeger has it, if there is one, and else as the SDK has.
func (f *fixture) read(trace string) view {
	f.t.Helper()
	v := f.view().trace(trace)
	if f.jaeger == nil {
		return v
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	must(f.t, f.traces.ForceFlush(ctx))
	found, err := f.jaeger.Trace(ctx, trace, len(v))
	must(f.t, err)
	if len(found.Spans) != len(v) {
		f.t.Errorf("Jaeger has %d spans, there were %d", len(found.Spans), len(v))
	}
	f.t.Logf("%s\n%s", found.ID, found)
	var read view
	for _, s := range found.Spans {
		kind, _ := s.Tags["span.kind"].(string)
		failed, _ := s.Tags["error"].(bool)
		read = append(read, seen{Trace: found.ID, ID: s.ID, Parent: s.Parent, Name: s.Name, Kind: kind,
			Start: s.Start, Duration: s.Duration, Attributes: s.Tags, Links: s.Links, Failed: failed, Events: s.Events})
	}
	return read
}

var acceptanceGate = gate.Config{Limit: 2, MaxWaiting: 1, OutOfBand: gate.NoOutOfBand,
	Classes: []gate.Class{{Name: "web", Priority: 1}}}

// acceptance does what an on-call engineer has to tell apart, and reads it.
func acceptance(t *testing.T, f *fixture) {
	ctx := tracing.Operations(gate.WithClass(context.Background(), "web"), f.traces)
	f.exec(ctx, "CREATE TABLE t (id int PRIMARY KEY)")
	in := func(name string, work func(ctx context.Context)) view {
		ctx, span := f.tracer.Start(ctx, name)
		work(ctx)
		span.End()
		return f.read(span.SpanContext().TraceID().String())
	}

	t.Run("a session that waits, works, idles and commits", func(t *testing.T) {
		v := in("request", func(ctx context.Context) {
			one, two := f.hold(), f.hold()
			released := make(chan struct{})
			go func() {
				defer close(released)
				f.queued(1)
				time.Sleep(20 * time.Millisecond)
				must(t, one.Close())
			}()
			must(t, session.Run(ctx, func(ctx context.Context) error {
				db := session.DB(ctx, f.DB.DB)
				if _, err := db.ExecContext(ctx, "INSERT INTO t VALUES ($1)", 1); err != nil {
					return err
				}
				time.Sleep(20 * time.Millisecond) // an HTTP call, say
				_, err := db.ExecContext(ctx, "SELECT pg_sleep(0.02)")
				return err
			}))
			<-released
			must(t, two.Close())
		})
		request, unit := v.one(t, "request"), v.one(t, "poolgate.session")
		wait, lease := v.one(t, "poolgate.wait"), v.one(t, "poolgate.lease")
		begin, commit, statements := v.one(t, "sql.conn.begin_tx"), v.one(t, "sql.tx.commit"), v.all("sql.conn.exec")
		if len(statements) != 2 {
			t.Fatalf("%d statements, want 2", len(statements))
		}
		if unit.Parent != request.ID {
			t.Error("the unit is not the request's child")
		}
		for _, s := range []seen{wait, lease, begin, statements[0], statements[1], commit} {
			if s.Parent != unit.ID {
				t.Errorf("%s is not the unit's child", s.Name)
			}
			s.want(t, map[string]any{"poolgate.class": "web", "db.system.name": "postgresql"})
		}
		adds(t, request, unit)
		adds(t, unit, wait, lease)
		adds(t, lease, begin, statements[0], statements[1], commit)
		unit.want(t, map[string]any{"poolgate.session.committed": true})
		wait.want(t, map[string]any{"poolgate.gate.limit": int64(2), "poolgate.gate.in_flight": int64(2), "poolgate.gate.waiting": int64(0)})
		const pause = 20 * time.Millisecond
		if wait.Duration < pause {
			t.Errorf("the wait is %v, want %v at least", wait.Duration, pause)
		}
		if gap := statements[1].Start.Sub(statements[0].end()); gap < pause-time.Millisecond {
			t.Errorf("between the statements there are %v, want %v", gap, pause)
		}
		if lease.seconds(t, "poolgate.lease.between_calls") < pause {
			t.Error("the lease does not tell of the pause")
		}
		if statements[1].Duration < pause-time.Millisecond {
			t.Errorf("the server's work is %v, want %v at least", statements[1].Duration, pause)
		}
		if begin.seconds(t, "poolgate.waited") < pause {
			t.Error("BEGIN does not tell of the wait")
		}
	})

	t.Run("a gather of three through two permits, on one snapshot", func(t *testing.T) {
		const nap = 20 * time.Millisecond
		v := in("request", func(ctx context.Context) {
			must(t, gather.Run(ctx, f.DB, gather.Options{Consistency: gather.Snapshot},
				gather.Discard("SELECT pg_sleep(0.02)"), gather.Discard("SELECT pg_sleep(0.02)"), gather.Discard("SELECT pg_sleep(0.02)")))
		})
		all, leases, queries := v.one(t, "poolgate.gather"), v.all("poolgate.lease"), v.all("sql.conn.query")
		if all.Parent != v.one(t, "request").ID || all.Failed {
			t.Errorf("the gather is %+v", all)
		}
		all.want(t, map[string]any{"poolgate.gather.consistency": "snapshot", "poolgate.gather.statements": int64(3)})
		var naps view
		for _, q := range queries {
			if strings.Contains(fmt.Sprint(q.Attributes["db.query.text"]), "pg_sleep") {
				naps = append(naps, q)
			}
		}
		if len(naps) != 3 || len(leases) == 0 {
			t.Fatalf("%d statements in %d leases: %v", len(naps), len(leases), v.names())
		}
		for _, s := range slices.Concat(leases, naps) {
			if s.Parent != all.ID {
				t.Errorf("%s is not the gather's child", s.Name)
			}
			within(t, all, s)
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
		one, two := f.hold(), f.hold()
		gone, leave := context.WithCancel(ctx)
		waiting := make(chan struct{})
		go func() {
			defer close(waiting)
			f.ExecContext(gone, "SELECT 1")
		}()
		f.queued(1)
		v := in("request", func(ctx context.Context) {
			_, err := f.ExecContext(ctx, "SELECT 1")
			is(t, err, gate.ErrQueueFull)
		})
		leave()
		<-waiting
		must(t, one.Close())
		must(t, two.Close())
		refused := v.one(t, "poolgate.wait")
		if refused.Parent != v.one(t, "request").ID || !refused.Failed || len(v) != 2 {
			t.Errorf("the refusal is %+v, of %v", refused, v.names())
		}
		refused.want(t, map[string]any{"poolgate.class": "web", "error.type": "queue_full",
			"poolgate.gate.limit": int64(2), "poolgate.gate.in_flight": int64(2), "poolgate.gate.waiting": int64(1)})
	})

	t.Run("a deadlock", func(t *testing.T) {
		v := in("request", func(ctx context.Context) {
			first, err := f.BeginTx(ctx, nil)
			must(t, err)
			second, err := f.BeginTx(ctx, nil)
			must(t, err)
			_, err = f.ExecContext(ctx, "SELECT 1")
			is(t, err, gate.ErrDeadlock)
			must(t, second.Rollback())
			must(t, first.Rollback())
		})
		wait, leases := v.one(t, "poolgate.wait"), v.all("poolgate.lease")
		if len(leases) != 2 || !wait.Failed {
			t.Fatalf("the spans are %v", v.names())
		}
		wait.want(t, map[string]any{"error.type": "deadlock", "poolgate.gate.in_flight": int64(2)})
		for _, lease := range leases {
			within(t, lease, wait)
		}
	})
}

// within checks that part is not longer than whole at either end.
func within(t *testing.T, whole, part seen) {
	t.Helper()
	if part.Start.Before(whole.Start.Add(-time.Millisecond)) || part.end().After(whole.end().Add(time.Millisecond)) {
		t.Errorf("%s, from %v to %v, is not within %s, from %v to %v", part.Name, part.Start, part.end(), whole.Name, whole.Start, whole.end())
	}
}
