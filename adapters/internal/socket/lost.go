package socket

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/poolgate/poolgate/poolgate"
)

// errLost stands for the error of a driver that keeps it to itself.
var errLost = errors.New("the connection was lost")

// A Call is what has to be known of a call whose connection was lost.
type Call struct {
	// Checkout and Start are what Conn.Sent was when the connection was taken
	// from the pool, and when the call began.
	Checkout, Start int64

	// Harmless: that the call was sent changes nothing, as with BEGIN.
	Harmless bool
}

// Lost returns what a call returns whose connection was lost, where the driver
// has returned err. That is driver.ErrBadConn only if nothing was sent since the
// connection was taken from the pool, so that another can take its place; the
// error of ctx, if that has ended; and poolgate.ErrOutcomeUnknown if the call
// was sent, at least in part, and may have done something.
//
// On nil, for a connection whose socket is not known, only the driver's own
// driver.ErrBadConn says that nothing was sent.
func (c *Conn) Lost(ctx context.Context, call Call, err error) error {
	if c == nil {
		switch {
		case !errors.Is(err, driver.ErrBadConn):
			return lost(ctx, call, -1, err)
		case ctx.Err() != nil:
			return ctx.Err()
		}
		return driver.ErrBadConn
	}
	if errors.Is(err, driver.ErrBadConn) { // which is to be seen only where it is true
		if err = c.Err(); err == nil {
			err = errLost
		}
	}
	if own, ended := c.Err(), ctx.Err(); own != nil && ended != nil && errors.Is(err, ended) {
		err = own // says more
	}
	return lost(ctx, call, c.Sent(), err)
}

// lost is Lost for a connection on which so much was sent.
func lost(ctx context.Context, call Call, sent int64, err error) error {
	switch ended := ctx.Err(); {
	case ended != nil && (sent == call.Start || sent == call.Checkout):
		return ended
	case sent == call.Checkout:
		return driver.ErrBadConn
	case sent == call.Start:
		return fmt.Errorf("poolgate: the connection was lost before the statement was sent: %w", err)
	case call.Harmless && ended != nil:
		return fmt.Errorf("%w: %w", ended, err)
	case call.Harmless:
		return fmt.Errorf("poolgate: the connection was lost: %w", err)
	case ended != nil:
		return fmt.Errorf("%w: %w: %w", ended, poolgate.ErrOutcomeUnknown, err)
	}
	return fmt.Errorf("%w: %w", poolgate.ErrOutcomeUnknown, err)
}
