package tracing_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/poolgate/poolgate/adapters/pgxpoolgate"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/tracing"
)

// What a native pool of pgx does has the spans of waits and leases. The spans of pgx's
// own tracer are their siblings.
func TestNativePool(t *testing.T) {
	config, err := pgxpool.ParseConfig(pgserver.ForTest(t).CreateDatabase(t))
	must(t, err)
	statements := new(statementTracer)
	config.ConnConfig.Tracer = statements
	pool, err := pgxpoolgate.OpenConfig(config, pgxpoolgate.Config{Gate: gate.Config{Limit: 1}})
	must(t, err)
	defer pool.Close()
	spans, reader := tracetest.NewSpanRecorder(), sdkmetric.NewManualReader()
	traces := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))
	stop, err := tracing.Instrument(pool.DB(), tracing.WithTracerProvider(traces),
		tracing.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))))
	must(t, err)
	defer stop()

	permit, err := pool.Gate().Acquire(t.Context())
	must(t, err)
	ctx, request := traces.Tracer("caller").Start(t.Context(), "request")
	done := make(chan error, 1)
	go func() {
		_, err := pool.Exec(ctx, "select 1")
		done <- err
	}()
	eventually(t, "it waits", func() bool { return pool.Gate().Stats().Waiting == 1 })
	permit.Release()
	must(t, <-done)
	request.End()

	parents := map[string]trace.SpanID{}
	for _, s := range spans.Ended() {
		parents[s.Name()] = s.Parent().SpanID()
	}
	for _, name := range []string{"poolgate.wait", "poolgate.lease"} {
		if parents[name] != request.SpanContext().SpanID() {
			t.Errorf("%s is a child of %v; there are %v", name, parents[name], parents)
		}
	}
	if got := statements.last.SpanID(); got != request.SpanContext().SpanID() {
		t.Errorf("pgx's tracer sees the span %v", got)
	}

	var data metricdata.ResourceMetrics
	must(t, reader.Collect(t.Context(), &data))
	names := map[string]bool{}
	for _, scope := range data.ScopeMetrics {
		for _, m := range scope.Metrics {
			names[m.Name] = true
		}
	}
	for _, want := range []string{"poolgate.gate.wait_time", "db.client.connection.use_time", "db.client.connection.count"} {
		if !names[want] {
			t.Errorf("no %s among %v", want, names)
		}
	}
}

// A statementTracer keeps the span under which the last statement was executed.
type statementTracer struct{ last trace.SpanContext }

func (s *statementTracer) TraceQueryStart(ctx context.Context, _ *pgx.Conn, _ pgx.TraceQueryStartData) context.Context {
	s.last = trace.SpanContextFromContext(ctx)
	return ctx
}

func (*statementTracer) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}
