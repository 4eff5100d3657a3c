package poolgate

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync/atomic"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// connector opens the connections of a façade: each is a lease of one of the
// inner pool's.
type connector struct {
	inner     *sql.DB
	gate      *gate.Gate
	observers *observers
	class     string  // of all that the façade checks out; "" leaves it to the context
	outOfBand bool    // all that it checks out is of the gate's lane
	readOnly  bool    // the server refuses writes
	facade    *sql.DB // the gated pool itself; set before it is first used
	onClose   func() error
	shape     atomic.Pointer[shape] // of the last connection
}

// open returns the gated *sql.DB. onClose is called when it is closed, after it
// has stopped handing out connections.
func (c *connector) open(onClose func() error) *sql.DB {
	c.onClose = onClose
	c.facade = sql.OpenDB(c)
	c.facade.SetMaxIdleConns(-1)
	return c.facade
}

// Connect takes a permit, then a connection of the inner pool. An error of
// either is returned as it is.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	l := &lease{connector: c, watch: c.observers.watch(ctx)}
	err := l.open(ctx)
	l.watch.start(ctx, c, err)
	if err != nil {
		return nil, err
	}
	c.keepNoIdle()
	return shaped(l), nil
}

// acquire takes a permit for what the façade is for.
func (c *connector) acquire(ctx context.Context, holder gate.Holder) (gate.Permit, error) {
	return c.gate.AcquireWith(ctx, gate.Request{Class: c.class, OutOfBand: c.outOfBand, Holder: holder})
}

// classOf is the class of a checkout under ctx.
func (c *connector) classOf(ctx context.Context) string {
	switch {
	case c.outOfBand:
		return gate.OutOfBandClass
	case c.class != "":
		return c.class
	}
	return c.gate.ClassOf(ctx)
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

// Close is called by the façade's Close.
func (c *connector) Close() error { return c.onClose() }
