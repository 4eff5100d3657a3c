package tracing

import (
	"context"
	"errors"
	"fmt"

	"go.opentelemetry.io/otel/metric"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/semconv/v1.43.0/dbconv"

	"github.com/poolgate/poolgate/internal/errortype"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// buckets go from 10 µs, a wait that a release ends at once, to 30 s, the longest
// wait that a gate allows by default.
var buckets = metric.WithExplicitBucketBoundaries(
	10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6,
	1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 200e-3, 500e-3,
	1, 2, 5, 10, 20, 30)

// metrics measures what happens, and reports the state of the gate and of the pool
// when the provider collects.
type metrics struct {
	db         *poolgate.DB
	pool       metric.MeasurementOption // on what is observed of the pool
	recorded   []metric.RecordOption    // the same, on what is recorded
	used, idle metric.MeasurementOption
	// on refusals for a class that the gate does not have
	unknownClass metric.MeasurementOption
	classes      map[string]*classAttributes // by name; not changed
	settings     *settings

	// of the conventions
	count    dbconv.ClientConnectionCountObservable
	max      dbconv.ClientConnectionMaxObservable
	pending  dbconv.ClientConnectionPendingRequestsObservable
	timeouts dbconv.ClientConnectionTimeouts
	obtained dbconv.ClientConnectionWaitTime
	useTime  dbconv.ClientConnectionUseTime

	// ours
	limit      metric.Int64ObservableUpDownCounter
	inFlight   metric.Int64ObservableUpDownCounter
	waiting    metric.Int64ObservableUpDownCounter
	oldestWait metric.Float64ObservableGauge
	refusals   metric.Int64ObservableCounter
	leaks      metric.Int64ObservableCounter
	waitTime   metric.Float64Histogram
	holdTime   metric.Float64Histogram
	between    metric.Float64Histogram
	fleet      fleetMetrics

	registration metric.Registration
}

func newMetrics(db *poolgate.DB, s *settings) (*metrics, error) {
	m := &metrics{
		db:       db,
		settings: s,
		pool:     s.poolAttributes(),
		used:     s.poolAttributes(semconv.DBClientConnectionStateUsed),
		idle:     s.poolAttributes(semconv.DBClientConnectionStateIdle),

		unknownClass: s.poolAttributes(semconv.ErrorTypeKey.String(gate.ErrUnknownClass.String())),
		classes:      make(map[string]*classAttributes),
	}
	m.recorded = []metric.RecordOption{m.pool}
	for _, c := range classes(db.Gate().Stats()) {
		m.classes[c.Name] = newClassAttributes(s, c.Name)
	}
	if err := m.make(s.meter()); err != nil {
		return nil, fmt.Errorf("tracing: %w", err)
	}
	return m, nil
}

// make makes the instruments. The gate's limit is the most connections that are in
// use at once, so it is the pool's maximum.
func (m *metrics) make(meter metric.Meter) error {
	var errs [16]error
	m.count, errs[0] = dbconv.NewClientConnectionCountObservable(meter)
	m.max, errs[1] = dbconv.NewClientConnectionMaxObservable(meter)
	m.pending, errs[2] = dbconv.NewClientConnectionPendingRequestsObservable(meter)
	m.timeouts, errs[3] = dbconv.NewClientConnectionTimeouts(meter)
	m.obtained, errs[4] = dbconv.NewClientConnectionWaitTime(meter, buckets)
	m.useTime, errs[5] = dbconv.NewClientConnectionUseTime(meter, buckets)

	m.limit, errs[6] = meter.Int64ObservableUpDownCounter("poolgate.gate.limit",
		metric.WithUnit("{permit}"), metric.WithDescription("Permits that may be out at once."))
	m.inFlight, errs[7] = meter.Int64ObservableUpDownCounter("poolgate.gate.in_flight",
		metric.WithUnit("{permit}"), metric.WithDescription("Permits that are out."))
	m.waiting, errs[8] = meter.Int64ObservableUpDownCounter("poolgate.gate.waiting",
		metric.WithUnit("{request}"), metric.WithDescription("Callers that wait for a permit."))
	m.oldestWait, errs[9] = meter.Float64ObservableGauge("poolgate.gate.oldest_wait",
		metric.WithUnit("s"), metric.WithDescription("How long the longest waiter has waited."))
	m.refusals, errs[10] = meter.Int64ObservableCounter("poolgate.gate.refusals",
		metric.WithUnit("{request}"), metric.WithDescription("Callers that the gate has refused, by reason."))
	m.leaks, errs[11] = meter.Int64ObservableCounter("poolgate.gate.leaks",
		metric.WithUnit("{permit}"), metric.WithDescription("Permits that were held longer than the gate's LeakAfter."))
	m.waitTime, errs[12] = meter.Float64Histogram("poolgate.gate.wait_time", buckets,
		metric.WithUnit("s"), metric.WithDescription("Time that callers waited for a permit, however it ended; 0 for those let in or refused at once."))
	m.holdTime, errs[13] = meter.Float64Histogram("poolgate.gate.hold_time", buckets,
		metric.WithUnit("s"), metric.WithDescription("Time for which a permit was held."))
	m.between, errs[14] = meter.Float64Histogram("poolgate.lease.between_calls", buckets,
		metric.WithUnit("s"), metric.WithDescription("Time for which a connection was held with no call to the driver under way: between statements, and while rows are read."))
	m.fleet, errs[15] = newFleetMetrics(meter)
	if err := errors.Join(errs[:]...); err != nil {
		return err
	}
	var err error
	m.registration, err = meter.RegisterCallback(m.observe, append(m.fleet.instruments(), m.count.Inst(), m.max.Inst(), m.pending.Inst(),
		m.limit, m.inFlight, m.waiting, m.oldestWait, m.refusals, m.leaks)...)
	return err
}

func (m *metrics) unregister() { _ = m.registration.Unregister() } // it has no way to fail

// classes returns the classes of a gate, and the lane beyond its limit.
func classes(s gate.Stats) []gate.ClassStats { return append(s.Classes, s.OutOfBand) }

// observe is called by the provider when it collects.
func (m *metrics) observe(_ context.Context, o metric.Observer) error {
	pool, g := m.db.Stats(), m.db.Gate().Stats()
	o.ObserveInt64(m.count.Inst(), int64(pool.InUse), m.used)
	o.ObserveInt64(m.count.Inst(), int64(pool.Idle), m.idle)
	most := m.db.Gate().MostPermits()
	if g.Share.Held {
		most = min(most, g.Share.Permits)
		m.fleet.observe(o, g.Share, m.pool)
	}
	o.ObserveInt64(m.max.Inst(), int64(most), m.pool)
	o.ObserveInt64(m.pending.Inst(), int64(g.Waiting), m.pool)
	o.ObserveInt64(m.limit, int64(g.FoundLimit()), m.pool)
	o.ObserveInt64(m.refusals, int64(g.UnknownClass), m.unknownClass)
	for _, c := range classes(g) {
		of := m.classes[c.Name]
		o.ObserveInt64(m.inFlight, int64(c.InFlight), of.all)
		o.ObserveInt64(m.waiting, int64(c.Waiting), of.all)
		o.ObserveFloat64(m.oldestWait, c.OldestWait.Seconds(), of.all)
		o.ObserveInt64(m.leaks, int64(c.Leaked), of.all)
		for reason := range of.refused {
			o.ObserveInt64(m.refusals, int64(c.RefusedFor(reason)), of.refused[reason])
		}
	}
	return nil
}

func (m *metrics) observer() poolgate.Observer {
	return poolgate.Observer{
		Gate:     gate.Observer{AcquireEnd: m.acquireEnd, Release: m.release},
		Lease:    m.lease,
		LeaseEnd: m.leaseEnd,
	}
}

func (m *metrics) acquireEnd(ctx context.Context, a gate.AcquireEnd) {
	if a.Optional && a.Err != nil {
		return
	}
	var of []metric.RecordOption
	switch c := m.classes[a.Class]; {
	case c == nil: // the gate has no such class, and anything may be in its name
		of = []metric.RecordOption{m.settings.poolAttributes(semconv.ErrorTypeKey.String(errortype.Of(a.Err)))}
	case a.Err != nil:
		of = []metric.RecordOption{m.settings.poolAttributes(keyClass.String(a.Class), semconv.ErrorTypeKey.String(errortype.Of(a.Err)))}
	default:
		of = c.recorded
	}
	m.waitTime.Record(ctx, a.Waited.Seconds(), of...)
	if errors.Is(a.Err, gate.ErrWaitTimeout) || errors.Is(a.Err, context.DeadlineExceeded) {
		m.timeouts.Inst().Add(ctx, 1, m.pool)
	}
}

func (m *metrics) release(r gate.Release) {
	if r.Held > 0 {
		m.holdTime.Record(context.Background(), r.Held.Seconds(), m.classes[r.Class].recorded...)
	}
}

func (m *metrics) lease(ctx context.Context, l poolgate.LeaseStart) context.Context {
	if l.Err == nil {
		m.obtained.Inst().Record(ctx, (l.Waited + l.Connecting).Seconds(), m.recorded...)
	}
	return ctx
}

func (m *metrics) leaseEnd(ctx context.Context, e poolgate.LeaseEnd) {
	m.useTime.Inst().Record(ctx, e.Held.Seconds(), m.recorded...)
	m.between.Record(ctx, betweenCalls(e).Seconds(), m.classes[e.Start.Class].recorded...)
}

// classAttributes are the attributes of measurements of a class.
type classAttributes struct {
	all      metric.MeasurementOption
	recorded []metric.RecordOption                    // all, in a slice that need not be made each time
	refused  map[gate.Reason]metric.MeasurementOption // by reason
}

func newClassAttributes(s *settings, name string) *classAttributes {
	c := &classAttributes{
		all:     s.poolAttributes(keyClass.String(name)),
		refused: make(map[gate.Reason]metric.MeasurementOption),
	}
	c.recorded = []metric.RecordOption{c.all}
	for _, reason := range gate.Reasons() {
		if reason == gate.ErrUnknownClass { // which no class refuses
			continue
		}
		c.refused[reason] = s.poolAttributes(keyClass.String(name), semconv.ErrorTypeKey.String(reason.String()))
	}
	return c
}
