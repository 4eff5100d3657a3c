package tracing_test

import (
	"context"
	"database/sql"
	sqldriver "database/sql/driver"
	"fmt"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/tracing"
)

// BenchmarkStatement is what tracing costs a statement, through a driver that
// does nothing: not at all traced, with spans of which one in a hundred is
// sampled, and with metrics.
func BenchmarkStatement(b *testing.B) {
	traces := sdktrace.NewTracerProvider(sdktrace.WithBatcher(tracetest.NewNoopExporter()),
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.01))))
	defer traces.Shutdown(context.Background())
	withTraces := tracing.WithTracerProvider(traces)
	withMetrics := tracing.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())))
	config := poolgate.Config{Gate: gate.Config{Limit: 1}}
	for _, c := range []struct {
		name string
		opts []tracing.Option
	}{
		{"off", nil},
		{"spans", []tracing.Option{withTraces}},
		{"metrics", []tracing.Option{withMetrics}},
		{"spans+metrics", []tracing.Option{withTraces, withMetrics}},
	} {
		b.Run(fmt.Sprintf("tracing=%s", c.name), func(b *testing.B) {
			open := func() (*poolgate.DB, error) { return tracing.Open(idleConnector, "", config, c.opts...) }
			if c.opts == nil {
				open = func() (*poolgate.DB, error) { return poolgate.Wrap(sql.OpenDB(idle{}), config) }
			}
			db, err := open()
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			ctx := context.Background()
			tracer := traces.Tracer("caller")
			b.ReportAllocs()
			for b.Loop() {
				ctx, end := ctx, func() {}
				if c.opts != nil {
					inner, span := tracer.Start(ctx, "request")
					ctx, end = inner, func() { span.End() }
				}
				if _, err := db.ExecContext(ctx, "SELECT 1"); err != nil {
					b.Fatal(err)
				}
				end()
			}
		})
	}
}

// idle is a driver that does nothing, at once.
type idle struct{}

func idleConnector(string) (idle, error) { return idle{}, nil }

func (idle) Connect(context.Context) (sqldriver.Conn, error) { return idle{}, nil }
func (idle) Driver() sqldriver.Driver                        { return idle{} }
func (idle) Open(string) (sqldriver.Conn, error)             { return idle{}, nil }
func (idle) Server() (string, int)                           { return "db.example", 5432 }
func (idle) Database() string                                { return "orders" }
func (idle) Prepare(string) (sqldriver.Stmt, error)          { return nil, sqldriver.ErrSkip }
func (idle) Close() error                                    { return nil }
func (idle) Begin() (sqldriver.Tx, error)                    { return nil, sqldriver.ErrSkip }
func (idle) ResetSession(context.Context) error              { return nil }
func (idle) IsValid() bool                                   { return true }
func (idle) ExecContext(context.Context, string, []sqldriver.NamedValue) (sqldriver.Result, error) {
	return sqldriver.ResultNoRows, nil
}
