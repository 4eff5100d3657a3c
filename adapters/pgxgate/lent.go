package pgxgate

import (
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/poolgate/poolgate/adapters/internal/pgxlink"
	"github.com/poolgate/poolgate/adapters/internal/socket"
)

// A Lent makes connections of another pool Conns, one checkout at a time. It is
// for adapters/pgxpoolgate, which opens and closes them and watches the contexts
// of their calls.
type Lent struct{ connector *Connector }

// NewLent returns a Lent for a pool whose connections have that configuration.
// pgBouncer says that they go through a PgBouncer in transaction mode.
func NewLent(config *pgx.ConnConfig, pgBouncer bool) Lent {
	c := newConnector(config)
	c.pgBouncer = pgBouncer
	return Lent{c}
}

// Conn returns the Conn of a connection that was taken from its pool. It lasts
// until the connection goes back: ResetSession, IsValid and Close are the pool's.
// What it knows of prepared statements outlasts that. link and w are nil if
// somebody else has dialed the connection. Then a transaction's context does not
// end what runs in it under another one.
func (l Lent) Conn(inner *stdlib.Conn, link *pgxlink.Link, w Watcher) *Conn {
	data := inner.Conn().PgConn().CustomData()
	c, _ := data[lentKey].(*Conn)
	if c == nil {
		var s *socket.Conn
		if link != nil {
			s = link.Socket
		}
		c = &Conn{connector: l.connector, pg: inner.Conn().PgConn(), link: link, socket: s, watcher: lentWatcher{w}}
		data[lentKey] = c
	}
	c.inner = inner
	c.checkout = c.socket.Sent()
	return c
}

// IsOutdated reports whether a Conn of Conn had better be closed: what pgx remembers
// of a statement is no longer true.
func (l Lent) IsOutdated(c *Conn) bool { return c.outdated }

// lentKey is the key of the Conn in pgconn's CustomData.
const lentKey = "poolgate/pgxgate"

// A Watcher watches the calls of a connection for its pool. Begin and End are
// called around each call of a Conn, and Interrupt to end the one that is under
// way.
type Watcher interface {
	Begin()
	End()
	Interrupt()
}

// lentWatcher is a Watcher, or none.
type lentWatcher struct{ Watcher }

func (w lentWatcher) begin() {
	if w.Watcher != nil {
		w.Begin()
	}
}

func (w lentWatcher) end() {
	if w.Watcher != nil {
		w.End()
	}
}

func (w lentWatcher) interrupt() {
	if w.Watcher != nil {
		w.Interrupt()
	}
}
