package tracing

import (
	"context"
	"database/sql/driver"
	"errors"
	"sync"
	"time"

	"github.com/XSAM/otelsql"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"
)

// durations measures how long the calls to the driver take. For those that go through
// otelsql it is the histogram that otelsql records them in.
type durations struct {
	metricnoop.Float64Histogram // for what otelsql does not call

	operation  metric.Float64Histogram
	createTime metric.Float64Histogram
	settings   *settings
	pool       metric.MeasurementOption // of createTime
	succeeded  sync.Map                 // of otelsql.Method to []metric.RecordOption
}

// newDurations returns nil if there are no metrics.
func newDurations(s *settings) (*durations, error) {
	if s.metrics == nil {
		return nil, nil
	}
	operation, err := dbconv.NewClientOperationDuration(s.meter(), buckets)
	if err != nil {
		return nil, err
	}
	createTime, err := dbconv.NewClientConnectionCreateTime(s.meter(), buckets)
	if err != nil {
		return nil, err
	}
	return &durations{
		operation:  operation.Inst(),
		createTime: createTime.Inst(),
		settings:   s,
		pool:       s.poolAttributes(),
	}, nil
}

// since measures an operation that began at start. It does nothing on nil.
func (d *durations) since(ctx context.Context, method otelsql.Method, start time.Time, err error) {
	if d == nil || errors.Is(err, driver.ErrSkip) { // the driver wants it in another way
		return
	}
	took := time.Since(start).Seconds()
	if err != nil {
		d.operation.Record(ctx, took, d.attributes(method, errorAttributes(err)))
		return
	}
	d.operation.Record(ctx, took, d.success(method)...)
}

// now returns when an operation begins, or zero if nothing is measured.
func (d *durations) now() (start time.Time) {
	if d != nil {
		start = time.Now()
	}
	return start
}

// success returns the attributes of an operation that did not fail. It keeps them,
// since making a set of attributes takes longer than recording it.
func (d *durations) success(method otelsql.Method) []metric.RecordOption {
	known, ok := d.succeeded.Load(method)
	if !ok {
		known, _ = d.succeeded.LoadOrStore(method, []metric.RecordOption{d.attributes(method, nil)})
	}
	return known.([]metric.RecordOption)
}

func (d *durations) attributes(method otelsql.Method, more []attribute.KeyValue) metric.MeasurementOption {
	attributes := append(d.settings.statement(), semconv.DBOperationName(string(method)))
	return metric.WithAttributeSet(attribute.NewSet(append(attributes, more...)...))
}

// otelsql calls Enabled and Record. Record passes on the operations of the database.
// Connecting has an instrument of its own, and reading rows is a part of the query.
func (d *durations) Enabled(context.Context) bool { return true }

func (d *durations) Record(ctx context.Context, seconds float64, opts ...metric.RecordOption) {
	set := metric.NewRecordConfig(opts).Attributes()
	name, _ := set.Value(semconv.DBOperationNameKey)
	method, failed := otelsql.Method(name.AsString()), set.HasValue(semconv.ErrorTypeKey)
	switch {
	case method == otelsql.MethodConnectorConnect:
		if !failed {
			d.createTime.Record(ctx, seconds, d.pool)
		}
	case method == otelsql.MethodRows, set.HasValue(keySkipped):
	case failed:
		d.operation.Record(ctx, seconds, d.attributes(method, ourError(set)))
	default:
		d.operation.Record(ctx, seconds, d.success(method)...)
	}
}

// keyError carries our error.type from measuredError to Record. otelsql would
// replace it with another.
const keyError = attribute.Key("poolgate.error.type")

// keySkipped marks a call that the driver wants in another way. It was no
// operation, see since.
const keySkipped = attribute.Key("poolgate.skipped")

func measuredError(err error) []attribute.KeyValue {
	if errors.Is(err, driver.ErrSkip) {
		return []attribute.KeyValue{keySkipped.Bool(true)}
	}
	attributes := errorAttributes(err)
	for i, a := range attributes {
		if a.Key == semconv.ErrorTypeKey {
			attributes[i].Key = keyError
		}
	}
	return attributes
}

// ourError undoes measuredError.
func ourError(set attribute.Set) (attributes []attribute.KeyValue) {
	for _, a := range set.ToSlice() {
		switch a.Key {
		case keyError:
			attributes = append(attributes, semconv.ErrorTypeKey.String(a.Value.AsString()))
		case semconv.DBResponseStatusCodeKey:
			attributes = append(attributes, a)
		}
	}
	return attributes
}

// meterProvider gives otelsql durations for the only histogram that it asks for.
type meterProvider struct {
	metricnoop.MeterProvider
	durations *durations
}

func (p meterProvider) Meter(string, ...metric.MeterOption) metric.Meter {
	return meter{durations: p.durations}
}

type meter struct {
	metricnoop.Meter
	durations *durations
}

func (m meter) Float64Histogram(string, ...metric.Float64HistogramOption) (metric.Float64Histogram, error) {
	return m.durations, nil
}
