package main

import (
	"context"
	"net/http"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	otelprometheus "go.opentelemetry.io/otel/exporters/prometheus"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/poolgate/poolgate/internal/testing/jaeger"
)

const serviceName = "orders"

// telemetry is where the service's traces and metrics go.
type telemetry struct {
	traces      *sdktrace.TracerProvider
	metrics     *sdkmetric.MeterProvider
	metricsPage http.Handler
}

// endpoint is where traces are sent to, as every OpenTelemetry SDK has it.
func endpoint() string {
	for _, name := range []string{"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"} {
		if value := os.Getenv(name); value != "" {
			return value
		}
	}
	return "http://localhost:4318"
}

// newTelemetry sends traces to the Jaeger that is given, or to endpoint. Which
// of them are kept OTEL_TRACES_SAMPLER says; all, if it is not set.
func newTelemetry(ctx context.Context, to *jaeger.Server) (*telemetry, error) {
	var opts []otlptracehttp.Option
	switch {
	case to != nil:
		opts = append(opts, otlptracehttp.WithEndpointURL(to.OTLP()+"/v1/traces"))
	case endpoint() == "http://localhost:4318": // otherwise the exporter reads it itself
		opts = append(opts, otlptracehttp.WithInsecure())
	}
	spans, err := otlptracehttp.New(ctx, opts...)
	if err != nil {
		return nil, err
	}
	registry := prometheus.NewRegistry()
	reader, err := otelprometheus.New(otelprometheus.WithRegisterer(registry), otelprometheus.WithoutScopeInfo())
	if err != nil {
		return nil, err
	}
	self := resource.NewSchemaless(semconv.ServiceName(serviceName))
	return &telemetry{
		traces:  sdktrace.NewTracerProvider(sdktrace.WithBatcher(spans, sdktrace.WithMaxQueueSize(1<<16)), sdktrace.WithResource(self)),
		metrics: sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader), sdkmetric.WithResource(self)),
		// Exemplars are only in the OpenMetrics format.
		metricsPage: promhttp.HandlerFor(registry, promhttp.HandlerOpts{EnableOpenMetrics: true}),
	}, nil
}

// flush sends what there is, or gives up: nobody may be there to take it.
func (t *telemetry) flush() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	t.traces.ForceFlush(ctx)
	time.Sleep(500 * time.Millisecond) // for Jaeger to store it
}

func (t *telemetry) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	t.traces.Shutdown(ctx)
	t.metrics.Shutdown(ctx)
}
