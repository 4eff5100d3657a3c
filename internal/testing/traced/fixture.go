// Package traced has a traced DB on a real PostgreSQL for tests, reads the spans
// that it sends, and checks what they say. The tests of package tracing read the
// spans from the SDK; others read them from a tracing backend.
package traced

import (
	"context"
	"database/sql"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/adapters/pqgate"
	"github.com/poolgate/poolgate/internal/testing/jaeger"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/tracing"
)

// A Driver opens a traced DB.
type Driver struct {
	Name string
	Open func(string, poolgate.Config, ...tracing.Option) (*poolgate.DB, error)
}

// Drivers are both drivers.
var Drivers = []Driver{
	{"pgx", func(dsn string, c poolgate.Config, opts ...tracing.Option) (*poolgate.DB, error) {
		return tracing.Open(pgxgate.NewConnector, dsn, c, opts...)
	}},
	{"pq", func(dsn string, c poolgate.Config, opts ...tracing.Option) (*poolgate.DB, error) {
		return tracing.Open(pqgate.NewConnector, dsn, c, opts...)
	}},
}

// A Fixture is a traced DB, and what it has sent.
type Fixture struct {
	*poolgate.DB
	T      *testing.T
	DSN    string
	Spans  *tracetest.SpanRecorder
	Traces *sdktrace.TracerProvider
	Tracer trace.Tracer // of the caller
	Reader *sdkmetric.ManualReader
	Driver Driver
	More   View           // spans of another DB, see everything
	Jaeger *jaeger.Server // where traces are sent to, if anywhere
}

// OnBoth runs test with each driver, against a database of its own and through
// a gate of config. After each nothing may be held, and no goroutine be left.
func OnBoth(t *testing.T, config gate.Config, test func(t *testing.T, f *Fixture)) {
	t.Helper()
	server := pgserver.ForTest(t)
	for _, d := range Drivers {
		t.Run(d.Name, func(t *testing.T) {
			dsn := server.CreateDatabase(t)
			leaks := goleak.IgnoreCurrent()
			f := New(t, d, dsn, config)
			test(t, f)
			f.AssertIdle()
			Must(t, f.Close())
			goleak.VerifyNone(t, leaks)
		})
	}
}

// New returns a DB that d opens with a gate of config, and that is traced.
func New(t *testing.T, d Driver, dsn string, config gate.Config, opts ...tracing.Option) *Fixture {
	t.Helper()
	f := &Fixture{T: t, DSN: dsn, Driver: d, Spans: tracetest.NewSpanRecorder(), Reader: sdkmetric.NewManualReader()}
	f.Traces = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(f.Spans), sdktrace.WithResource(service))
	f.Tracer = f.Traces.Tracer("caller")
	opts = append([]tracing.Option{
		tracing.WithTracerProvider(f.Traces),
		tracing.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(f.Reader))),
	}, opts...)
	db, err := d.Open(dsn, poolgate.Config{Gate: config}, opts...)
	Must(t, err)
	f.DB = db
	return f
}

// In runs work In a span, as a request would, and returns what was seen In it.
func (f *Fixture) In(name string, work func(ctx context.Context)) View {
	f.T.Helper()
	ctx, span := f.Tracer.Start(context.Background(), name)
	work(ctx)
	span.End()
	return f.View().Trace(span.SpanContext().TraceID().String())
}

// View returns all spans that have ended.
func (f *Fixture) View() View {
	v := slices.Clone(f.More)
	for _, s := range f.Spans.Ended() {
		v = append(v, FromSDK(s))
	}
	return sorted(v)
}

// FromSDK returns the span as it ended.
func FromSDK(s sdktrace.ReadOnlySpan) Span {
	one := Span{
		Trace: s.SpanContext().TraceID().String(), ID: s.SpanContext().SpanID().String(),
		Name: s.Name(), Start: s.StartTime(), Duration: s.EndTime().Sub(s.StartTime()),
		Kind: s.SpanKind().String(), Failed: s.Status().Code == codes.Error, Events: len(s.Events()),
		Attributes: map[string]any{},
	}
	if s.Parent().IsValid() {
		one.Parent = s.Parent().SpanID().String()
	}
	for _, l := range s.Links() {
		one.Links = append(one.Links, l.SpanContext.SpanID().String())
	}
	for _, a := range s.Attributes() {
		one.Attributes[string(a.Key)] = a.Value.AsInterface()
	}
	return one
}

