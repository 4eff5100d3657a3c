// Package tracing shows in OpenTelemetry's traces and metrics what a poolgate.DB
// does: who waits for a permit, and who works.
//
//	db, err := tracing.Open(pgxgate.NewConnector, dsn, poolgate.Config{Gate: gate.Config{Limit: 40}},
//		tracing.WithTracerProvider(traces), tracing.WithMeterProvider(metrics))
//
// [Open] puts the gate outside and otelsql inside, so that each statement has a
// span too. [Instrument] adds everything but the statements to a DB that is already
// open. The package uses nothing global unless [WithGlobalProviders] is given.
//
// # Spans
//
// All spans are children of the span in the context of the call, so a trace of a
// slow request reads from left to right:
//
//	GET /orders        ├──────────────────────────────┤
//	poolgate.wait       ├─────────┤                       for a permit
//	poolgate.lease                ├────────────────┤      the connection is held
//	sql.connector.connect         ├──┤                    it had to be opened
//	sql.conn.query                    ├──┤                the server works
//	sql.rows                              ├────────┤      the rows are read
//
// A call that did not wait has no poolgate.wait. Units of work and gathers have spans if the context comes from [Operations].
//
// docs/observability.md lists every span, attribute and metric, and says how to
// read them.
//
// # Secrets
//
// Spans and metrics contain no argument of a statement, no literal of its text, no
// password, and no text of an error of the server. An error appears as its SQLSTATE
// or its type. Names of classes and pools, what [WithAttributes] adds, and the names
// of tables, columns and settings in a statement appear as they are.
package tracing
