package poolgate

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"sync/atomic"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// connector opens the connections of a gated *sql.DB, which are seats.
type connector struct {
	db        *DB
	class     string  // of all that it checks out; "" leaves it to the context
	outOfBand bool    // all that it checks out is of the gate's lane
	readOnly  bool    // the server refuses writes
	facade    *sql.DB // the gated *sql.DB itself; set before it is first used
	onClose   func() error
	shape     atomic.Pointer[shape] // of the last connection
}

// maxSeats is how many seats a gated *sql.DB keeps for the next callers. A seat
// takes half a kilobyte and holds nothing.
const maxSeats = 1000

// open returns the gated *sql.DB. onClose is called when it is closed, after it
// has stopped handing out connections.
func (c *connector) open(onClose func() error) *sql.DB {
	c.onClose = onClose
	c.facade = sql.OpenDB(c)
	c.facade.SetMaxIdleConns(maxSeats)
	return c.facade
}

// Connect checks out a new seat. It returns an error of the gate or of the
// driver as it is.
func (c *connector) Connect(ctx context.Context) (driver.Conn, error) {
	if c.undoSettings() && calledBy("database/sql.(*DB).connectionOpener") {
		// On behalf of callers that wait for MaxOpenConns: they shall try again,
		// each on its own goroutine and with its own context.
		return nil, driver.ErrBadConn
	}
	if err := c.db.retries.refusal(true); err != nil {
		return nil, err
	}
	s := newSeat(c)
	if err := s.checkOut(ctx); err != nil {
		return nil, err
	}
	return shaped(s), nil
}

// acquire takes a permit for what the gated *sql.DB is for.
func (c *connector) acquire(ctx context.Context, holder gate.Holder) (gate.Permit, error) {
	return c.db.gate.AcquireWith(ctx, gate.Request{Class: c.class, OutOfBand: c.outOfBand, Holder: holder})
}

// classOf is the class of a checkout under ctx.
func (c *connector) classOf(ctx context.Context) string {
	switch {
	case c.outOfBand:
		return gate.OutOfBandClass
	case c.class != "":
		return c.class
	}
	return c.db.gate.ClassOf(ctx)
}

// undoSettings undoes what somebody has set on the gated *sql.DB, such as an ORM
// that was given it: with MaxOpenConns database/sql would have callers wait in a
// queue of its own, in random order and without MaxWait. It reports whether
// anybody has ever waited there.
func (c *connector) undoSettings() (waited bool) {
	s := c.facade.Stats()
	if s.MaxOpenConnections > 0 {
		c.facade.SetMaxOpenConns(0)
		c.facade.SetMaxIdleConns(maxSeats)
	}
	return s.WaitCount > 0
}

// Driver returns the driver behind the gate.
func (c *connector) Driver() driver.Driver { return c.db.source.driver() }

// Close is called when the gated *sql.DB is closed.
func (c *connector) Close() error { return c.onClose() }
