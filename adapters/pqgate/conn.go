package pqgate

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"sync/atomic"
	"time"

	"github.com/lib/pq"

	"github.com/poolgate/poolgate/adapters/internal/socket"
	"github.com/poolgate/poolgate/adapters/internal/unprepared"
)

// pqConn is what lib/pq's connections can do, but for the forms of Exec and
// Query without a context, which nothing calls where there are those with one.
type pqConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
}

// A Conn is a connection of a pool of [Open]: lib/pq's own, except for what the
// package documentation lists under "What pqgate changes". [poolgate.Raw] finds
// it by its type, for code that wants lib/pq's:
//
//	poolgate.Raw(conn, func(c *pqgate.Conn) error {
//		pq.SetNoticeHandler(c.Raw(), handler)
//		return nil
//	})
type Conn struct {
	inner     pqConn
	connector *Connector
	line      *socket.Line
	socket    *socket.Conn

	// limited is set when lib/pq has begun to cancel a call, which put a
	// deadline on the socket.
	limited atomic.Bool

	ping     socket.Ping
	asked    time.Time // when the server had the role that the DSN wants
	checkout int64     // what was sent when the connection was taken from the pool

	tx   context.Context // of the transaction, or nil
	copy driver.Stmt     // the COPY of the transaction, finished or not; or nil
}

// Raw returns lib/pq's own connection, which is what pq.SetNoticeHandler and
// pq.SetNotificationHandler want. It is valid as long as the Conn is.
func (c *Conn) Raw() driver.Conn {
	c.lift()
	return c.inner
}

// ResetSession returns driver.ErrBadConn if the connection cannot be used
// again. The pool asks before it hands out a connection that was idle.
func (c *Conn) ResetSession(ctx context.Context) error {
	if c.dead() {
		return driver.ErrBadConn
	}
	if err := c.connector.silence.Check(ctx, c.socket, c.check()); err != nil {
		return err
	}
	c.socket.Busy()
	c.checkout = c.socket.Sent()
	return nil
}

// check is what ResetSession sends where there is a doubt.
func (c *Conn) check() *socket.Ping {
	if !c.connector.role.IsDoubted(c.asked) {
		return &c.ping
	}
	ask := c.ping
	ask.After, ask.Send = 0, c.ask
	return &ask
}

// dead reports whether the connection is of no use any more. lib/pq does not
// notice each error of its socket.
func (c *Conn) dead() bool { return !c.inner.IsValid() || c.socket.Err() != nil }

// IsValid reports whether the connection may go back to the pool, which closes
// it otherwise. That ends a transaction that was opened by a BEGIN as a
// statement and left open. lib/pq would hand it on, and what the next borrower
// writes would be lost with it.
func (c *Conn) IsValid() bool {
	if c.dead() || !c.line.Settled() || c.inTransaction() {
		return false
	}
	c.socket.Idle()
	return true
}

// inTransaction finds out what lib/pq knows and does not tell: outside a
// transaction it refuses COPY without a word to the server. The word that it
// would have inside one is not sent.
func (c *Conn) inTransaction() bool {
	return c.socket.Writes(func() { c.inner.Prepare("COPY") })
}

// Close closes the connection. That of one that is in use, or broken, takes
// until the server's process for it has ended, and if the server does not say
// so about a second where it cannot be reached, and ten where it can.
func (c *Conn) Close() error {
	c.socket.SetDeadline(time.Now().Add(socket.Patience))
	if c.socket.IsIdle() {
		return c.inner.Close()
	}
	c.inner.Close() // which may have been done by lib/pq itself
	c.socket.End(c.line.Reachable)
	return nil
}

// cancelling is called when lib/pq has seen the context of a call end, and
// before it asks the server to cancel. What has not returned in time then fails.
func (c *Conn) cancelling() {
	c.limited.Store(true)
	c.socket.SetDeadline(time.Now().Add(socket.Patience))
}

// lift takes the deadline away that cancelling has set for an earlier call.
func (c *Conn) lift() {
	if c.limited.Swap(false) {
		c.socket.SetDeadline(time.Time{})
	}
}

// begin is called before each call of lib/pq's connection, and result after it.
func (c *Conn) begin() socket.Call {
	c.lift()
	return socket.Call{Checkout: c.checkout, Start: c.socket.Sent()}
}

// result returns what the call returns, where lib/pq has returned err.
func (c *Conn) result(ctx context.Context, call socket.Call, err error) error {
	if err == nil || err == io.EOF || err == driver.ErrSkip {
		return err
	}
	if said, ok := errors.AsType[*pq.Error](err); ok {
		if said.Code == queryCanceled && ctx.Err() != nil {
			return ctx.Err()
		}
		c.connector.role.Said(string(said.Code))
		return err
	}
	if c.dead() {
		return c.socket.Lost(ctx, call, err)
	}
	return err
}

const queryCanceled = "57014"

// CheckNamedValue lets lib/pq convert an argument.
func (c *Conn) CheckNamedValue(v *driver.NamedValue) error { return c.inner.CheckNamedValue(v) }

// Ping asks the server for an answer.
func (c *Conn) Ping(ctx context.Context) error {
	call := c.begin()
	call.Harmless = true
	err := c.inner.Ping(ctx)
	if call.Start == c.checkout {
		c.checkout = c.socket.Sent() // a ping may be sent again
		call.Checkout = c.checkout
	}
	if err == nil {
		return nil
	}
	return c.socket.Lost(ctx, call, err) // lib/pq says driver.ErrBadConn, whatever it is
}

// ExecContext executes a statement.
func (c *Conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	call := c.begin()
	res, err := c.inner.ExecContext(ctx, query, args)
	if err = c.result(ctx, call, err); err != nil {
		return nil, err
	}
	return res, nil
}

// QueryContext executes a query.
func (c *Conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	call := c.begin()
	inner, err := c.inner.QueryContext(ctx, query, args)
	return c.rows(ctx, call, inner, err)
}

// Prepare is there because driver.Conn wants it; database/sql calls
// PrepareContext.
func (c *Conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// PrepareContext prepares a statement. For lib/pq a COPY … FROM STDIN is one
// too, whose rows are then written by Exec.
//
// Behind a PgBouncer it sends nothing but a COPY: another statement is sent when
// it is executed.
func (c *Conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if c.connector.pgBouncer && !startsWithCopy(query) {
		return unprepared.New(c, query), nil
	}
	call := c.begin()
	call.Harmless = true
	inner, err := c.inner.PrepareContext(ctx, query)
	if err = c.result(ctx, call, err); err != nil {
		return nil, err
	}
	switch inner := inner.(type) {
	case pqStmt:
		return &stmt{inner, c}, nil
	case pqCopy:
		s := &copyStmt{inner, c}
		c.copy = s
		return s, nil
	}
	inner.Close()
	return nil, fmt.Errorf("pqgate: this version of lib/pq is not supported: %T lacks a method", inner)
}
