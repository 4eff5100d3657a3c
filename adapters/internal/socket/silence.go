package socket

import (
	"context"
	"database/sql/driver"
	"sync/atomic"
	"time"
)

// minPing is the shortest time in which a ping is tried.
const minPing = 100 * time.Millisecond

// A Silence finds idle connections whose peers have vanished without a word, as
// behind a firewall that has dropped them, or when a host fails. It belongs to
// all connections of a pool: what one of them finds is true of those that have
// been idle for as long. It is safe for concurrent use.
type Silence struct {
	// lost is the time, in nanoseconds since the epoch, before which the
	// connections were heard last that are lost; suspect that of those that
	// may be, since they were idle when that was found.
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

// Check returns driver.ErrBadConn if the idle connection c, on which the server
// was last heard at the given time, is not to be used again. Where there is a
// doubt it sends a ping.
//
// A ping takes at most half of the time that ctx leaves, so that the caller can
// still use another connection. Where that is too little to say anything, there
// is none.
func (s *Silence) Check(ctx context.Context, c *Conn, heard time.Time, ping Ping) error {
	if heard.UnixNano() <= s.lost.Load() {
		return driver.ErrBadConn
	}
	start, unread := time.Now(), c.Unread()
	doubtful := unread || heard.UnixNano() <= s.suspect.Load() || ping.After >= 0 && start.Sub(heard) >= ping.After
	if !doubtful {
		return nil
	}
	timeout := ping.Timeout
	if end, ok := ctx.Deadline(); ok {
		timeout = min(timeout, end.Sub(start)/2)
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
	if timeout == ping.Timeout && ctx.Err() == nil && time.Since(start) >= timeout {
		raise(&s.lost, heard)
		raise(&s.suspect, start)
	}
	return driver.ErrBadConn
}

// raise sets v to t, unless it is later already.
func raise(v *atomic.Int64, t time.Time) {
	for n := t.UnixNano(); ; {
		old := v.Load()
		if old >= n || v.CompareAndSwap(old, n) {
			return
		}
	}
}
