package poolgate

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"
)

// A connection is one of the driver's, while a seat holds it or a pool keeps it.
type connection struct {
	driver     driver.Conn
	checkout   *sql.Conn   // of the inner pool; nil if it is of a pool of our own
	statements *statements // prepared on it; nil if there are none

	// For a pool of our own.
	resetter  driver.SessionResetter // nil if it is none
	validator driver.Validator       // nil if it is none
	opened    time.Time
	spread    float64   // where in the spread of lifetimes it ends, from 0 to 1
	idleSince time.Time // known if idle connections are closed after a time
}

// A source is where the connections behind the gate come from: a pool of our own,
// or an *sql.DB. It is safe for concurrent use.
type source interface {
	// take returns a connection for s, with the context of the checkout. If
	// isNew is set it is not one that was idle.
	take(ctx context.Context, s *seat, isNew bool) (*connection, error)

	// giveBack keeps c for the next. It reports false if c has to be discarded.
	giveBack(c *connection) bool

	// discard closes c, and returns when it is closed.
	discard(c connection)

	// prepared returns the statements that are prepared on c.
	prepared(c *connection) *statements

	// fit has the source keep up to n connections, unless it was told another
	// number.
	fit(n int)

	// bound has the source keep no more than n connections, those in use
	// included, whatever it was told: it closes what is idle beyond that.
	bound(n int)

	driver() driver.Driver
	stats() sql.DBStats
	setMaxIdle(n int)
	setMaxIdleTime(d time.Duration)
	setMaxLifetime(d time.Duration)
	close() error
}
