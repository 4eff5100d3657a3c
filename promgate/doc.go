// Package promgate exports the metrics of gates to Prometheus, for programs that
// use Prometheus' own client and not OpenTelemetry.
//
//	prometheus.MustRegister(promgate.New(map[string]*gate.Gate{"orders": db.Gate()}))
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
// All have the label db_client_connection_pool_name, which is the gate's name in
// the map, and all but the limit have poolgate_class. Wait times of refused
// callers have error_type. For the pool itself there is
// [github.com/prometheus/client_golang/prometheus/collectors.NewDBStatsCollector].
//
// The package is a Go module of its own, so that poolgate does not depend on
// Prometheus' client.
package promgate
