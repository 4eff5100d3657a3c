package bench

import (
	"context"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/adapters/pqgate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/tracing"
)

// openTraced returns what opens a pool with a gate in front, and traces it.
func (d Driver) openTraced(traces trace.TracerProvider) func(string, poolgate.Config) (*poolgate.DB, error) {
	return func(dsn string, config poolgate.Config) (*poolgate.DB, error) {
		if d == PGX {
			return tracing.Open(pgxgate.NewConnector, dsn, config, tracing.WithTracerProvider(traces))
		}
		return tracing.Open(pqgate.NewConnector, dsn, config, tracing.WithTracerProvider(traces))
	}
}

// traced returns what makes a span of an operation, from its beginning to its
// end: "write pgx semaphore" and the like. It makes none if nobody asked.
func (b *Bench) traced(c Case) func(context.Context, Op) (context.Context, func(error)) {
	if b.config.Traces == nil {
		return func(ctx context.Context, _ Op) (context.Context, func(error)) { return ctx, func(error) {} }
	}
	tracer := b.config.Traces.Tracer("github.com/poolgate/poolgate/bench")
	names := map[Kind]string{}
	for _, kind := range []Kind{Read, Write} {
		names[kind] = kind.String() + " " + string(c.Driver) + " " + string(c.Strategy)
	}
	form := attribute.String("poolbench.form", string(c.Form))
	return func(ctx context.Context, op Op) (context.Context, func(error)) {
		ctx, span := tracer.Start(ctx, names[op.Kind], trace.WithAttributes(form))
		return ctx, func(err error) {
			if err != nil {
				span.SetStatus(codes.Error, failureKind(err))
			}
			span.End()
		}
	}
}
