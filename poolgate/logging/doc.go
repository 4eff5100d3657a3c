// Package logging writes what a poolgate.DB does to a log/slog logger: in
// production refusals, leaks, slow waits and slow statements, and during development
// every statement.
//
//	stop := db.Observe(logging.New(slog.Default(), logging.Config{}))
//
// The levels are:
//
//	warn   a refusal, a leak, a failed connection, a failed heartbeat of a fleet, a
//	       wait or a statement that took Config.Slow or longer
//	info   a change of the limit, the end of a leak, the first heartbeat after failed
//	       ones; statements, with Config.Echo
//	debug  statements, how long each checkout waited and held its connection, and
//	       heartbeats of a fleet
//
// The logger gets the context of each call, so a handler can add what the context
// carries, such as the id of a trace. No line contains a secret, unless
// Config.Values is set: a statement has ? for each of its literals, and an error
// appears as its SQLSTATE or its type.
package logging
