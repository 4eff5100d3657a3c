package pgxgate

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/poolgate/poolgate/adapters/internal/pgxlink"
	"github.com/poolgate/poolgate/adapters/internal/socket"
	"github.com/poolgate/poolgate/adapters/internal/unprepared"
	"github.com/poolgate/poolgate/internal/operation"
)

// A Conn is a connection of a pool of [Open]: pgx's own, except for what the
// package documentation lists under "What pgxgate changes". [poolgate.Raw] finds
// pgx's by its type, *stdlib.Conn.
type Conn struct {
	connector *Connector
	inner     *stdlib.Conn
	pg        *pgconn.PgConn
	link      *pgxlink.Link
	socket    *socket.Conn
	watcher   watching

	described described // by SendPipeline
	answers   *answers
	deferred  deferred
	late      *deferredTx // the transaction, if its BEGIN was deferred

	outdated bool // what pgx remembers of a statement
	ping     socket.Ping
	asked    time.Time // when the server had the role that the DSN wants
	checkout int64     // what was sent when the connection was taken from the pool
	tx       *tx       // that is open; nil if none is
}

var errBusy = errors.New("pgxgate: the connection is busy: close the rows of the query before first")

// Raw returns pgx's own connection, a *stdlib.Conn. It is valid as long as the
// Conn is.
func (c *Conn) Raw() driver.Conn { return c.inner }

