package pqgate

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/lib/pq"

	"github.com/poolgate/poolgate/adapters/internal/dsn"
	"github.com/poolgate/poolgate/adapters/internal/socket"
)

const (
	// DefaultPingAfter is Connector.PingAfter where that is 0.
	DefaultPingAfter = time.Second

	// DefaultPingTimeout is Connector.PingTimeout where that is 0.
	DefaultPingTimeout = 500 * time.Millisecond
)

// A Connector opens the connections of a pool, each a [Conn], as [Open] does.
// It is for code that sets its fields, or wraps it, before it hands it to
// poolgate.OpenDB. In a pool of sql.OpenDB callers would wait for [Conn.Close].
//
// It is safe for concurrent use, but its fields must not be changed once it is
// used.
type Connector struct {
	// PingAfter is how long a connection may be idle without a ping when it is
	// used again. If it is negative, a ping is sent only on a connection on
	// which there is something to read, or that was idle when another was
	// found dead.
	PingAfter time.Duration

	// PingTimeout is how long that ping may take before the connection is
	// taken for dead. It is cut to half of the time that the caller's context
	// leaves.
	PingTimeout time.Duration

	name      string
	config    pq.Config
	pgBouncer bool
	check     dsn.ClientCheck
	silence   socket.Silence
	role      socket.Role
}

// NewConnector returns the connector for a data source name, or the error that
// Open would return for it.
func NewConnector(name string) (*Connector, error) {
	config, err := parse(name)
	if err != nil {
		return nil, fmt.Errorf("pqgate: %w", err)
	}
	if _, err := pq.NewConnectorConfig(config); err != nil {
		return nil, fmt.Errorf("pqgate: %w", err)
	}
	return newConnector(name, config), nil
}

func newConnector(name string, config pq.Config) *Connector {
	c := &Connector{name: name, config: config}
	c.role.Wanted = roles[config.TargetSessionAttrs] != ""
	_, set := config.Runtime[dsn.ClientCheckSetting]
	if set || strings.Contains(config.Options, dsn.ClientCheckSetting) {
		c.check.Off()
	}
	return c
}

// BehindPgBouncer returns a connector like c for a PgBouncer in transaction mode.
// OpenDB takes it where poolgate.Config.PgBouncer says so. It returns an error if
// the data source name says binary_parameters=no.
func (c *Connector) BehindPgBouncer() (driver.Connector, error) {
	if refusesBinary(c.name) {
		return nil, errors.New("pqgate: Config.PgBouncer: with binary_parameters=no a PgBouncer in transaction mode " +
			"can return the rows of another caller; leave it out, or use binary_parameters=yes")
	}
	config := c.config.Clone()
	config.BinaryParameters = true
	b := newConnector(c.name, config)
	b.PingAfter, b.PingTimeout, b.pgBouncer = c.PingAfter, c.PingTimeout, true
	b.check.Off() // the setting would stay with a connection that others use
	return b, nil
}

// refusesBinary reports whether the data source name says binary_parameters=no,
// which is also what it means if it says nothing.
func refusesBinary(name string) bool {
	const setting = "binary_parameters"
	if u, err := url.Parse(name); err == nil && strings.HasPrefix(u.Scheme, "postgres") {
		if !u.Query().Has(setting) {
			return false
		}
	} else {
		name = setting + "=yes " + name // of two the last one counts
	}
	config, err := pq.NewConfig(name)
	return err == nil && !config.BinaryParameters
}

// Driver returns lib/pq's.
func (c *Connector) Driver() driver.Driver { return &pq.Driver{} }

func (c *Connector) ping(send func() error) socket.Ping {
	return socket.Ping{
		After:   cmp.Or(c.PingAfter, DefaultPingAfter),
		Timeout: cmp.Or(c.PingTimeout, DefaultPingTimeout),
		Send:    send,
	}
}

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

