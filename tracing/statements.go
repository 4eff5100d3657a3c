package tracing

import (
	"context"
	"database/sql/driver"
	"fmt"

	"github.com/XSAM/otelsql"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/poolgate/poolgate/internal/redact"
)

// otelsql makes a span and a measurement of each call to the driver. What follows
// makes it keep secrets and follow the conventions.

// newTraced returns a connector whose connections are connector's, wrapped by
// otelsql.
func newTraced(connector *closingConnector, s *settings) (driver.Connector, error) {
	traces, metrics := s.traces, metric.MeterProvider(metricnoop.NewMeterProvider())
	if traces == nil {
		traces = tracenoop.NewTracerProvider()
	}
	durations, err := newDurations(s)
	if err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	if durations != nil {
		metrics = meterProvider{durations: durations}
	}
	otel := otelsql.WrapDriver(wrapped{connector},
		otelsql.WithTracerProvider(tracerProvider{traces}),
		otelsql.WithMeterProvider(metrics),
		otelsql.WithAttributesGetter(s.statementAttributes),
		otelsql.WithSpanErrorAttributesGetter(errorAttributes),
		otelsql.WithInstrumentErrorAttributesGetter(measuredError),
		otelsql.WithDisableSkipErrMeasurement(true),
		otelsql.WithSpanOptions(otelsql.SpanOptions{
			DisableErrSkip: true,
			DisableQuery:   true, // statementAttributes has it, without literals
			SpanFilter: func(ctx context.Context, _ otelsql.Method, _ string, _ []driver.NamedValue) bool {
				return !unsampled(ctx)
			},
		}),
	).(driver.DriverContext)
	outer, err := otel.OpenConnector("")
	if err != nil {
		return nil, err
	}
	return directConnector{outer, connector, s.traces != nil, durations, s}, nil
}

// maxQueryText is how many bytes of a statement's text a span gets at most.
const maxQueryText = 2048

// statementAttributes are on the span of a call to the driver, in addition to
// those that all have. They never have anything of the arguments. How long the
// checkout waited is on the first call under it, which is the one that waited.
func (s *settings) statementAttributes(ctx context.Context, _ otelsql.Method, query string, _ []driver.NamedValue) []attribute.KeyValue {
	attributes := s.statement()
	if text := redact.Statement(query, maxQueryText); text != "" {
		attributes = append(attributes, semconv.DBQueryText(text))
	}
	l := leaseOf(ctx)
	if l == nil {
		return attributes
	}
	attributes = append(attributes, keyClass.String(l.start.Class))
	if l.used.CompareAndSwap(false, true) {
		attributes = append(attributes, keyWaited.Float64(l.start.Waited.Seconds()), keyConnecting.Float64(l.start.Connecting.Seconds()))
	}
	return attributes
}

// tracerProvider gives otelsql tracers that record no text of an error. They link a
// statement's span to its lease's span if the two have different parents, as when
// the statements of a transaction have another parent than its BEGIN.
type tracerProvider struct{ trace.TracerProvider }

func (p tracerProvider) Tracer(name string, opts ...trace.TracerOption) trace.Tracer {
	return tracer{p.TracerProvider.Tracer(name, opts...)}
}

type tracer struct{ trace.Tracer }

func (t tracer) Start(ctx context.Context, name string, opts ...trace.SpanStartOption) (context.Context, trace.Span) {
	parent := trace.SpanContextFromContext(ctx)
	under, span := t.Tracer.Start(ctx, name, opts...)
	if !span.IsRecording() {
		return under, span
	}
	if l := leaseOf(ctx); l != nil && !l.parent.Equal(parent) {
		span.AddLink(trace.Link{SpanContext: l.span.SpanContext()})
	}
	return under, discreetSpan{span}
}

type discreetSpan struct{ trace.Span }

// RecordError does nothing, because the text of an error can contain the value of a
// parameter. The attributes describe the error.
func (discreetSpan) RecordError(error, ...trace.EventOption) {}
