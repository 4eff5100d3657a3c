package tracing

import (
	"errors"

	"go.opentelemetry.io/otel/metric"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// fleetMetrics show a DB's share of the budget of its fleet.
type fleetMetrics struct {
	share, target           metric.Int64ObservableUpDownCounter
	budget, members, active metric.Int64ObservableGauge // which all members report, so they do not add up
	demand                  metric.Float64ObservableGauge
	heartbeats, failures    metric.Int64ObservableCounter
}

func newFleetMetrics(meter metric.Meter) (m fleetMetrics, err error) {
	var errs [8]error
	m.share, errs[0] = meter.Int64ObservableUpDownCounter("poolgate.fleet.share",
		metric.WithUnit("{connection}"), metric.WithDescription("Connections that this member of a fleet may have."))
	m.target, errs[1] = meter.Int64ObservableUpDownCounter("poolgate.fleet.target",
		metric.WithUnit("{connection}"), metric.WithDescription("Connections that would be fair for this member."))
	m.demand, errs[2] = meter.Float64ObservableGauge("poolgate.fleet.demand",
		metric.WithUnit("{connection}"), metric.WithDescription("Connections that this member needs: permits and waiting callers, smoothed."))
	m.budget, errs[3] = meter.Int64ObservableGauge("poolgate.fleet.budget",
		metric.WithUnit("{connection}"), metric.WithDescription("Connections that all members may have together."))
	m.members, errs[4] = meter.Int64ObservableGauge("poolgate.fleet.members",
		metric.WithUnit("{member}"), metric.WithDescription("Members that the store knows."))
	m.active, errs[5] = meter.Int64ObservableGauge("poolgate.fleet.active_members",
		metric.WithUnit("{member}"), metric.WithDescription("Members that need or have connections."))
	m.heartbeats, errs[6] = meter.Int64ObservableCounter("poolgate.fleet.heartbeats",
		metric.WithUnit("{heartbeat}"), metric.WithDescription("Heartbeats that the store has answered."))
	m.failures, errs[7] = meter.Int64ObservableCounter("poolgate.fleet.failures",
		metric.WithUnit("{heartbeat}"), metric.WithDescription("Heartbeats that the store has not answered."))
	return m, errors.Join(errs[:]...)
}

func (m fleetMetrics) instruments() []metric.Observable {
	return []metric.Observable{m.share, m.target, m.demand, m.budget, m.members, m.active, m.heartbeats, m.failures}
}

func (m fleetMetrics) observe(o metric.Observer, s gate.ShareStats, pool metric.MeasurementOption) {
	o.ObserveInt64(m.share, int64(s.Permits), pool)
	o.ObserveInt64(m.target, int64(s.Target), pool)
	o.ObserveFloat64(m.demand, s.Demand, pool)
	o.ObserveInt64(m.budget, int64(s.Budget), pool)
	o.ObserveInt64(m.members, int64(s.Members), pool)
	o.ObserveInt64(m.active, int64(s.Active), pool)
	o.ObserveInt64(m.heartbeats, int64(s.Heartbeats), pool)
	o.ObserveInt64(m.failures, int64(s.Failures), pool)
}