// Connect connects until ctx ends. lib/pq by itself heeds it only until the
// server has accepted the connection, and not while it waits for an answer there.
func (c *Connector) Connect(ctx context.Context) (driver.Conn, error) {
	check := c.check.Wanted()
	conn, err := c.connect(ctx, check)
	if check && c.check.Refused(err) {
		conn, err = c.connect(ctx, false)
	}
	if err != nil {
		return nil, err
	}
	return conn, nil
}

// connect connects, and asks for the setting of ClientCheck if check says so.
func (c *Connector) connect(ctx context.Context, check bool) (*Conn, error) {
	config, asked, interval := c.config, time.Now(), strconv.FormatInt(socket.CheckInterval.Milliseconds(), 10)
	// A host that refuses the setting must not have another of several tried.
	several := len(config.Multi) > 0
	if check && !several {
		config.Runtime = maps.Clone(config.Runtime)
		if config.Runtime == nil {
			config.Runtime = map[string]string{}
		}
		config.Runtime[dsn.ClientCheckSetting] = interval
	}
	inner, err := pq.NewConnectorConfig(config)
	if err != nil {
		return nil, fmt.Errorf("pqgate: %w", err)
	}
	conn := &Conn{connector: c, asked: asked}
	conn.line = &socket.Line{
		Dial:          new(net.Dialer).DialContext,
		Cancelling:    conn.cancelling,
		CancelTimeout: socket.Patience, // callers wait for it
	}
	d := &dialer{conn.line, ctx, config.ConnectTimeout, func() error { return nil }}
	inner.Dialer(d)
	opened, err := inner.Connect(ctx)
	if late := d.stop(); late != nil {
		if err == nil {
			opened.Close()
		}
		err = late
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err() // and not that the socket is closed
		}
		return nil, err
	}
	var ok bool
	if conn.inner, ok = opened.(pqConn); !ok {
		opened.Close()
		return nil, fmt.Errorf("pqgate: this version of lib/pq is not supported: %T lacks a method", opened)
	}
	conn.socket = conn.line.Established(nil)
	if config.LoadBalanceHosts != pq.LoadBalanceHostsRandom {
		c.role.Opened(conn.socket, asked)
	}
	if check && several {
		if _, err := conn.ExecContext(ctx, "set "+dsn.ClientCheckSetting+" = "+interval, nil); err != nil && conn.dead() {
			conn.Close()
			return nil, err
		}
	}
	conn.ping = c.ping(func() error { return conn.inner.Ping(context.Background()) })
	conn.checkout = conn.socket.Sent()
	return conn, nil
}

// dialer dials for one connection of lib/pq.
type dialer struct {
	line *socket.Line

	// ctx is that of Connect, without the connect timeout, which ends when
	// the dialer returns.
	ctx context.Context

	// timeout bounds the attempt with each host. lib/pq by itself does not heed
	// it while it asks for what target_session_attrs says.
	timeout time.Duration

	// stop has the socket that was dialled last stay open when ctx ends, or the
	// timeout. It returns an error if that has happened.
	stop func() error
}

func (d *dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.line.DialContext(ctx, network, address)
	if err == nil && socket.Of(conn) != nil {
		d.stop()
		ctx, cancel := context.WithTimeoutCause(d.ctx, d.timeout,
			fmt.Errorf("pqgate: connecting to %s took longer than %v", address, d.timeout))
		stop := context.AfterFunc(ctx, func() { conn.Close() })
		d.stop = func() error {
			defer cancel()
			if !stop() {
				return context.Cause(ctx)
			}
			return nil
		}
	}
	return conn, err
}

// Dial and DialTimeout are there because pq.Dialer wants them; lib/pq calls
// DialContext.
func (d *dialer) Dial(network, address string) (net.Conn, error) {
	return d.DialContext(context.Background(), network, address)
}

func (d *dialer) DialTimeout(network, address string, timeout time.Duration) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	return d.DialContext(ctx, network, address)
}
