package pgxpoolgate

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/poolgate/poolgate/adapters/internal/pgxlink"
	"github.com/poolgate/poolgate/adapters/internal/socket"
	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// DB returns the Pool as database/sql has it: for packages gather, rows, session
// and fleet, for tracing.Instrument, for observers, and for libraries that take an
// *sql.DB. Its calls take their permits from the same gate as the Pool's, and work
// on the same connections. So one limit holds for both, and a goroutine that waits
// for one of its own is found in either. The package documentation says more.
//
// There is one DB for a Pool and all its views. It has views of its own, by its
// methods Class and OutOfBand. Close of the Pool closes it. Closing it alone
// closes the gate, but no connection.
func (p *Pool) DB() *poolgate.DB { return p.db }

// source is a Pool as a poolgate.SharedPool.
type source struct {
	pool      *Pool
	connector driver.Connector
	lent      pgxgate.Lent
}

func newSource(p *Pool) *source {
	return &source{
		pool:      p,
		connector: stdlib.GetPoolConnector(p.inner),
		lent:      pgxgate.NewLent(p.inner.Config().ConnConfig, p.config.PgBouncer),
	}
}

func (s *source) Driver() driver.Driver { return s.connector.Driver() }
func (s *source) Gate() *gate.Gate      { return s.pool.gate }

// Connect takes a connection from the inner pool, but none that the server has
// closed while it was idle.
func (s *source) Connect(ctx context.Context) (driver.Conn, error) {
	for {
		opened, err := s.connector.Connect(ctx)
		if err != nil && s.pool.links.refused(err) {
			opened, err = s.connector.Connect(ctx)
		}
		if err != nil {
			return nil, err
		}
		inner := opened.(*stdlib.Conn)
		w := s.pool.links.watcher(inner.Conn())
		if w == nil {
			return &sqlConn{s.lent.Conn(inner, nil, nil), s.lent, s.pool, inner, nil}, nil
		}
		if w.link.Socket.Unread() && !answers(ctx, w.link) {
			inner.Close() // which takes it out of the pool
			continue
		}
		w.link.Socket.Busy()
		return &sqlConn{s.lent.Conn(inner, w.link, w), s.lent, s.pool, inner, w.link}, nil
	}
}

// answers reports whether the server of an idle connection answers a ping.
func answers(ctx context.Context, link *pgxlink.Link) bool {
	lift := link.Socket.Limit(ctx, 0, DefaultPingTimeout)
	defer lift()
	return link.PG.Ping(context.Background()) == nil
}

// Stats has the inner pool's statistics.
func (s *source) Stats() sql.DBStats {
	stat := s.pool.inner.Stat()
	return sql.DBStats{
		MaxOpenConnections: int(stat.MaxConns()),
		OpenConnections:    int(stat.TotalConns()),
		InUse:              int(stat.AcquiredConns()),
		Idle:               int(stat.IdleConns()),
		MaxIdleTimeClosed:  stat.MaxIdleDestroyCount(),
		MaxLifetimeClosed:  stat.MaxLifetimeDestroyCount(),
	}
}

// Bound closes idle connections beyond n, and has those that are given back closed
// as long as there are more.
func (s *source) Bound(n int) {
	s.pool.most.Store(int64(n))
	if n < 0 {
		return
	}
	over := int(s.pool.inner.Stat().TotalConns()) - n
	if over <= 0 {
		return
	}
	for _, conn := range s.pool.inner.AcquireAllIdle(context.Background()) {
		if over--; over < 0 {
			conn.Release()
			continue
		}
		_ = conn.Conn().Close(context.Background()) // which says goodbye, and does not wait
		conn.Release()
	}
}

// Ungated opens connections as the inner pool does, but prepares no statements on
// them.
func (s *source) Ungated() driver.Connector {
	config := s.pool.inner.Config()
	switch config.ConnConfig.DefaultQueryExecMode {
	case pgx.QueryExecModeCacheStatement, pgx.QueryExecModeCacheDescribe:
		config.ConnConfig.DefaultQueryExecMode = pgx.QueryExecModeExec
	}
	var options []stdlib.OptionOpenDB
	if config.BeforeConnect != nil {
		options = append(options, stdlib.OptionBeforeConnect(config.BeforeConnect))
	}
	if config.AfterConnect != nil {
		options = append(options, stdlib.OptionAfterConnect(config.AfterConnect))
	}
	return stdlib.GetConnector(*config.ConnConfig, options...)
}

// A sqlConn is a connection of the pool while the DB has it.
type sqlConn struct {
	*pgxgate.Conn
	lent  pgxgate.Lent
	pool  *Pool
	inner *stdlib.Conn
	link  *pgxlink.Link // nil for a pool of Wrap
}

// IsValid gives the connection back to the pool, or reports false if it is no
// longer of use.
func (c *sqlConn) IsValid() bool {
	if c.lent.IsOutdated(c.Conn) || !c.pool.keeps(c.inner.Conn(), c.link) {
		return false
	}
	c.release()
	return true
}

// Close closes the connection, and returns when the server's process for it has
// ended, as far as that can be known.
func (c *sqlConn) Close() error {
	discard(c.inner.Conn(), c.link, c.release)
	return nil
}

func (c *sqlConn) release() {
	_ = c.inner.Close() // which is pgxpool's Release, and has no error
}

// keeps reports whether a connection may go back to the inner pool, and if so says
// that it is idle.
func (p *Pool) keeps(conn *pgx.Conn, link *pgxlink.Link) bool {
	if link != nil && !link.IsClean() || !isClean(conn) {
		return false
	}
	if most := p.most.Load(); most >= 0 && int64(p.inner.Stat().TotalConns()) > most {
		return false
	}
	if link != nil {
		link.Socket.Idle()
	}
	return true
}

// isClean reports whether a connection is open, and no call and no transaction is
// under way.
func isClean(conn *pgx.Conn) bool {
	pg := conn.PgConn()
	return !pg.IsClosed() && !pg.IsBusy() && pg.TxStatus() == 'I'
}

// discard closes a connection, has release take it out of the inner pool, and
// returns when the server's process for it has ended, as far as that can be known.
func discard(conn *pgx.Conn, link *pgxlink.Link, release func()) {
	if link != nil {
		link.End(func() error {
			ctx, cancel := context.WithTimeout(context.Background(), socket.Patience)
			defer cancel()
			return conn.Close(ctx)
		})
		release()
		return
	}
	closed := conn.PgConn().CleanupDone()
	if isClean(conn) {
		_ = conn.Close(context.Background()) // which says goodbye, and does not wait
	}
	release() // closes it in the background, unless that was done
	select {
	case <-closed:
	case <-time.After(closeTimeout):
	}
}

// closeTimeout is how long the closing of a connection of a pool of Wrap may take.
// It is a little longer than pgx itself allows.
const closeTimeout = 16 * time.Second
