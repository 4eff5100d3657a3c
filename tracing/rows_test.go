package tracing_test

import (
	"context"
	"database/sql"
	"fmt"
	"reflect"
	"testing"

	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/adapters/pqgate"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/internal/testing/traced"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/tracing"
)

// TestRows scans everything into everything, and wants every way to instrument
// a pool to give the answers of the bare pool. In Go 1.27 pgx scans columns
// itself, by an interface that a wrapper of its rows can hide.
func TestRows(t *testing.T) {
	values := []string{
		"NULL::text", "'7'::text", "7::int", "1.50::numeric", "1.5::float8", "true", `'\x00ff'::bytea`,
		"'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", `'{"a": 1}'::jsonb`, `'["a"]'::json`,
		"'2026-03-01 12:00:00.123456Z'::timestamptz", "'2026-03-01'::date", "'1 day'::interval", "'10.1.2.3'::inet",
		"NULL::text[]", "'{}'::text[]", "'{a,NULL}'::text[]", "'{a,b}'::text[]", "'{1,2}'::int[]", "'{{1,2},{3,4}}'::int[]",
		"int4range(1, 5)", "point(1, 2)", "ROW(1, 'a')",
	}
	into := []func() any{
		func() any { return new(any) }, func() any { return new(string) }, func() any { return new(*string) },
		func() any { return new(int) }, func() any { return new(float64) }, func() any { return new(bool) },
		func() any { return new([]byte) }, func() any { return new(sql.NullString) }, func() any { return new(sql.Null[int64]) },
		func() any { return new(sql.NullTime) },
		func() any { return new([]string) }, func() any { return new(*[]string) }, func() any { return new([]*string) },
		func() any { return new([]int) }, func() any { return new([][]int) },
		func() any { return new(map[string]any) }, func() any { return new(sql.Null[[]string]) },
	}
	server := pgserver.ForTest(t)
	for _, d := range drivers {
		t.Run(d.Name, func(t *testing.T) {
			dsn := server.CreateDatabase(t)
			want := scans(t, t.Context(), bare(t, d, dsn), values, into)

			traces := sdktrace.NewTracerProvider()
			ctx, span := traces.Tracer("caller").Start(t.Context(), "request")
			defer span.End()
			without, never := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())).Tracer("caller").Start(t.Context(), "request")
			defer never.End()
			metrics := tracing.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(sdkmetric.NewManualReader())))
			for _, test := range []struct {
				name string
				ctx  context.Context
				opts []tracing.Option
			}{
				{"sampled", ctx, []tracing.Option{tracing.WithTracerProvider(traces)}},
				{"not sampled", without, []tracing.Option{tracing.WithTracerProvider(traces)}},
				{"without a span", t.Context(), []tracing.Option{tracing.WithTracerProvider(traces), metrics}},
				{"metrics only", t.Context(), []tracing.Option{metrics}},
			} {
				t.Run(test.name, func(t *testing.T) {
					db, err := d.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 2}}, test.opts...)
					must(t, err)
					defer db.Close()
					got := scans(t, test.ctx, db.DB, values, into)
					for i := range want {
						if got[i] != want[i] {
							t.Errorf("got  %s\nwant %s", got[i], want[i])
						}
					}
				})
			}
		})
	}
}

// bare returns a pool of the driver alone.
func bare(t *testing.T, d traced.Driver, dsn string) *sql.DB {
	t.Helper()
	var db *sql.DB
	if d.Name == "pgx" {
		c, err := pgxgate.NewConnector(dsn)
		must(t, err)
		db = sql.OpenDB(c)
	} else {
		c, err := pqgate.NewConnector(dsn)
		must(t, err)
		db = sql.OpenDB(c)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

// scans returns what each value is in each of into, or why it is not, where it
// is queried by itself and by a prepared statement.
func scans(t *testing.T, ctx context.Context, db *sql.DB, values []string, into []func() any) []string {
	t.Helper()
	var all []string
	for _, value := range values {
		stmt, err := db.PrepareContext(ctx, "SELECT "+value+" AS v")
		must(t, err)
		direct := func() (*sql.Rows, error) { return db.QueryContext(ctx, "SELECT "+value+" AS v") }
		prepared := func() (*sql.Rows, error) { return stmt.QueryContext(ctx) }
		for _, query := range []func() (*sql.Rows, error){direct, prepared} {
			for _, dest := range into {
				rows, err := query()
				must(t, err)
				rows.Next()
				v := dest()
				err = rows.Scan(v)
				must(t, rows.Close())
				all = append(all, fmt.Sprintf("%s into %T: %s, %v", value, v, shown(reflect.ValueOf(v)), err))
			}
		}
		must(t, stmt.Close())
	}
	return all
}

// shown returns v with the values behind its pointers.
func shown(v reflect.Value) string {
	switch {
	case v.Kind() == reflect.Pointer && !v.IsNil():
		return "&" + shown(v.Elem())
	case v.Kind() == reflect.Slice && v.Type().Elem().Kind() == reflect.Pointer:
		s := ""
		for i := range v.Len() {
			s += shown(v.Index(i)) + " "
		}
		return s
	}
	return fmt.Sprintf("%#v", v)
}
