// Package socket owns the sockets below the drivers' connections. It knows what
// the drivers do not tell: how much was sent, whether the server has closed an
// idle connection, and when the server's process for a connection has ended.
//
// A [Line] dials for one connection: the [Conn] of the connection itself, and
// the short-lived ones by which the driver asks the server to cancel.
package socket

import "time"

// Patience is how long a call may go on after its context has ended. Until then
// the server can answer the request to cancel, and the connection can be kept;
// after that reads and writes fail.
const Patience = 150 * time.Millisecond

const (
	// cancelTimeout bounds a request to cancel that no caller waits for.
	cancelTimeout = 500 * time.Millisecond

	// lingerTimeout bounds the wait for the server's end of a connection that
	// was given up before it was established. The caller waits for that.
	lingerTimeout = 100 * time.Millisecond

	// EndTimeout bounds Conn.End.
	EndTimeout = 10 * time.Second

	// firstEndWait is how long Conn.End waits before it asks whether the
	// server can be reached, and endWait how long before it asks again. The
	// latter is longer than it takes a server that checks its client's
	// connection every CheckInterval.
	firstEndWait = 100 * time.Millisecond
	endWait      = CheckInterval + 300*time.Millisecond
)

// CheckInterval is how often the server should look whether the client of a
// running statement is still there, where it can: PostgreSQL 14 and later, on
// systems that can tell.
const CheckInterval = 500 * time.Millisecond

var epoch = time.Now().Add(-1)

// clock is the time of this package, which takes half as long to read as
// time.Now. It is never 0.
func clock() time.Duration { return time.Since(epoch) }
