package tracing_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gather"
)

func TestPipeline(t *testing.T) {
	onBoth(t, gate.Config{Limit: 2}, func(t *testing.T, f *fixture) {
		run := func(ctx context.Context, zero string) error {
			return gather.Run(ctx, f.DB, gather.Options{Consistency: gather.Pipelined},
				gather.Discard("SELECT 'secret', $1::int", 1), gather.Discard("SELECT 2"), gather.Discard("SELECT 1 / (SELECT "+zero+")"))
		}
		if err := run(t.Context(), "1"); errors.Is(err, poolgate.ErrNoPipeline) {
			return // lib/pq
		} else {
			must(t, err)
		}
		one := func(zero string) (seen, error) {
			var err error
			view := f.In("request", func(ctx context.Context) { err = run(ctx, zero) })
			for _, name := range view.Names() {
				if slices.Contains([]string{"sql.conn.query", "sql.conn.exec", "sql.rows"}, name) && zero == "1" {
					t.Errorf("there is a span %s", name)
				}
			}
			return view.One(t, "sql.conn.batch"), err
		}
		span, err := one("1")
		must(t, err)
		span.Want(t, map[string]any{
			"db.operation.batch.size": int64(3),
			"db.query.text":           "SELECT ?, $1::int; SELECT ?; SELECT ? / (SELECT ?)",
			"error.type":              nil,
		})
		if span, err = one("0"); err == nil {
			t.Error("no error")
		}
		span.Want(t, map[string]any{"error.type": "22012", "db.response.status_code": "22012"})

		// A caller that is not sampled is measured, and has no spans.
		without, end := sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())).Tracer("caller").Start(t.Context(), "request")
		defer end.End()
		must(t, run(without, "1"))
		n := number(f.Metrics()["db.client.operation.duration"])
		if n == 0 {
			t.Error("nothing was measured")
		}
	})
}
