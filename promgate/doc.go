// Package promgate exports the metrics of gates to Prometheus, for programs that
// use Prometheus' own client and not OpenTelemetry.
//
//	prometheus.MustRegister(promgate.NewDB(map[string]*poolgate.DB{"orders": db}))
//
// [New] is for gates without a database.
//
// The metrics have the names and labels that package tracing's have once
// OpenTelemetry's exporter has brought them to Prometheus, so the dashboard and
// the alerts of examples/tracing that look at gates work with both:
//
//	poolgate_gate_limit                   gauge      permits that may be out at once
//	poolgate_gate_in_flight               gauge      permits that are out
//	poolgate_gate_waiting                 gauge      callers that wait for a permit
//	poolgate_gate_oldest_wait_seconds     gauge      how long the longest waiter has waited
//	poolgate_gate_refusals_total          counter    callers refused, by error_type
//	poolgate_gate_leaks_total             counter    permits held longer than LeakAfter
//	poolgate_gate_wait_time_seconds       histogram  time that callers waited, however it ended
//	poolgate_gate_hold_time_seconds       histogram  time for which permits were held
//
//	poolgate_fleet_share                  gauge      connections that this member of a fleet may have
//	poolgate_fleet_target                 gauge      connections that would be fair for it
//	poolgate_fleet_demand                 gauge      connections that it needs, smoothed
//	poolgate_fleet_budget                 gauge      connections that all members may have together
//	poolgate_fleet_members                gauge      members that the store knows
//	poolgate_fleet_active_members         gauge      members that need or have connections
//	poolgate_fleet_heartbeats_total       counter    heartbeats that the store has answered
//	poolgate_fleet_failures_total         counter    heartbeats that it has not
//
//	db_client_connection_count            gauge      connections, by state: used or idle
//	db_client_connection_max              gauge      connections that can be used at once
//	db_client_connection_pending_requests gauge      callers that wait for a permit
//
// All have the label db_client_connection_pool_name, which is the gate's name in
// the map, and the others of gates than the limit have poolgate_class. Wait times of
// refused callers have error_type. Those of a fleet are there for a gate whose DB has
// joined one. The last three are those of NewDB alone.
//
// The package is a Go module of its own, so that poolgate does not depend on
// Prometheus' client.
package promgate
