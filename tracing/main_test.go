package tracing_test

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

func TestMain(m *testing.M) { pgserver.Main(m) }

// A driver opens a traced DB.
type driver struct {
	name string
	open func(string, poolgate.Config, ...tracing.Option) (*poolgate.DB, error)
}

var drivers = []driver{
	{"pgx", func(dsn string, c poolgate.Config, opts ...tracing.Option) (*poolgate.DB, error) {
		return tracing.Open(pgxgate.NewConnector, dsn, c, opts...)
	}},
	{"pq", func(dsn string, c poolgate.Config, opts ...tracing.Option) (*poolgate.DB, error) {
		return tracing.Open(pqgate.NewConnector, dsn, c, opts...)
	}},
}

// A fixture is a traced DB, and what it has told.
type fixture struct {
	*poolgate.DB
	t      *testing.T
	dsn    string
	spans  *tracetest.SpanRecorder
	traces *sdktrace.TracerProvider
	tracer trace.Tracer // of the caller
	reader *sdkmetric.ManualReader
	driver driver
	more   view           // spans of another DB, see everything
	jaeger *jaeger.Server // where traces are sent to, if anywhere
}

// onBoth runs test with each driver, against a database of its own and through
// a gate of config. After each nothing may be held, and no goroutine be left.
func onBoth(t *testing.T, config gate.Config, test func(t *testing.T, f *fixture)) {
	t.Helper()
	server := pgserver.ForTest(t)
	for _, d := range drivers {
		t.Run(d.name, func(t *testing.T) {
			dsn := server.CreateDatabase(t)
			leaks := goleak.IgnoreCurrent()
			f := newFixture(t, d, dsn, config)
			test(t, f)
			f.nothingHeld()
			must(t, f.Close())
			goleak.VerifyNone(t, leaks)
		})
	}
}

func newFixture(t *testing.T, d driver, dsn string, config gate.Config, opts ...tracing.Option) *fixture {
	t.Helper()
	f := &fixture{t: t, dsn: dsn, driver: d, spans: tracetest.NewSpanRecorder(), reader: sdkmetric.NewManualReader()}
	f.traces = sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(f.spans), sdktrace.WithResource(service))
	f.tracer = f.traces.Tracer("caller")
	opts = append([]tracing.Option{
		tracing.WithTracerProvider(f.traces),
		tracing.WithMeterProvider(sdkmetric.NewMeterProvider(sdkmetric.WithReader(f.reader))),
	}, opts...)
	db, err := d.open(dsn, poolgate.Config{Gate: config}, opts...)
	must(t, err)
	f.DB = db
	return f
}

// in runs work in a span, as a request would, and returns what was seen in it.
func (f *fixture) in(name string, work func(ctx context.Context)) view {
	f.t.Helper()
	ctx, span := f.tracer.Start(context.Background(), name)
	work(ctx)
	span.End()
	return f.view().trace(span.SpanContext().TraceID().String())
}

// view returns all spans that have ended.
func (f *fixture) view() view {
	v := slices.Clone(f.more)
	for _, s := range f.spans.Ended() {
		v = append(v, fromSDK(s))
	}
	return sorted(v)
}

func fromSDK(s sdktrace.ReadOnlySpan) seen {
	one := seen{
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

// metrics returns what is measured now, by name.
func (f *fixture) metrics() map[string]metricdata.Metrics {
	f.t.Helper()
	var all metricdata.ResourceMetrics
	must(f.t, f.reader.Collect(context.Background(), &all))
	byName := map[string]metricdata.Metrics{}
	for _, scope := range all.ScopeMetrics {
		for _, m := range scope.Metrics {
			byName[m.Name] = m
		}
	}
	return byName
}

// number returns the value, or the count, of the points of a metric that have
// these attributes.
func number(m metricdata.Metrics, with ...attribute.KeyValue) float64 {
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
	case metricdata.Histogram[float64]:
		for _, p := range data.DataPoints {
			if has(p.Attributes) {
				total += float64(p.Count)
			}
		}
	}
	return total
}

func (f *fixture) nothingHeld() {
	f.t.Helper()
	if stats := f.Gate().Stats(); stats.InFlight != 0 || stats.Waiting != 0 {
		f.t.Errorf("%d permits held, %d waiting", stats.InFlight, stats.Waiting)
	}
	if used := f.Stats().InUse; used != 0 {
		f.t.Errorf("%d connections in use", used)
	}
}

// queued waits until n callers wait.
func (f *fixture) queued(n int) {
	f.t.Helper()
	eventually(f.t, "callers wait", func() bool { return f.Gate().Stats().Waiting >= n })
}

func (f *fixture) exec(ctx context.Context, query string, args ...any) {
	f.t.Helper()
	_, err := f.ExecContext(ctx, query, args...)
	must(f.t, err)
}

func (f *fixture) hold() *sql.Conn {
	f.t.Helper()
	conn, err := f.Conn(context.Background())
	must(f.t, err)
	return conn
}

// seen is a span, wherever it was read.
type seen struct {
	Trace, ID, Parent, Name, Kind string
	Start                         time.Time
	Duration                      time.Duration
	Attributes                    map[string]any
	Links                         []string
	Failed                        bool
	Events                        int
}

func (s seen) end() time.Time { return s.Start.Add(s.Duration) }

// seconds returns an attribute that is a duration.
func (s seen) seconds(t *testing.T, key string) time.Duration {
	t.Helper()
	v, ok := s.Attributes[key].(float64)
	if !ok {
		t.Fatalf("%s has no %s, but %v", s.Name, key, slices.Sorted(maps.Keys(s.Attributes)))
	}
	return time.Duration(v * float64(time.Second))
}

// want checks attributes.
func (s seen) want(t *testing.T, attributes map[string]any) {
	t.Helper()
	for key, want := range attributes {
		if got := s.Attributes[key]; got != want {
			t.Errorf("%s: %s is %v (%T), want %v (%T)", s.Name, key, got, got, want, want)
		}
	}
}

// view is a number of spans in the order in which they began.
type view []seen

func sorted(v view) view {
	slices.SortStableFunc(v, func(a, b seen) int { return a.Start.Compare(b.Start) })
	return v
}

func (v view) trace(id string) view {
	return slices.DeleteFunc(slices.Clone(v), func(s seen) bool { return s.Trace != id })
}

func (v view) names() []string {
	var names []string
	for _, s := range v {
		names = append(names, s.Name)
	}
	return names
}

func (v view) all(name string) view {
	return slices.DeleteFunc(slices.Clone(v), func(s seen) bool { return s.Name != name })
}

func (v view) one(t *testing.T, name string) seen {
	t.Helper()
	found := v.all(name)
	if len(found) != 1 {
		t.Fatalf("there are %d spans %s in %v, want 1", len(found), name, v.names())
	}
	return found[0]
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func is(t testing.TB, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("got error %v, want %v", err, want)
	}
}

// eventually waits for what another goroutine is about to do.
func eventually(t testing.TB, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !reached(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s", what)
		}
	}
}
