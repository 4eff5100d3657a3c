package tracing

import (
	"errors"
	"slices"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
)

// scope is the name under which the package's spans and metrics are made.
const scope = "github.com/poolgate/poolgate/tracing"

// An Option configures where spans and metrics go, and what they all carry.
type Option func(*settings)

type settings struct {
	traces     trace.TracerProvider // nil for no spans
	metrics    metric.MeterProvider // nil for no metrics
	pool       string
	server     []attribute.KeyValue // what Open knows of it: on spans, and on operations
	attributes []attribute.KeyValue // on everything
}

// WithTracerProvider makes spans with p, whose sampler decides which are kept.
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(s *settings) { s.traces = p }
}

// WithMeterProvider makes metrics with p.
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(s *settings) { s.metrics = p }
}

// WithGlobalProviders makes spans and metrics with OpenTelemetry's global
// providers, otel.GetTracerProvider and otel.GetMeterProvider.
func WithGlobalProviders() Option {
	return func(s *settings) {
		s.traces = otel.GetTracerProvider()
		s.metrics = otel.GetMeterProvider()
	}
}

// WithPoolName sets db.client.connection.pool.name, which distinguishes the metrics
// of several pools: each must have a name of its own. The default is
// server:port/database for a DB of [Open], and "poolgate" otherwise.
func WithPoolName(name string) Option {
	return func(s *settings) { s.pool = name }
}

// WithAttributes adds attributes to every span and every measurement. They should
// have few different values.
func WithAttributes(attributes ...attribute.KeyValue) Option {
	return func(s *settings) { s.attributes = append(s.attributes, attributes...) }
}

func newSettings(opts []Option) (*settings, error) {
	s := &settings{}
	for _, opt := range opts {
		opt(s)
	}
	if s.traces == nil && s.metrics == nil {
		return nil, errors.New("tracing: there is no provider of spans or metrics: " +
			"use WithTracerProvider, WithMeterProvider or WithGlobalProviders")
	}
	return s, nil
}

func (s *settings) meter() metric.Meter {
	return s.metrics.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
}

// statement returns the attributes of every span and measurement of a call to the
// driver.
func (s *settings) statement() []attribute.KeyValue { return slices.Concat(s.server, s.attributes) }

// poolAttributes returns the attributes of a measurement of the pool, and more.
func (s *settings) poolAttributes(more ...attribute.KeyValue) metric.MeasurementOption {
	attributes := append([]attribute.KeyValue{semconv.DBClientConnectionPoolName(s.pool)}, s.attributes...)
	return metric.WithAttributeSet(attribute.NewSet(append(attributes, more...)...))
}
