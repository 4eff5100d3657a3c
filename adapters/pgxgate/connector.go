package pgxgate

import (
	"cmp"
	"context"
	"database/sql/driver"
	"fmt"
	"maps"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/poolgate/poolgate/adapters/internal/dsn"
	"github.com/poolgate/poolgate/adapters/internal/pgxlink"
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

	config    *pgx.ConnConfig
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
		return nil, fmt.Errorf("pgxgate: %w", err)
	}
	return newConnector(config), nil
}

func newConnector(config *pgx.ConnConfig) *Connector {
	c := &Connector{config: config}
	c.role.Wanted = config.ValidateConnect != nil
	_, set := config.RuntimeParams[dsn.ClientCheckSetting]
	if set || strings.Contains(config.RuntimeParams["options"], dsn.ClientCheckSetting) {
		c.check.Off()
	}
	return c
}

// Unprepared returns a connector whose connections prepare no statements that they
// are not asked to prepare. DB.Ungated takes it: the texts of heartbeats differ, and
// pgx would prepare each of them and keep the last 512.
func (c *Connector) Unprepared() driver.Connector {
	config := c.config.Copy()
	switch config.DefaultQueryExecMode {
	case pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe:
		config.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	return c.with(config)
}

// BehindPgBouncer returns a connector like c for a PgBouncer in transaction mode.
// OpenDB takes it where poolgate.Config.PgBouncer says so. It returns an error if
// the data source name has a default_query_exec_mode that is not right there.
func (c *Connector) BehindPgBouncer() (driver.Connector, error) {
	config := c.config.Copy()
	if err := pgxlink.BehindPgBouncer(config); err != nil {
		return nil, fmt.Errorf("pgxgate: Config.PgBouncer: %w", err)
	}
	b := c.with(config)
	b.pgBouncer = true
	b.check.Off() // the setting would stay with a connection that others use
	return b, nil
}

// with returns a connector like c that opens connections by config.
func (c *Connector) with(config *pgx.ConnConfig) *Connector {
	d := newConnector(config)
	d.PingAfter, d.PingTimeout, d.pgBouncer = c.PingAfter, c.PingTimeout, c.pgBouncer
	if !c.check.Wanted() {
		d.check.Off()
	}
	return d
}

// Driver returns pgx's driver.
func (c *Connector) Driver() driver.Driver { return stdlib.GetDefaultDriver() }

// Connect connects.
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
	config, asked := *c.config, time.Now()
	watcher := &watcher{}
	answers := &answers{}
	config.BuildFrontend = answers.build
	watcher.link = pgxlink.Attach(&config.Config, func(*pgxlink.Link) ctxwatch.Handler { return watcher })
	// A host that refuses the setting must not have another of several tried.
	several := pgxlink.SeveralHosts(c.config)
	if check && !several {
		config.RuntimeParams = maps.Clone(config.RuntimeParams)
		config.RuntimeParams[dsn.ClientCheckSetting] = strconv.FormatInt(socket.CheckInterval.Milliseconds(), 10)
	}
	opened, err := stdlib.GetConnector(config, stdlib.OptionShouldPing(never)).Connect(ctx)
	if err != nil {
		return nil, err
	}
	inner := opened.(*stdlib.Conn)
	conn := &Conn{
		connector: c,
		inner:     inner,
		pg:        inner.Conn().PgConn(),
		link:      watcher.link,
		asked:     asked,
		watcher:   watcher,
		answers:   answers,
	}
	conn.link.Established(conn.pg)
	conn.socket = conn.link.Socket
	c.role.Opened(conn.socket, asked)
	conn.ping = c.ping(func() error { return conn.pg.Ping(context.Background()) })
	if check && several {
		set := "set " + dsn.ClientCheckSetting + " = " + strconv.FormatInt(socket.CheckInterval.Milliseconds(), 10)
		if _, err := conn.ExecContext(ctx, set, nil); err != nil && conn.pg.IsClosed() {
			conn.Close()
			return nil, err
		}
	}
	conn.checkout = conn.socket.Sent()
	return conn, nil
}

// never has pgx send no ping: Conn.ResetSession does that.
func never(context.Context, stdlib.ShouldPingParams) bool { return false }

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
	if pgxlink.SeveralHosts(c.config) {
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