// ResetSession returns driver.ErrBadConn if the connection cannot be used
// again. The pool asks before it hands out a connection that was idle.
func (c *Conn) ResetSession(ctx context.Context) error {
	if c.pg.IsClosed() || c.pg.TxStatus() != 'I' {
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

// ask asks whether the server has the role that the DSN wants.
func (c *Conn) ask() error {
	now := time.Now()
	err := c.connector.config.ValidateConnect(context.Background(), c.pg)
	if _, ok := errors.AsType[*pgconn.NotPreferredError](err); err == nil || ok {
		c.asked = now
		return nil
	}
	return err
}

// IsValid reports whether the connection may go back to the pool, which closes
// it otherwise.
func (c *Conn) IsValid() bool {
	if !c.link.IsClean() || c.outdated || c.answers.skip > 0 { // a BEGIN is in pgx's buffer
		return false
	}
	c.socket.Idle()
	return true
}

// Close closes the connection. That of one that is in use, or broken, takes
// until the server's process for it has ended, and if the server does not say
// so about a second where it cannot be reached, and ten where it can.
func (c *Conn) Close() error {
	if c.socket.IsIdle() {
		c.socket.SetDeadline(time.Now().Add(socket.Patience))
		return c.inner.Close()
	}
	return c.link.End(c.inner.Close)
}

// begin is called before each call of pgx's connection, with the context that
// pgx gets, and result after it.
func (c *Conn) begin(ctx context.Context) socket.Call {
	if c.tx != nil {
		c.tx.watch(ctx)
	}
	c.watcher.begin()
	return socket.Call{Checkout: c.checkout, Start: c.socket.Sent()}
}

// result returns what the call returns, where pgx has returned err.
func (c *Conn) result(ctx context.Context, call socket.Call, err error) error {
	c.watcher.end()
	return c.explain(ctx, call, err)
}

func (c *Conn) explain(ctx context.Context, call socket.Call, err error) error {
	if err == nil || err == io.EOF || err == driver.ErrSkip {
		return err
	}
	if said, ok := errors.AsType[*pgconn.PgError](err); ok {
		if said.Code == queryCanceled && ctx.Err() != nil {
			return ctx.Err()
		}
		c.connector.role.Said(said.Code)
		return err
	}
	switch {
	case c.pg.IsClosed():
		err = c.socket.Lost(ctx, call, err)
		if err == driver.ErrBadConn && c.late != nil {
			return operation.ErrUnsent
		}
		return err
	case ctx.Err() != nil && (errors.Is(err, ctx.Err()) || errors.Is(err, driver.ErrBadConn)):
		return ctx.Err() // it had ended before anything was sent
	case errors.Is(err, driver.ErrBadConn) && c.pg.IsBusy():
		return errBusy
	}
	return err
}

const queryCanceled = "57014"

// CheckNamedValue leaves arguments to pgx. One of them can be the way in which the
// statement is sent.
func (c *Conn) CheckNamedValue(v *driver.NamedValue) error {
	if c.connector.pgBouncer {
		if mode, ok := v.Value.(pgx.QueryExecMode); ok {
			if err := pgxlink.CheckBehindPgBouncer(mode); err != nil {
				return fmt.Errorf("pgxgate: Config.PgBouncer: %w", err)
			}
		}
	}
	return c.inner.CheckNamedValue(v)
}

// Ping asks the server for an answer.
func (c *Conn) Ping(ctx context.Context) error {
	call := c.begin(ctx)
	err := c.lead(ctx, &call, false)
	call.Harmless = true
	if err == nil {
		err = c.inner.Conn().Ping(ctx)
	}
	err = c.result(ctx, call, err)
	if call.Start == c.checkout {
		c.checkout = c.socket.Sent() // a ping may be sent again
		if err != nil && c.pg.IsClosed() && ctx.Err() == nil {
			return driver.ErrBadConn
		}
	}
	return err
}

// ExecContext executes a statement.
func (c *Conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if c.defers(ctx, query) {
		c.deferred.queries = append(c.deferred.queries, query)
		return driver.RowsAffected(0), nil
	}
	call := c.begin(ctx)
	err := c.lead(ctx, &call, c.usesExtended(query, args, true))
	var res driver.Result
	if err == nil {
		res, err = c.inner.ExecContext(ctx, query, args)
		c.led(call)
	}
	if err = c.result(ctx, call, err); err != nil {
		return nil, err
	}
	return res, nil
}

// QueryContext executes a query.
func (c *Conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	call := c.begin(ctx)
	err := c.lead(ctx, &call, c.usesExtended(query, args, false))
	var inner driver.Rows
	if err == nil {
		inner, err = c.inner.QueryContext(ctx, query, args)
		c.led(call)
	}
	if err != nil {
		return nil, c.result(ctx, call, err)
	}
	return &rows{Rows: inner.(*stdlib.Rows), conn: c, ctx: ctx, call: call}, nil
}

// Prepare is there because driver.Conn wants it; database/sql calls
// PrepareContext.
func (c *Conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// PrepareContext prepares a statement. Behind a PgBouncer it sends nothing: the
// statement is sent when it is executed.
func (c *Conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if c.connector.pgBouncer {
		return unprepared.New(c, query), nil
	}
	call := c.begin(ctx)
	call.Harmless = true
	err := c.lead(ctx, &call, true)
	var inner driver.Stmt
	if err == nil {
		inner, err = c.inner.PrepareContext(ctx, query)
		c.led(call)
	}
	if err = c.result(ctx, call, err); err != nil {
		return nil, err
	}
	return &stmt{inner.(*stdlib.Stmt), c}, nil
}

// stmt is pgx's statement, under the care of its Conn.
type stmt struct {
	*stdlib.Stmt
	conn *Conn
}

func (s *stmt) Close() error {
	ctx := context.Background()
	call := s.conn.begin(ctx)
	err := s.conn.lead(ctx, &call, false)
	call.Harmless = true
	if err == nil {
		err = s.Stmt.Close()
	}
	return s.conn.result(ctx, call, err)
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	call := s.conn.begin(ctx)
	err := s.conn.lead(ctx, &call, false)
	var res driver.Result
	if err == nil {
		res, err = s.Stmt.ExecContext(ctx, args)
	}
	if err = s.conn.result(ctx, call, err); err != nil {
		return nil, err
	}
	return res, nil
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	call := s.conn.begin(ctx)
	err := s.conn.lead(ctx, &call, false)
	var inner driver.Rows
	if err == nil {
		inner, err = s.Stmt.QueryContext(ctx, args)
	}
	if err != nil {
		return nil, s.conn.result(ctx, call, err)
	}
	return &rows{Rows: inner.(*stdlib.Rows), conn: s.conn, ctx: ctx, call: call}, nil
}

// rows are pgx's, but for their errors. The call that they belong to lasts
// until they are closed.
type rows struct {
	*stdlib.Rows
	conn   *Conn
	ctx    context.Context
	call   socket.Call
	closed bool
}

func (r *rows) Next(dest []driver.Value) error {
	return r.conn.explain(r.ctx, r.call, r.conn.decoded(r.Rows.Next(dest)))
}

// decoded notes an error of decoding a value. With cache_describe it can be that
// pgx asks for the format of the type that a column had before an ALTER TABLE,
// again and again: only a new connection asks what the type is.
func (c *Conn) decoded(err error) error {
	if err != nil && c.connector.config.DefaultQueryExecMode == pgx.QueryExecModeCacheDescribe &&
		strings.Contains(err.Error(), "binary format") {
		c.outdated = true
	}
	return err
}

func (r *rows) Close() error {
	err := r.Rows.Close()
	if r.closed {
		return r.conn.explain(r.ctx, r.call, err)
	}
	r.closed = true
	return r.conn.result(r.ctx, r.call, err)
}
