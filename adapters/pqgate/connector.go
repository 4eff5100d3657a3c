package pqgate

import (
	"context"
	"database/sql/driver"
	"fmt"
	"net"
	"time"

	"github.com/lib/pq"
)

// A Connector opens the connections of a pool, each a [Conn], as [Open] does it,
// for whoever wraps it before he hands it to sql.OpenDB. It is safe for
// concurrent use.
type Connector struct {
	inner  *pq.Connector
	config pq.Config
}

// NewConnector returns the connector for a data source name, or the error that
// Open would return for it.
func NewConnector(name string) (*Connector, error) {
	config, err := parse(name)
	if err != nil {
		return nil, fmt.Errorf("pqgate: %w", err)
	}
	c, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, fmt.Errorf("pqgate: %w", err)
	}
	c.Dialer(&dialer{})
	return &Connector{c, config}, nil
}

// Driver returns lib/pq's.
func (c *Connector) Driver() driver.Driver { return c.inner.Driver() }

// Server returns the host's name or address, or the folder of its Unix socket,
// and the port. Where the name has several, which are tried in turn, it returns
// "" and 0.
func (c *Connector) Server() (host string, port int) {
	if len(c.config.Multi) > 0 {
		return "", 0
	}
	return c.config.Host, int(c.config.Port)
}

// Database returns the name of the database, as the server gets it.
func (c *Connector) Database() string {
	if c.config.Database == "" {
		return c.config.User // so the server has it
	}
	return c.config.Database
}

// Connect connects until ctx ends. lib/pq itself heeds it only until the server
// has accepted the connection, and not while it waits for an answer there.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	a := &attempt{ctx: ctx, stop: func() bool { return true }}
	conn, err := c.inner.Connect(context.WithValue(ctx, attemptKey{}, a))
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
