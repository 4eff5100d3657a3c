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
			return p.IdleDuration > pingAfter || p.IdleDuration > lookAfter && l.isUnread(p.Conn)
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
			w := &watcher{link: link}
			link.PG.CustomData()[watcherKey] = w
			return w
		})
		return nil
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		if link := l.link(conn); link != nil {
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

// watcherKey is the key of the watcher in pgconn's CustomData.
const watcherKey = "poolgate/pgxpoolgate"

// watcher returns what watches a connection of the pool. It is nil for a
// connection that was not dialed by a pool of Open.
func (l *links) watcher(conn *pgx.Conn) *watcher {
	if l == nil {
		return nil
	}
	w, _ := conn.PgConn().CustomData()[watcherKey].(*watcher)
	return w
}

// link returns the link of a connection of the pool, or nil.
func (l *links) link(conn *pgx.Conn) *pgxlink.Link {
	if w := l.watcher(conn); w != nil {
		return w.link
	}
	return nil
}

// isUnread reports whether there is something to read on an idle connection, such
// as its end.
func (l *links) isUnread(conn *pgx.Conn) bool {
	link := l.link(conn)
	return link != nil && link.Socket.Unread()
}

// A watcher is told by pgx when the context of a call ends. It asks the server to
// cancel, and gives it until socket.Patience to answer; what has not returned by
// then fails. So the connection can be kept where the server answers.
//
// A call of database/sql may be several of pgx's. It is between Begin and End.
type watcher struct {
	mu    sync.Mutex // guards calls, and the link's Interrupt and Resume
	calls int        // of database/sql that are under way
	link  *pgxlink.Link
}

// Begin says that a call of database/sql begins.
func (w *watcher) Begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
}

// End says that the call has ended. It waits for the request to cancel, if there
// was one, which could otherwise hit what the server does next.
func (w *watcher) End() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calls--; w.calls == 0 {
		w.link.Resume()
	}
}

// Interrupt ends the call of database/sql that is under way, if there is one.
func (w *watcher) Interrupt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calls > 0 {
		w.link.Interrupt()
	}
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
	if w.calls == 0 { // otherwise End does it
		w.link.Resume()
	}
}
