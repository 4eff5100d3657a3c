// Package tracing shows in OpenTelemetry's traces and metrics what a
// poolgate.DB does: who waits for a permit and who works.
//
//	db, err := tracing.Open(pgxgate.NewConnector, dsn, poolgate.Config{Gate: gate.Config{Limit: 40}},
//		tracing.WithTracerProvider(traces), tracing.WithMeterProvider(metrics))
//
// [Open] has the gate outside and otelsql inside, so that each statement has a
// span too. [Instrument] does the same, but for the statements, for a DB that is
// open already. Nothing global is used unless [WithGlobalProviders] asks for it.
//
// # The spans
//
// All are children of the span in the context of the call, side by side, so that
// a trace of a slow request reads from left to right:
//
//	GET /orders        ├──────────────────────────────┤
//	poolgate.wait       ├─────────┤                       for a permit
//	poolgate.lease                ├────────────────┤      the connection is held
//	sql.connector.connect         ├──┤                    it had to be opened
//	sql.conn.query                    ├──┤                the server works
//	sql.rows                              ├────────┤      the rows are read
//
// There is no wait's span where nobody waited, and none for a row. What units of
// work and gathers do is seen where the context comes from [Operations].
//
// docs/observability.md has every span, attribute and metric, and what to read
// from them.
//
// # What is kept out
//
// No argument of a statement, no literal in its text, no password and no text
// of an error of the server leaves in a span or a metric: of an error there is
// its type, and its SQLSTATE. The name of a class, of the pool, and what
// [WithAttributes] adds, are shown as they are. So are names in a statement's
// text: of tables, columns and settings.
package tracing
