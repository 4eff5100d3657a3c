package bench

import (
	"context"
	"database/sql"
	"fmt"
	"testing"
	"time"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/adapters/pqgate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/tracing"
)

// BenchmarkTracing compares a gated pool that is traced, one operation in a
// hundred sampled, with one that is not, in turns. Each operation of the traced
// one is in a span of the caller's, as a request would be; what that costs by
// itself is what other=caller says. ratio is the median of
// the turns' throughputs; extra-cpu-µs/op is what an operation costs this process
// more, which is less disturbed by what else the machine does.
func BenchmarkTracing(b *testing.B) {
	const (
		limit  = 8
		rounds = 6 // pairs of pools
		turns  = 8 // of four measurements each: off, other, other, off
		turn   = 25 * time.Millisecond
	)
	bench := openBenchmark(b, Config{Ops: 1, Limit: limit})
	for _, d := range SQLDrivers() {
		for _, s := range []struct {
			name string
			do   func(context.Context, *sql.DB) error
		}{
			{"select1", selectOne},
			{"faithful-read", faithfulRead},
			{"faithful-write", func(ctx context.Context, db *sql.DB) error { return faithfulWrite(ctx, db, Op{Kind: Write}) }},
		} {
			for _, other := range []string{"off", "caller", "spans", "spans+metrics"} {
				b.Run(fmt.Sprintf("driver=%s/statement=%s/limit=%d/callers=%d/other=%s", d, s.name, limit, limit, other), func(b *testing.B) {
					fresh(b, bench, Idiomatic)
					fill(b, bench, halfway)
					dsn, err := d.connectionString(bench.config.DSN, DefaultSchema, Faithful)
					if err != nil {
						b.Fatal(err)
					}
					traces := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(0.01))),
						sdktrace.WithBatcher(tracetest.NewNoopExporter()))
					defer traces.Shutdown(context.Background())
					var opts []tracing.Option
					traced := s.do
					switch other {
					case "spans+metrics":
						metrics := sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader()))
						opts = append(opts, tracing.WithMeterProvider(metrics))
						fallthrough
					case "spans":
						opts = append(opts, tracing.WithTracerProvider(traces))
						fallthrough
					case "caller":
						traced = inSpan(traces.Tracer("caller"), s.do)
					}
					var ratios []float64
					var costOff, costOn cost
					for b.Loop() {
						for round := range rounds {
							var off, on *poolgate.DB
							if round%2 == 0 {
								off = openTraced(b, d, dsn, limit, nil)
							}
							on = openTraced(b, d, dsn, limit, opts)
							if off == nil {
								off = openTraced(b, d, dsn, limit, nil)
							}
							for range turns {
								x := costOff.throughput(b, off.DB, limit, turn, s.do)
								y := costOn.throughput(b, on.DB, limit, turn, traced)
								y += costOn.throughput(b, on.DB, limit, turn, traced)
								x += costOff.throughput(b, off.DB, limit, turn, s.do)
								ratios = append(ratios, y/x)
							}
							off.Close()
							on.Close()
						}
					}
					b.ReportMetric(0, "ns/op")
					b.ReportMetric(median(ratios), "ratio")
					b.ReportMetric(costOn.each()-costOff.each(), "extra-cpu-µs/op")
					b.ReportMetric(costOff.each(), "cpu-µs/op")
				})
			}
		}
	}
}

// cost is the time of this process's CPU that operations have taken.
type cost struct {
	cpu time.Duration
	ops float64
}

func (c *cost) throughput(b *testing.B, db *sql.DB, callers int, during time.Duration, do func(context.Context, *sql.DB) error) float64 {
	before, _ := CPUTime()
	start := time.Now()
	rate := throughput(b, db, callers, during, do)
	c.ops += rate * time.Since(start).Seconds()
	after, _ := CPUTime()
	c.cpu += after - before
	return rate
}

// each returns the microseconds of an operation.
func (c *cost) each() float64 { return float64(c.cpu) / float64(time.Microsecond) / c.ops }

func inSpan(tracer trace.Tracer, do func(context.Context, *sql.DB) error) func(context.Context, *sql.DB) error {
	return func(ctx context.Context, db *sql.DB) error {
		ctx, span := tracer.Start(ctx, "operation")
		defer span.End()
		return do(ctx, db)
	}
}

// openTraced returns a gated pool whose connections are open, traced if there
// are options.
func openTraced(b *testing.B, d Driver, dsn string, limit int, opts []tracing.Option) *poolgate.DB {
	b.Helper()
	config := poolgate.Config{Gate: gate.Config{Limit: limit}}
	var db *poolgate.DB
	var err error
	switch {
	case opts == nil:
		db, err = d.openGated(dsn, config)
	case d == PGX:
		db, err = tracing.Open(pgxgate.NewConnector, dsn, config, opts...)
	default:
		db, err = tracing.Open(pqgate.NewConnector, dsn, config, opts...)
	}
	if err != nil {
		b.Fatal(err)
	}
	throughput(b, db.DB, 4*limit, 50*time.Millisecond, selectOne)
	return db
}
