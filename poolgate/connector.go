package poolgate

import (
	"context"
	"database/sql"
	"database/sql/driver"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// connector opens the gated *sql.DB's connections: each is a lease of one of
// the inner pool's.
type connector struct {
	inner      *sql.DB
	gate       *gate.Gate
	closeInner bool
	facade     *sql.DB // the gated pool itself; set before it is first used
}

// Connect takes a permit, then a connection of the inner pool. An error of
// either is returned as it is.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	l := &lease{connector: c}
	if err := l.open(ctx); err != nil {
		return nil, err
	}
	c.keepNoIdle()
	return shaped(l), nil
}

// keepNoIdle undoes a SetMaxIdleConns that was made on the façade, where
// somebody has also set MaxOpenConns there. A lease that comes back is never
// kept, as it says that it is not valid; but where callers wait for
// MaxOpenConns, database/sql opens a connection on behalf of one of them, and
// puts it among the idle ones unasked if that one has gone meanwhile. An idle
// connection of the façade would be a permit that nobody uses.
func (c *connector) keepNoIdle() {
	if c.facade.Stats().MaxOpenConnections > 0 {
		c.facade.SetMaxIdleConns(-1)
	}
}

// Driver returns the inner pool's driver.
func (c *connector) Driver() driver.Driver { return c.inner.Driver() }

// Close is called by the façade's Close, after it has stopped handing out
// connections.
func (c *connector) Close() error {
	c.gate.Close()
	if c.closeInner {
		return c.inner.Close()
	}
	return nil
}
