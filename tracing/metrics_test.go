package tracing_test

import (
	"context"
	"encoding/hex"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/poolgate/poolgate/poolgate/gate"
)

var (
	class  = attribute.Key("poolgate.class")
	reason = attribute.Key("error.type")
	state  = attribute.Key("db.client.connection.state")
)

func TestMetrics(t *testing.T) {
	config := gate.Config{Limit: 2, OutOfBand: 1, MaxWaiting: 1, LeakAfter: 10 * time.Millisecond,
		Classes: []gate.Class{{Name: "web", MaxWait: time.Millisecond}}}
	onBoth(t, config, func(t *testing.T, f *fixture) {
		is := func(name string, want float64, with ...attribute.KeyValue) {
			t.Helper()
			m, ok := f.Metrics()[name]
			if !ok {
				t.Fatalf("there is no %s", name)
			}
			if got := number(m, with...); got != want {
				t.Errorf("%s%v is %v, want %v", name, with, got, want)
			}
		}
		first, second := f.Hold(), f.Hold()

		t.Run("the state of the pool and of the gate is shown", func(t *testing.T) {
			is("db.client.connection.count", 2, state.String("used"))
			is("db.client.connection.count", 0, state.String("idle"))
			is("db.client.connection.max", 3)
			is("poolgate.gate.limit", 2)
			is("poolgate.gate.in_flight", 2, class.String("default"))
			is("poolgate.gate.in_flight", 0, class.String("web"))
			must(t, f.SetLimit(3))
			is("poolgate.gate.limit", 3)
			must(t, f.SetLimit(2))
		})

		t.Run("who waits is shown while it waits", func(t *testing.T) {
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan struct{})
			go func() {
				defer close(done)
				f.ExecContext(ctx, "SELECT 1")
			}()
			f.Queued(1)
			is("db.client.connection.pending_requests", 1)
			is("poolgate.gate.waiting", 1, class.String("default"))
			if number(f.Metrics()["poolgate.gate.oldest_wait"], class.String("default")) <= 0 {
				t.Error("the oldest wait is 0")
			}
			if _, err := f.ExecContext(ctx, "SELECT 1"); err == nil {
				t.Error("no error")
			}
			cancel()
			<-done
			is("poolgate.gate.refusals", 1, class.String("default"), reason.String("queue_full"))
			is("poolgate.gate.wait_time", 1, reason.String("queue_full"))
			is("poolgate.gate.wait_time", 1, reason.String("context.Canceled"))
			is("db.client.connection.pending_requests", 0)
		})

		t.Run("a wait that took too long is a timeout", func(t *testing.T) {
			if _, err := f.ExecContext(gate.WithClass(context.Background(), "web"), "SELECT 1"); err == nil {
				t.Error("no error")
			}
			is("poolgate.gate.refusals", 1, class.String("web"), reason.String("wait_timeout"))
			is("db.client.connection.timeouts", 1)
		})

		t.Run("a leak is counted", func(t *testing.T) {
			eventually(t, "both are leaks", func() bool {
				return number(f.Metrics()["poolgate.gate.leaks"], class.String("default")) == 2
			})
		})

		must(t, first.Close())
		must(t, second.Close())

		t.Run("what was held is measured when it is given back", func(t *testing.T) {
			is("db.client.connection.create_time", 2)
			is("db.client.connection.wait_time", 2)
			is("db.client.connection.use_time", 2)
			is("poolgate.lease.between_calls", 2, class.String("default"))
			is("poolgate.gate.hold_time", 2, class.String("default"))
			is("db.client.connection.count", 0, state.String("used"))
			is("db.client.connection.count", 2, state.String("idle"))
		})

		t.Run("statements are operations, and reading rows and connecting are none", func(t *testing.T) {
			rows, err := f.QueryContext(context.Background(), "SELECT 1")
			must(t, err)
			must(t, rows.Close())
			f.ExecContext(context.Background(), "SELECT 1/0")
			const name = "db.client.operation.duration"
			is(name, 2)
			is(name, 1, attribute.String("db.operation.name", "sql.conn.query"), attribute.String("db.system.name", "postgresql"))
			is(name, 1, reason.String("22012"), attribute.String("db.response.status_code", "22012"))
		})

		t.Run("buckets resolve 10 µs to 30 s", func(t *testing.T) {
			for _, name := range []string{"db.client.connection.wait_time", "db.client.connection.use_time",
				"db.client.connection.create_time", "db.client.operation.duration", "poolgate.gate.wait_time",
				"poolgate.gate.hold_time", "poolgate.lease.between_calls"} {
				bounds := f.Metrics()[name].Data.(metricdata.Histogram[float64]).DataPoints[0].Bounds
				if bounds[0] != 10e-6 || bounds[len(bounds)-1] != 30 || len(bounds) < 20 {
					t.Errorf("%s has the buckets %v", name, bounds)
				}
			}
		})

		t.Run("a slow bucket leads to its trace", func(t *testing.T) {
			v := f.In("request", func(ctx context.Context) { f.MustExec(ctx, "SELECT 1") })
			trace := v.One(t, "request").Trace
			for _, name := range []string{"db.client.connection.wait_time", "db.client.connection.use_time",
				"db.client.operation.duration", "poolgate.gate.wait_time", "poolgate.lease.between_calls"} {
				if !slices.Contains(exemplars(f.Metrics()[name]), trace) {
					t.Errorf("%s has no exemplar of the trace", name)
				}
			}
		})

		t.Run("a closed DB is measured no more", func(t *testing.T) {
			must(t, f.Close())
			if m, ok := f.Metrics()["poolgate.gate.limit"]; ok && number(m) > 0 {
				t.Error("the limit is shown")
			}
		})
	})
}

// exemplars returns the traces that a histogram leads to.
func exemplars(m metricdata.Metrics) []string {
	var traces []string
	for _, p := range m.Data.(metricdata.Histogram[float64]).DataPoints {
		for _, e := range p.Exemplars {
			traces = append(traces, hex.EncodeToString(e.TraceID))
		}
	}
	return traces
}
