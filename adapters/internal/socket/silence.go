package socket

import (
	"context"
	"database/sql/driver"
	"sync/atomic"
	"time"
)

// minPing is the shortest time in which a ping is tried.
const minPing = 100 * time.Millisecond

// lookAfter is how long a connection is idle until its socket is looked at before
// it is used again. A look is a system call, a third of those for a small
// statement. Where callers wait for connections, each is used again after a
// microsecond or two, which is no time for an end of it to arrive: even on one
// machine a round trip takes longer.
const lookAfter = 5 * time.Microsecond

// A Silence finds idle connections whose peers have vanished without a word, as
// behind a firewall that has dropped them, or when a host fails. It belongs to
// all connections of a pool: what one of them finds is true of those that have
// been idle for as long. It is safe for concurrent use.
type Silence struct {
	// lost is the time, in nanoseconds of clock, before which the connections
	// were heard last that are lost; suspect that of those that may be, since
	// they were idle when that was found.
	lost, suspect atomic.Int64
}

// A Ping is when and how to ask the server of an idle connection for an answer.
type Ping struct {
	// After is how long a connection may be idle without a ping. If it is
	// negative, only what looks wrong is pinged.
	After time.Duration

	// Timeout is how long a ping may take.
	Timeout time.Duration

	// Send sends the ping and waits for the answer.
	Send func() error
}

// Check returns driver.ErrBadConn if the idle connection c is not to be used
// again. Where there is a doubt it sends a ping.
//
// A ping takes at most half of the time that ctx leaves, so that the caller can
// still use another connection. Where that is too little to say anything, there
// is none.
func (s *Silence) Check(ctx context.Context, c *Conn, ping *Ping) error {
	heard := int64(c.heard)
	if heard <= s.lost.Load() {
		return driver.ErrBadConn
	}
	start := clock()
	idle := start - c.heard
	unread := idle > lookAfter && c.Unread()
	doubtful := unread || heard <= s.suspect.Load() || ping.After >= 0 && idle >= ping.After
	if !doubtful {
		return nil
	}
	timeout := ping.Timeout
	if end, ok := ctx.Deadline(); ok {
		timeout = min(timeout, time.Until(end)/2)
	}
	if timeout < min(minPing, ping.Timeout) {
		if !unread {
			return nil
		}
		timeout = minPing
	}
	lift := c.Limit(ctx, 0, timeout)
	err := ping.Send()
	lift()
	if err == nil {
		return nil
	}
	if timeout == ping.Timeout && ctx.Err() == nil && clock()-start >= timeout {
		raise(&s.lost, heard)
		raise(&s.suspect, int64(start))
	}
	return driver.ErrBadConn
}

// raise sets v to n, unless it is more already.
func raise(v *atomic.Int64, n int64) {
	for {
		old := v.Load()
		if old >= n || v.CompareAndSwap(old, n) {
			return
		}
	}
}
