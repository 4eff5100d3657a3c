package socket

import (
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// A Conn is the socket of a driver's connection, below TLS. The driver reads
// and writes as usual. It closes it only in part, as long as the connection is
// in use: [Conn.End] does the rest. Deadlines, Close and Err are safe for
// concurrent use, as with any net.Conn.
type Conn struct {
	net.Conn
	network, address string // of the server

	sent atomic.Int64

	// refusing has writes fail, and refused is set when one did. Only the
	// goroutine that uses the connection touches them.
	refusing, refused bool

	// writes limits writes, if it is not nil. The same goroutine sets it.
	writes context.Context

	heard time.Duration // when the server was heard last, as far as that counts; on clock

	mu    sync.Mutex // guards what follows, and deadlines against End
	state state
	err   error // the first that a read or a write returned
}

type state int

const (
	connecting state = iota // the driver's Close closes the socket, after the server has
	busy                    // the driver's Close ends only its own side
	idle                    // the driver's Close closes the socket at once
	ending                  // the driver has no say any more
)

var errRefused = errors.New("socket: writing is refused")

// Sent returns how many bytes were written. It is 0 on nil, for a connection
// whose socket is not known.
func (c *Conn) Sent() int64 {
	if c == nil {
		return 0
	}
	return c.sent.Load()
}

// Err returns the first error of a read or a write, or nil.
func (c *Conn) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

func (c *Conn) fail(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err == nil {
		c.err = err
	}
}

func (c *Conn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err != nil {
		c.fail(err)
	}
	return n, err
}

func (c *Conn) Write(b []byte) (int, error) {
	if c.refusing {
		c.refused = true
		return 0, errRefused
	}
	if c.writes != nil {
		// Not the deadline of reads, which may have been set meanwhile.
		defer limit(c.writes, Patience, 0, c.SetWriteDeadline)()
	}
	n, err := c.Conn.Write(b)
	c.sent.Add(int64(n))
	if err != nil {
		c.fail(err)
	}
	return n, err
}

// Writes reports whether f writes. What it writes is not sent.
func (c *Conn) Writes(f func()) bool {
	c.refusing, c.refused = true, false
	f()
	c.refusing = false
	return c.refused
}

// SetDeadline sets both deadlines, unless End is under way, which sets its own.
func (c *Conn) SetDeadline(t time.Time) error { return c.deadline(c.Conn.SetDeadline, t) }

// SetReadDeadline is like SetDeadline.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.deadline(c.Conn.SetReadDeadline, t) }

// SetWriteDeadline is like SetDeadline.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.deadline(c.Conn.SetWriteDeadline, t) }

func (c *Conn) deadline(set func(time.Time) error, t time.Time) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state == ending {
		return nil
	}
	return set(t)
}

// Limit has reads and writes fail when ctx has ended and grace has passed since,
// or after timeout if that is not 0. The function that it returns lifts the
// limit. It is for calls during which the driver itself does not heed ctx.
func (c *Conn) Limit(ctx context.Context, grace, timeout time.Duration) (lift func()) {
	return limit(ctx, grace, timeout, c.SetDeadline)
}

// limit is Limit for what set sets the deadline of.
func limit(ctx context.Context, grace, timeout time.Duration, set func(time.Time) error) (lift func()) {
	if timeout > 0 {
		set(time.Now().Add(timeout))
	}
	if ctx.Done() == nil {
		if timeout == 0 {
			return func() {}
		}
		return func() { set(time.Time{}) }
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		set(time.Now().Add(grace))
	})
	return func() {
		stopped := stop()
		if !stopped {
			<-ended
		}
		if !stopped || timeout > 0 {
			set(time.Time{})
		}
	}
}

// LimitWrites has writes fail when ctx has ended and Patience has passed since.
// It costs nothing where nothing is written. The function that it returns lifts
// the limit.
func (c *Conn) LimitWrites(ctx context.Context) (lift func()) {
	c.writes = ctx
	return func() { c.writes = nil }
}

// Busy says that the connection is in use: from now on the server may work for
// it. Idle says that it is not.
func (c *Conn) Busy() { c.set(busy) }

// Idle is the opposite of Busy. The server was heard just now.
func (c *Conn) Idle() {
	c.heard = clock()
	c.set(idle)
}

// IsIdle reports whether Idle was called last.
func (c *Conn) IsIdle() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state == idle
}

func (c *Conn) set(s state) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.state != ending {
		c.state = s
	}
}

// Close is called by the driver. It closes the socket of an idle connection,
// and of one that never came about, where it gives the server a moment to
// notice. The socket of a connection in use can no longer be read or written
// by the driver afterwards, but stays open until End has seen the server's end.
func (c *Conn) Close() error {
	c.mu.Lock()
	was := c.state
	if was != busy {
		c.state = ending
	} else {
		c.Conn.SetDeadline(time.Unix(1, 0))
	}
	c.mu.Unlock()
	switch was {
	case connecting:
		c.closeWrite()
		c.drained(lingerTimeout)
		return c.Conn.Close()
	case idle:
		return c.Conn.Close()
	case busy:
		c.closeWrite()
	}
	return nil
}

// End closes the socket of a connection that may be in use, and returns when
// the server's process for it has ended, as far as that can be known. It ends
// the client's side, which a server that is idle, or that checks its client's
// connection, notices, and waits for the server to close its own.
//
// When that takes longer than it should, and again and again, End calls reach, which reports
// whether the server can be reached, and may ask it to cancel once more. Of a
// server that cannot be reached nothing is known, and End gives up. It does so
// in any case after EndTimeout.
func (c *Conn) End(reach func() bool) {
	c.mu.Lock()
	c.state = ending
	c.mu.Unlock()
	defer c.Conn.Close()
	c.closeWrite()
	start := time.Now()
	for wait := firstEndWait; !c.drained(wait); wait = endWait {
		if time.Since(start) > EndTimeout || !reach() {
			return
		}
	}
}

// closeWrite ends the client's side: the server reads an end.
func (c *Conn) closeWrite() {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		half.CloseWrite()
	}
}

// drained reads until the server closes its side, and reports whether it has
// done so within wait.
func (c *Conn) drained(wait time.Duration) bool {
	c.Conn.SetDeadline(time.Now().Add(wait))
	b := make([]byte, 16<<10)
	for {
		if _, err := c.Conn.Read(b); err != nil {
			return !errors.Is(err, os.ErrDeadlineExceeded)
		}
	}
}

// Unread reports whether there is something to read, see [Unread].
func (c *Conn) Unread() bool { return Unread(c.Conn) }
