package pqgate

import (
	"context"
	"database/sql/driver"
	"fmt"
	"net"
	"time"

	"github.com/lib/pq"
)

// connector is lib/pq's, with connections that are a [Conn].
type connector struct{ *pq.Connector }

func newConnector(name string) (driver.Connector, error) {
	config, err := parse(name)
	if err != nil {
		return nil, err
	}
	c, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, err
	}
	c.Dialer(&dialer{})
	return connector{c}, nil
}

// Connect connects until ctx ends. lib/pq itself heeds it only until the server
// has accepted the connection, and not while it waits for an answer there.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	a := &attempt{ctx: ctx, stop: func() bool { return true }}
	conn, err := c.Connector.Connect(context.WithValue(ctx, attemptKey{}, a))
	if inTime := a.stop(); !inTime && err == nil {
		conn.Close()
		err = ctx.Err()
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err() // and not that the socket is closed
		}
		return nil, err
	}
	all, ok := conn.(pqConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("pqgate: this version of lib/pq is not supported: %T lacks a method", conn)
	}
	return &Conn{pqConn: all, socket: a.socket}, nil
}

// attempt is one call of Connect, which the dialer finds in its context.
type attempt struct {
	ctx    context.Context // without the connect timeout, which ends when the dialer returns
	socket net.Conn        // what was dialled last: lib/pq may try several hosts
	stop   func() bool     // has socket stay open when ctx ends; false if it has ended
}

type attemptKey struct{}

// dialer dials for lib/pq, for connections and to cancel what runs on one.
type dialer struct{ net.Dialer }

func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	socket, err := d.Dialer.DialContext(ctx, network, address)
	if a, ok := ctx.Value(attemptKey{}).(*attempt); ok && err == nil {
		a.stop()
		a.socket = socket
		a.stop = context.AfterFunc(a.ctx, func() { socket.Close() })
	}
	return socket, err
}

// DialTimeout is there because pq.Dialer wants it; lib/pq calls DialContext.
func (d *dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	return net.DialTimeout(network, address, timeout)
}
