package pgxpoolgate

import (
	"context"
	"maps"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolgate/poolgate/adapters/internal/dsn"
	"github.com/poolgate/poolgate/adapters/internal/pgxlink"
	"github.com/poolgate/poolgate/adapters/internal/socket"
)

const (
	// DefaultConnectTimeout bounds each attempt to connect of a pool of Open
	// where the data source name and the environment have no connect_timeout.
	DefaultConnectTimeout = 30 * time.Second

	// DefaultPingTimeout bounds the ping of a connection that was idle, in a
	// pool of Open that sets no pool_ping_timeout.
	DefaultPingTimeout = 500 * time.Millisecond

	// pingAfter is how long a connection is idle until pgxpool sends a ping.
	pingAfter = time.Second

	// lookAfter is how long a connection is idle until its socket is looked at,
	// which takes a microsecond.
	lookAfter = 10 * time.Millisecond
)

// links are the sockets of the connections of a pool. It is nil where the pool was
// made by somebody else.
type links struct {
	check dsn.ClientCheck
}

// attach has the connections that a pool of config opens dial through links.
func attach(config *pgxpool.Config) *links {
	l := &links{}
	c := config.ConnConfig
	if _, set := c.RuntimeParams[dsn.ClientCheckSetting]; set || strings.Contains(c.RuntimeParams["options"], dsn.ClientCheckSetting) {
		l.check.Off()
	}
	if c.ConnectTimeout <= 0 {
		c.ConnectTimeout = DefaultConnectTimeout
	}
	if config.PingTimeout == 0 {
		config.PingTimeout = DefaultPingTimeout
	}
	if config.ShouldPing == nil {
		config.ShouldPing = func(_ context.Context, p pgxpool.ShouldPingParams) bool {
			return p.IdleDuration > pingAfter || p.IdleDuration > lookAfter && isUnread(p.Conn)
		}
	}
	before, after := config.BeforeConnect, config.AfterConnect
	config.BeforeConnect = func(ctx context.Context, c *pgx.ConnConfig) error {
		if before != nil {
			if err := before(ctx, c); err != nil {
				return err
			}
		}
		// A host that refuses the setting must not have another of several tried.
		if l.check.Wanted() && !pgxlink.SeveralHosts(c) {
			c.RuntimeParams = maps.Clone(c.RuntimeParams)
			c.RuntimeParams[dsn.ClientCheckSetting] = checkInterval
		}
		pgxlink.Attach(&c.Config, func(link *pgxlink.Link) ctxwatch.Handler {
			link.PG.CustomData()[linkKey] = link
			return &watcher{link: link}
		})
		return nil
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if link := linkOf(conn); link != nil {
			link.Established(conn.PgConn())
			link.Socket.Idle()
		}
		if l.check.Wanted() && pgxlink.SeveralHosts(conn.Config()) {
			set := conn.PgConn().Exec(ctx, "set "+dsn.ClientCheckSetting+" = "+checkInterval)
			if err := set.Close(); err != nil && conn.IsClosed() {
				return err
			}
		}
		if after != nil {
			return after(ctx, conn)
		}
		return nil
	}
	return l
}

var checkInterval = strconv.FormatInt(socket.CheckInterval.Milliseconds(), 10)

// refused reports whether connecting failed because of what links asked for. Then
// it is not asked for again.
func (l *links) refused(err error) bool {
	return l != nil && l.check.Wanted() && l.check.Refused(err)
}

// linkKey is the key of the link in pgconn's CustomData.
const linkKey = "github.com/poolgate/poolgate/adapters/pgxpoolgate"

func linkOf(conn *pgx.Conn) *pgxlink.Link {
	link, _ := conn.PgConn().CustomData()[linkKey].(*pgxlink.Link)
	return link
}

// isUnread reports whether there is something to read on an idle connection, such
// as its end.
func isUnread(conn *pgx.Conn) bool {
	link := linkOf(conn)
	return link != nil && link.Socket.Unread()
}

// A watcher is told by pgx when the context of a call ends. It asks the server to
// cancel, and gives it until socket.Patience to answer; what has not returned by
// then fails. So the connection can be kept where the server answers.
type watcher struct {
	mu   sync.Mutex // guards the link's Interrupt and Resume
	link *pgxlink.Link
}

// HandleCancel is called by pgx when the context of a call has ended. It is also
// called when pgx closes a connection that it has lost, where there is nothing to
// cancel.
func (w *watcher) HandleCancel(context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	switch s := w.link.Socket; {
	case s == nil: // not connected yet
	case s.Err() != nil:
		s.SetDeadline(time.Now())
	default:
		w.link.Interrupt()
	}
}

// HandleUnwatchAfterCancel is called by pgx after that call.
func (w *watcher) HandleUnwatchAfterCancel() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.link.Resume()
}
