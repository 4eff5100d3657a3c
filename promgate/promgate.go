package promgate

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// buckets go from 10 µs, a wait that a release ends at once, to 30 s, the longest
// wait that a gate allows by default.
var buckets = []float64{
	10e-6, 20e-6, 50e-6, 100e-6, 200e-6, 500e-6,
	1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 100e-3, 200e-3, 500e-3,
	1, 2, 5, 10, 20, 30,
}

// Labels.
const (
	labelPool  = "db_client_connection_pool_name"
	labelClass = "poolgate_class"
	labelError = "error_type"
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("poolgate_"+name, help, append([]string{labelPool}, labels...), nil)
}

var (
	descLimit      = describe("gate_limit", "Permits that may be out at once.")
	descInFlight   = describe("gate_in_flight", "Permits that are out.", labelClass)
	descWaiting    = describe("gate_waiting", "Callers that wait for a permit.", labelClass)
	descOldestWait = describe("gate_oldest_wait_seconds", "How long the longest waiter has waited.", labelClass)
	descRefusals   = describe("gate_refusals_total", "Callers that the gate has refused, by reason.", labelClass, labelError)
	descLeaks      = describe("gate_leaks_total", "Permits that were held longer than LeakAfter.", labelClass)

	descShare      = describe("fleet_share", "Connections that this member of a fleet may have.")
	descTarget     = describe("fleet_target", "Connections that would be fair for this member.")
	descDemand     = describe("fleet_demand", "Connections that this member needs: permits and waiting callers, smoothed.")
	descBudget     = describe("fleet_budget", "Connections that all members may have together.")
	descMembers    = describe("fleet_members", "Members that the store knows.")
	descActive     = describe("fleet_active_members", "Members that need or have connections.")
	descHeartbeats = describe("fleet_heartbeats_total", "Heartbeats that the store has answered.")
	descFailures   = describe("fleet_failures_total", "Heartbeats that the store has not answered.")

	descCount = prometheus.NewDesc("db_client_connection_count", "Connections that are open.",
		[]string{labelPool, "db_client_connection_state"}, nil)
	descMax = prometheus.NewDesc("db_client_connection_max", "Connections that can be used at once.",
		[]string{labelPool}, nil)
	descPending = prometheus.NewDesc("db_client_connection_pending_requests", "Callers that wait for a permit.",
		[]string{labelPool}, nil)
)

// A Collector is a prometheus.Collector of gates. It is safe for concurrent use.
type Collector struct {
	gates map[string]*gate.Gate
	dbs   map[string]*poolgate.DB // whose gates these are; nil for gates alone
	names []string                // of gates, sorted
	wait  *prometheus.HistogramVec
	hold  *prometheus.HistogramVec
	stops []func()
}

var _ prometheus.Collector = (*Collector)(nil)

// New returns a collector of gates by name. It observes them from now on for the
// histograms, which costs less than a microsecond for each permit, see BenchmarkAcquire; everything else is read
// when Prometheus asks. It copies the map, and panics if a gate is nil.
func New(gates map[string]*gate.Gate) *Collector {
	for name, g := range gates {
		if g == nil {
			panic(fmt.Sprintf("promgate: New: the gate %q is nil", name))
		}
	}
	histogram := func(name, help string, labels ...string) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "poolgate_gate_" + name, Help: help, Buckets: buckets,
		}, append([]string{labelPool, labelClass}, labels...))
	}
	c := &Collector{
		gates: maps.Clone(gates),
		names: slices.Sorted(maps.Keys(gates)),
		wait: histogram("wait_time_seconds",
			"Time that callers waited for a permit, however it ended; 0 for those admitted or refused at once.", labelError),
		hold: histogram("hold_time_seconds", "Time for which a permit was held."),
	}
	for name, g := range c.gates {
		c.stops = append(c.stops, g.Observe(c.observer(name, g)))
	}
	return c
}

// NewDB returns a collector of DBs by name. It collects what [New] collects of their
// gates, and the connections behind these. NewDB panics if a DB is nil.
func NewDB(dbs map[string]*poolgate.DB) *Collector {
	gates := make(map[string]*gate.Gate)
	for name, db := range dbs {
		if db == nil {
			panic(fmt.Sprintf("promgate: NewDB: the DB %q is nil", name))
		}
		gates[name] = db.Gate()
	}
	c := New(gates)
	c.dbs = maps.Clone(dbs)
	return c
}

