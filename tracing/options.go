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

// An Option says where spans and metrics go, and what is on all of them.
type Option func(*settings)

type settings struct {
	traces     trace.TracerProvider // nil for no spans
	metrics    metric.MeterProvider // nil for no metrics
	pool       string
	server     []attribute.KeyValue // what Open knows of it: on spans, and on operations
	attributes []attribute.KeyValue // on everything
}

// WithTracerProvider has spans made. Which of them are kept is the provider's
// business, by its sampler.
func WithTracerProvider(p trace.TracerProvider) Option {
	return func(s *settings) { s.traces = p }
}

// WithMeterProvider has metrics made.
func WithMeterProvider(p metric.MeterProvider) Option {
	return func(s *settings) { s.metrics = p }
}

// WithGlobalProviders has spans and metrics made by OpenTelemetry's global
// providers, otel.GetTracerProvider and otel.GetMeterProvider.
func WithGlobalProviders() Option {
	return func(s *settings) {
		s.traces = otel.GetTracerProvider()
		s.metrics = otel.GetMeterProvider()
	}
}

// WithPoolName names the pool in db.client.connection.pool.name, which tells
// the metrics of several pools apart: each has to have its own. The default is
// server:port/database where [Open] knows them, and "poolgate" otherwise.
func WithPoolName(name string) Option {
	return func(s *settings) { s.pool = name }
}

// WithAttributes adds attributes to every span and every measurement. Their
// values should be few.
func WithAttributes(attributes ...attribute.KeyValue) Option {
	return func(s *settings) { s.attributes = append(s.attributes, attributes...) }
}

func newSettings(opts []Option) (*settings, error) {
	s := &settings{}
	for _, opt := range opts {
		opt(s)
	}
	if s.traces == nil && s.metrics == nil {
		return nil, errors.New("tracing: neither spans nor metrics are asked for: " +
			"give WithTracerProvider, WithMeterProvider or WithGlobalProviders")
	}
	return s, nil
}

func (s *settings) meter() metric.Meter {
	return s.metrics.Meter(scope, metric.WithSchemaURL(semconv.SchemaURL))
}

// statement returns what is on every span of a call to the driver, and on every
// measurement of one.
func (s *settings) statement() []attribute.KeyValue { return slices.Concat(s.server, s.attributes) }

// poolAttributes are on all that is measured of the pool, and more on some of it.
func (s *settings) poolAttributes(more ...attribute.KeyValue) metric.MeasurementOption {
	attributes := append([]attribute.KeyValue{semconv.DBClientConnectionPoolName(s.pool)}, s.attributes...)
	return metric.WithAttributeSet(attribute.NewSet(append(attributes, more...)...))
}
