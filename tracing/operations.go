package tracing

import (
	"context"
	"log/slog"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/poolgate/poolgate/internal/operation"
)

// Operations returns a context under which each unit of work of package session and
// each gather has a span of provider, with the spans of its statements as children.
// One context serves all requests:
//
//	server.BaseContext = func(net.Listener) context.Context {
//		return tracing.Operations(context.Background(), provider)
//	}
//
// If provider is nil, they have no spans.
func Operations(ctx context.Context, provider trace.TracerProvider) context.Context {
	if provider == nil {
		return operation.With(ctx, nil)
	}
	tracer := provider.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL))
	return operation.With(ctx, func(ctx context.Context, kind string) (context.Context, operation.End) {
		if unsampled(ctx) {
			return ctx, nil
		}
		name := "poolgate." + kind
		ctx, span := tracer.Start(ctx, name)
		return ctx, func(err error, facts ...slog.Attr) {
			if span.IsRecording() {
				for _, fact := range facts {
					span.SetAttributes(toAttribute(name+"."+fact.Key, fact.Value))
				}
				if err != nil {
					fail(span, err)
				}
			}
			span.End()
		}
	})
}

func toAttribute(key string, v slog.Value) attribute.KeyValue {
	switch v.Kind() {
	case slog.KindBool:
		return attribute.Bool(key, v.Bool())
	case slog.KindInt64:
		return attribute.Int64(key, v.Int64())
	case slog.KindDuration:
		return attribute.Float64(key, v.Duration().Seconds())
	}
	return attribute.String(key, v.String())
}
