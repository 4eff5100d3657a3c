// Package logging writes what a poolgate.DB does to a log/slog logger: refusals,
// leaks, slow waits and slow statements for whoever looks after a program, and
// every statement for whoever writes it.
//
//	stop := db.Observe(logging.New(slog.Default(), logging.Options{}))
//
// The levels are, for a logger's handler to choose from:
//
//	warn   a refusal, a leak, a connection that could not be had, a wait or a
//	       statement that took Options.Slow
//	info   a change of the limit, the end of a leak; statements, with Options.Echo
//	debug  statements, and what a checkout waited and held
//
// Each line has what the context carries, if the handler looks for it: a trace's
// number, for instance. Nothing is written that could be a secret, unless
// Options.Values asks for it: a statement has ? for each of its literals, and of
// an error there is its type, or its SQLSTATE.
//
// The executions of a prepared statement are not seen.
package logging