// Close stops observing the gates. The collector then still collects, and its
// histograms no longer change. Unregister it from its registry first.
func (c *Collector) Close() {
	for _, stop := range c.stops {
		stop()
	}
}

// observer feeds the histograms of one gate. Those of the classes are looked up
// once, since a lookup takes longer than an observation.
func (c *Collector) observer(pool string, g *gate.Gate) gate.Observer {
	admitted, held := map[string]prometheus.Observer{}, map[string]prometheus.Observer{}
	for _, class := range classes(g.Stats()) {
		admitted[class.Name] = c.wait.WithLabelValues(pool, class.Name, "")
		held[class.Name] = c.hold.WithLabelValues(pool, class.Name)
	}
	return gate.Observer{
		AcquireEnd: func(_ context.Context, a gate.AcquireEnd) {
			if a.Optional && a.Err != nil {
				return
			}
			wait := admitted[a.Class]
			if a.Err != nil || wait == nil {
				class := a.Class
				if wait == nil { // the gate does not have it, and its name can be any text
					class = ""
				}
				wait = c.wait.WithLabelValues(pool, class, errorType(a.Err))
			}
			wait.Observe(a.Waited.Seconds())
		},
		Release: func(r gate.Release) {
			if r.Held > 0 { // 0 if the permit was taken before the collector came
				held[r.Class].Observe(r.Held.Seconds())
			}
		},
	}
}

// Describe implements prometheus.Collector.
func (c *Collector) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{descLimit, descInFlight, descWaiting, descOldestWait, descRefusals, descLeaks,
		descShare, descTarget, descDemand, descBudget, descMembers, descActive, descHeartbeats, descFailures} {
		descs <- d
	}
	if c.dbs != nil {
		descs <- descCount
		descs <- descMax
		descs <- descPending
	}
	c.wait.Describe(descs)
	c.hold.Describe(descs)
}

// Collect implements prometheus.Collector. It takes each gate's lock for a few
// microseconds for each class.
func (c *Collector) Collect(metrics chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	counter := func(d *prometheus.Desc, value uint64, labels ...string) {
		metrics <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(value), labels...)
	}
	for _, pool := range c.names {
		s := c.gates[pool].Stats()
		if db := c.dbs[pool]; db != nil {
			connections := db.Stats()
			gauge(descCount, float64(connections.InUse), pool, "used")
			gauge(descCount, float64(connections.Idle), pool, "idle")
			most := db.Gate().MostPermits()
			if s.Share.Held {
				most = min(most, s.Share.Permits)
			}
			gauge(descMax, float64(most), pool)
			gauge(descPending, float64(s.Waiting), pool)
		}
		if f := s.Share; f.Held {
			gauge(descShare, float64(f.Permits), pool)
			gauge(descTarget, float64(f.Target), pool)
			gauge(descDemand, f.Demand, pool)
			gauge(descBudget, float64(f.Budget), pool)
			gauge(descMembers, float64(f.Members), pool)
			gauge(descActive, float64(f.Active), pool)
			counter(descHeartbeats, f.Heartbeats, pool)
			counter(descFailures, f.Failures, pool)
		}
		gauge(descLimit, float64(s.FoundLimit()), pool)
		counter(descRefusals, s.UnknownClass, pool, "", gate.ErrUnknownClass.String())
		for _, class := range classes(s) {
			gauge(descInFlight, float64(class.InFlight), pool, class.Name)
			gauge(descWaiting, float64(class.Waiting), pool, class.Name)
			gauge(descOldestWait, class.OldestWait.Seconds(), pool, class.Name)
			counter(descLeaks, class.Leaked, pool, class.Name)
			for _, reason := range gate.Reasons() {
				if reason != gate.ErrUnknownClass { // which has no class
					counter(descRefusals, class.RefusedFor(reason), pool, class.Name, reason.String())
				}
			}
		}
	}
	c.wait.Collect(metrics)
	c.hold.Collect(metrics)
}

// classes returns those of the gate, and the lane beside its limit.
func classes(s gate.Stats) []gate.ClassStats { return append(s.Classes, s.OutOfBand) }
