package main

import (
	"context"
	"fmt"
	"io"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
)

// traces are sent to where --otlp says.
type traces struct {
	provider *sdktrace.TracerProvider
	stderr   io.Writer
}

func sendTraces(ctx context.Context, o options, stderr io.Writer) (*traces, error) {
	exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(o.otlp+"/v1/traces"))
	if err != nil {
		return nil, fmt.Errorf("--otlp: %w", err)
	}
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) { fmt.Fprintf(stderr, "poolbench: --otlp: %v\n", err) }))
	fmt.Fprintf(stderr, "%v of the operations are traced, to %s, service poolbench\n", o.sample, o.otlp)
	return &traces{stderr: stderr, provider: sdktrace.NewTracerProvider(
		sdktrace.WithBatcher(exporter, sdktrace.WithMaxQueueSize(1<<17)), // all operations can end at once
		sdktrace.WithSampler(sdktrace.ParentBased(sdktrace.TraceIDRatioBased(o.sample))),
		sdktrace.WithResource(resource.NewSchemaless(semconv.ServiceName("poolbench"))),
	)}, nil
}

// close sends what is left.
func (t *traces) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if err := t.provider.Shutdown(ctx); err != nil {
		fmt.Fprintf(t.stderr, "poolbench: --otlp: %v\n", err)
	}
}
