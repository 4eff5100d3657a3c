package tracing_test

import (
	"context"
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/poolgate/poolgate/internal/testing/traced"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/tracing"
)

// TestUnsampled does the same under a span that is sampled and under one that is
// not, which otelsql does not get to see: the answers and what is measured must
// be equal.
func TestUnsampled(t *testing.T) {
	onBoth(t, gate.Config{Limit: 2}, func(t *testing.T, f *fixture) {
		never := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())).Tracer("caller")
		var prepared atomic.Int64
		do := func(t *testing.T, f *fixture, ctx context.Context) string {
			t.Helper()
			var answers []string
			note := func(format string, args ...any) { answers = append(answers, fmt.Sprintf(format, args...)) }
			failed := func(_ sql.Result, err error) { note("%v", err) }

			must(t, f.PingContext(ctx))
			res, err := f.ExecContext(ctx, "CREATE TEMPORARY TABLE seen AS SELECT generate_series(1, $1::int)", 3)
			must(t, err)
			n, err := res.RowsAffected()
			note("%d rows, %v", n, err)
			failed(f.ExecContext(ctx, "SELECT 1/0"))
			failed(f.ExecContext(ctx, "SELECT $1::int", "one"))

			rows, err := f.QueryContext(ctx, "SELECT i, i::varchar(9), i::numeric(5, 2) FROM generate_series(1, $1::int) AS i", 3)
			must(t, err)
			types, err := rows.ColumnTypes()
			must(t, err)
			for _, c := range types {
				length, hasLength := c.Length()
				precision, scale, isDecimal := c.DecimalSize()
				nullable, known := c.Nullable()
				note("%s %s %v", c.Name(), c.DatabaseTypeName(), c.ScanType())
				note("%d %v %d %d %v %v %v", length, hasLength, precision, scale, isDecimal, nullable, known)
			}
			for rows.Next() {
				var i int
				var s, n string
				must(t, rows.Scan(&i, &s, &n))
				note("%d %s %s", i, s, n)
			}
			must(t, rows.Err())

			for _, end := range []func(*sql.Tx) error{(*sql.Tx).Commit, (*sql.Tx).Rollback} {
				tx, err := f.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable, ReadOnly: true})
				must(t, err)
				var level string
				must(t, tx.QueryRowContext(ctx, "SHOW transaction_isolation").Scan(&level))
				note("%s", level)
				must(t, end(tx))
			}
			// Each time another text: of the same one it would be prepared already.
			stmt, err := f.PrepareContext(ctx, fmt.Sprintf("SELECT $1::int + 1 -- %d", prepared.Add(1)))
			must(t, err)
			for i := range 3 {
				must(t, stmt.QueryRowContext(ctx, i).Scan(&n))
				note("%d", n)
			}
			must(t, stmt.Close())

			c, err := f.Conn(ctx)
			must(t, err)
			must(t, c.Raw(func(any) error { return nil }))
			must(t, c.Close())
			return strings.Join(answers, "\n")
		}

		var sampled, unsampled string
		before := f.operations()
		f.In("request", func(ctx context.Context) { sampled = do(t, f, ctx) })
		first := f.operations()
		spans := len(f.View())

		f.MustExec(context.Background(), "DROP TABLE IF EXISTS seen") // of the one connection that is used
		between := f.operations()
		ctx, span := never.Start(context.Background(), "request")
		unsampled = do(t, f, ctx)
		span.End()
		second := f.operations()

		if sampled != unsampled {
			t.Errorf("sampled:\n%s\nunsampled:\n%s", sampled, unsampled)
		}
		if a, b := difference(before, first), difference(between, second); !maps.Equal(a, b) {
			t.Errorf("measured where sampled:\n%s\nwhere not:\n%s", lines(a), lines(b))
		}
		if n := len(f.View()); n != spans+2 { // of the statement in between
			t.Errorf("%d spans where nothing is sampled", n-spans-2)
		}

		t.Run("without spans, the same is measured", func(t *testing.T) {
			reader := metric.NewManualReader()
			db, err := f.Driver.Open(f.DSN, poolgate.Config{Gate: gate.Config{Limit: 2}}, tracing.WithMeterProvider(metric.NewMeterProvider(metric.WithReader(reader))))
			must(t, err)
			defer db.Close()
			only := &fixture{&traced.Fixture{T: t, DB: db, Reader: reader}}
			if got := do(t, only, context.Background()); got != sampled {
				t.Errorf("sampled:\n%s\nnot traced:\n%s", sampled, got)
			}
			if a, b := difference(before, first), only.operations(); !maps.Equal(a, b) {
				t.Errorf("measured where sampled:\n%s\nwhere not traced:\n%s", lines(a), lines(b))
			}
		})
	})
}

// operations returns how often each operation was measured, by its attributes.
func (f *fixture) operations() map[string]uint64 {
	all := map[string]uint64{}
	data, _ := f.Metrics()["db.client.operation.duration"].Data.(metricdata.Histogram[float64])
	for _, p := range data.DataPoints {
		var attributes []string
		for _, a := range p.Attributes.ToSlice() {
			attributes = append(attributes, fmt.Sprint(a.Key, "=", a.Value.AsInterface()))
		}
		all[strings.Join(attributes, " ")] = p.Count
	}
	return all
}

func difference(before, after map[string]uint64) map[string]uint64 {
	d := map[string]uint64{}
	for k, n := range after {
		if n > before[k] {
			d[k] = n - before[k]
		}
	}
	return d
}

func lines(m map[string]uint64) string {
	var b strings.Builder
	for _, k := range slices.Sorted(maps.Keys(m)) {
		fmt.Fprintf(&b, "%d %s\n", m[k], k)
	}
	return b.String()
}
