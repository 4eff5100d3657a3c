package socket

import (
	"context"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// DialFunc is net.Dialer.DialContext, or another of its kind.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// A Line is what one connection of a driver dials with: first for itself, maybe
// several times, then whenever it wants the server to cancel.
type Line struct {
	// Dial dials. Line does the rest.
	Dial DialFunc

	// Cancelling is called when the driver begins to ask the server to cancel,
	// if it is not nil.
	Cancelling func()

	// CancelTimeout bounds each request to cancel. It is Patience where callers
	// wait for that, and if it is 0 half a second.
	CancelTimeout time.Duration

	conn        *Conn // what was dialled last
	established atomic.Bool
	cancels     atomic.Int64 // requests to cancel
	answered    atomic.Int64 // those that the server has taken
}

// DialContext dials.
func (l *Line) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	if l.established.Load() {
		return l.dialCancel(ctx)
	}
	conn, err := l.Dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	// A name can stand for several servers, of which this is one.
	if peer := conn.RemoteAddr(); peer != nil && peer.Network() == "tcp" {
		address = peer.String()
	}
	l.conn = &Conn{Conn: conn, network: network, address: address, heard: clock()}
	return l.conn, nil
}

// Established says that the connection has come about, and returns its socket,
// which is in use. Whatever is dialled from now on is to cancel. conn is what
// the driver reads and writes; if it is nil, its socket is what was dialled last.
func (l *Line) Established(conn net.Conn) *Conn {
	l.established.Store(true)
	if own := Of(conn); own != nil {
		l.conn = own
	}
	l.conn.Busy()
	return l.conn
}

// Of returns the socket below conn, which may be encrypted, or nil if there is
// none that a Line has dialled.
func Of(conn net.Conn) *Conn {
	if encrypted, ok := conn.(interface{ NetConn() net.Conn }); ok { // *tls.Conn
		conn = encrypted.NetConn()
	}
	own, _ := conn.(*Conn)
	return own
}

// Settled reports whether the server has taken all requests to cancel. One that
// it has not may arrive at any time, and hit another statement.
func (l *Line) Settled() bool { return l.cancels.Load() == l.answered.Load() }

// Answered returns how many requests to cancel the server has taken.
func (l *Line) Answered() int64 { return l.answered.Load() }

// dialCancel dials for a request to cancel, to the server of the connection.
// Whatever the driver does with it ends in time.
func (l *Line) dialCancel(ctx context.Context) (net.Conn, error) {
	l.cancels.Add(1)
	if l.Cancelling != nil {
		l.Cancelling()
	}
	timeout := l.CancelTimeout
	if timeout == 0 {
		timeout = cancelTimeout
	}
	end := time.Now().Add(timeout)
	ctx, cancel := context.WithDeadline(ctx, end)
	defer cancel()
	conn, err := l.Dial(ctx, l.conn.network, l.conn.address)
	if err != nil {
		return nil, err
	}
	conn.SetDeadline(end)
	return &cancelConn{Conn: conn, line: l, end: end}, nil
}

// Reachable reports whether the server answers at all. It asks for encryption,
// which costs no authentication, and takes any answer.
func (l *Line) Reachable() bool {
	ctx, cancel := context.WithTimeout(context.Background(), cancelTimeout)
	defer cancel()
	conn, err := l.Dial(ctx, l.conn.network, l.conn.address)
	if err != nil {
		return false
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(cancelTimeout))
	sslRequest := []byte{0, 0, 0, 8, 0x04, 0xd2, 0x16, 0x2f}
	if _, err := conn.Write(sslRequest); err != nil {
		return false
	}
	_, err = io.ReadFull(conn, sslRequest[:1])
	return err == nil
}

// cancelConn is the socket of a request to cancel. The server says nothing on
// it, and closes it when it has done what was asked for.
type cancelConn struct {
	net.Conn
	line  *Line
	end   time.Time // no deadline may be later
	ended bool
}

func (c *cancelConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if err == io.EOF && !c.ended {
		c.ended = true
		c.line.answered.Add(1)
	}
	return n, err
}

func (c *cancelConn) SetDeadline(t time.Time) error { return c.Conn.SetDeadline(c.earlier(t)) }

func (c *cancelConn) SetReadDeadline(t time.Time) error { return c.Conn.SetReadDeadline(c.earlier(t)) }

func (c *cancelConn) SetWriteDeadline(t time.Time) error {
	return c.Conn.SetWriteDeadline(c.earlier(t))
}

func (c *cancelConn) earlier(t time.Time) time.Time {
	if t.IsZero() || t.After(c.end) {
		return c.end
	}
	return t
}