// Metrics returns what is measured now, by name.
func (f *Fixture) Metrics() map[string]metricdata.Metrics {
	f.T.Helper()
	var all metricdata.ResourceMetrics
	Must(f.T, f.Reader.Collect(context.Background(), &all))
	byName := map[string]metricdata.Metrics{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			byName[m.Name] = m
		}
	}
	return byName
}

// Number returns the value, or the count, of the points of a metric that have
// these attributes.
func Number(m metricdata.Metrics, with ...attribute.KeyValue) float64 {
	total := 0.0
	has := func(s attribute.Set) bool {
		return !slices.ContainsFunc(with, func(a attribute.KeyValue) bool {
			v, ok := s.Value(a.Key)
			return !ok || v != a.Value
		})
	}
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		for _, p := range data.DataPoints {
			if has(p.Attributes) {
				total += float64(p.Value)
			}
		}
	case metricdata.Gauge[float64]:
		for _, p := range data.DataPoints {
			if has(p.Attributes) {
				total += p.Value
			}
		}
	case metricdata.Gauge[int64]:
		for _, p := range data.DataPoints {
			if has(p.Attributes) {
				total += float64(p.Value)
			}
		}
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			if has(p.Attributes) {
				total += float64(p.Count)
			}
		}
	}
	return total
}

// AssertIdle checks that no permit is held and no connection is in use.
func (f *Fixture) AssertIdle() {
	f.T.Helper()
	if stats := f.Gate().Stats(); stats.InFlight != 0 || stats.Waiting != 0 {
		f.T.Errorf("%d permits held, %d waiting", stats.InFlight, stats.Waiting)
	}
	if used := f.Stats().InUse; used != 0 {
		f.T.Errorf("%d connections in use", used)
	}
}

// Queued waits until n callers wait.
func (f *Fixture) Queued(n int) {
	f.T.Helper()
	Eventually(f.T, "callers wait", func() bool { return f.Gate().Stats().Waiting >= n })
}

// MustExec runs a statement that must not fail.
func (f *Fixture) MustExec(ctx context.Context, query string, args ...any) {
	f.T.Helper()
	_, err := f.ExecContext(ctx, query, args...)
	Must(f.T, err)
}

// Hold checks a connection out.
func (f *Fixture) Hold() *sql.Conn {
	f.T.Helper()
	conn, err := f.Conn(context.Background())
	Must(f.T, err)
	return conn
}

// Span is a span, wherever it was read.
type Span struct {
	Trace, ID, Parent, Name, Kind string
	Start                         time.Time
	Duration                      time.Duration
	Attributes                    map[string]any
	Links                         []string
	Failed                        bool
	Events                        int
}

// End returns when the span ended.
func (s Span) End() time.Time { return s.Start.Add(s.Duration) }

// Seconds returns an attribute that is a duration.
func (s Span) Seconds(t *testing.T, key string) time.Duration {
	t.Helper()
	v, ok := s.Attributes[key].(float64)
	if !ok {
		t.Fatalf("%s has no %s, but %v", s.Name, key, slices.Sorted(maps.Keys(s.Attributes)))
	}
	return time.Duration(v * float64(time.Second))
}

// Want checks attributes.
func (s Span) Want(t *testing.T, attributes map[string]any) {
	t.Helper()
	for key, want := range attributes {
		if got := s.Attributes[key]; got != want {
			t.Errorf("%s: %s Is %v (%T), want %v (%T)", s.Name, key, got, got, want, want)
		}
	}
}

// View is a list of spans in the order in which they began.
type View []Span

func sorted(v View) View {
	slices.SortStableFunc(v, func(a, b Span) int { return a.Start.Compare(b.Start) })
	return v
}

// Trace returns the spans of one trace.
func (v View) Trace(id string) View {
	return slices.DeleteFunc(slices.Clone(v), func(s Span) bool { return s.Trace != id })
}

// Names returns the name of each span.
func (v View) Names() []string {
	var names []string
	for _, s := range v {
		names = append(names, s.Name)
	}
	return names
}

// All returns the spans of that name.
func (v View) All(name string) View {
	return slices.DeleteFunc(slices.Clone(v), func(s Span) bool { return s.Name != name })
}

// One returns the only span of that name.
func (v View) One(t *testing.T, name string) Span {
	t.Helper()
	found := v.All(name)
	if len(found) != 1 {
		t.Fatalf("there are %d spans %s in %v, want 1", len(found), name, v.Names())
	}
	return found[0]
}

// Must fails the test if err is not nil.
func Must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Is checks that err matches want.
func Is(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}

// Eventually waits for what another goroutine is about to do.
func Eventually(t testing.TB, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !reached(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}
