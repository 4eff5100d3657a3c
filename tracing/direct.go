package tracing

import (
	"context"
	"database/sql/driver"
	"io"

	"github.com/XSAM/otelsql"
)

// otelsql takes about a microsecond for each checkout with one call, also where
// that is to leave no span, and several times as much where a server shares the
// caches. So such a call passes it by: see BenchmarkStatement.

// wrapped is a driver that has one connector, for otelsql to wrap.
type wrapped struct{ connector driver.Connector }

func (w wrapped) OpenConnector(string) (driver.Connector, error) { return w.connector, nil }
func (w wrapped) Open(string) (driver.Conn, error) {
	return w.connector.Connect(context.Background())
}

// directConnector is otelsql's connector, whose connections are directConns.
type directConnector struct {
	driver.Connector
	inner     *closingConnector // inside otelsql's
	spans     bool              // some calls have spans
	durations *durations        // nil if nothing is measured
	settings  *settings
}

func (c directConnector) Driver() driver.Driver { return c.inner.Driver() }

// BehindPgBouncer is called by OpenDB where poolgate.Config.PgBouncer says so.
func (c directConnector) BehindPgBouncer() (driver.Connector, error) {
	return c, c.inner.behindPgBouncer()
}

// Close is called when the DB is closed.
func (c directConnector) Close() error { return c.Connector.(io.Closer).Close() }

func (c directConnector) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	outer := conn.(otelConn)
	return &directConn{otelConn: outer, inner: outer.Raw(), connector: c}, nil
}

// otelConn has the methods of otelsql's connections.
type otelConn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
	Raw() driver.Conn
}

// directConn is otelsql's connection, except for calls under a span that is not
// sampled. Such a call returns what the driver returns, so otelsql does not see what
// is done with it either: directTx measures the end of a transaction.
type directConn struct {
	otelConn
	inner     driver.Conn // inside otelConn
	connector directConnector
}

// silent reports whether a call has no span.
func (c *directConn) silent(ctx context.Context) bool { return !c.connector.spans || unsampled(ctx) }

func (c *directConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	inner, ok := c.inner.(driver.ExecerContext)
	if !ok || !c.silent(ctx) {
		return c.otelConn.ExecContext(ctx, query, args)
	}
	start := c.connector.durations.now()
	res, err := inner.ExecContext(ctx, query, args)
	c.connector.durations.since(ctx, otelsql.MethodConnExec, start, err)
	return res, err
}

func (c *directConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	inner, ok := c.inner.(driver.QueryerContext)
	if !ok || !c.silent(ctx) {
		return c.otelConn.QueryContext(ctx, query, args)
	}
	start := c.connector.durations.now()
	rows, err := inner.QueryContext(ctx, query, args)
	c.connector.durations.since(ctx, otelsql.MethodConnQuery, start, err)
	if err != nil {
		return nil, err
	}
	return newPlainRows(rows), nil
}

func (c *directConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	inner, ok := c.inner.(driver.ConnBeginTx)
	if !ok || !c.silent(ctx) {
		return c.otelConn.BeginTx(ctx, opts)
	}
	start := c.connector.durations.now()
	tx, err := inner.BeginTx(ctx, opts)
	c.connector.durations.since(ctx, otelsql.MethodConnBeginTx, start, err)
	if err != nil || c.connector.durations == nil {
		return tx, err
	}
	return directTx{tx, ctx, c.connector.durations}, nil
}

// ResetSession is called once for each checkout, and is neither traced nor
// measured.
func (c *directConn) ResetSession(ctx context.Context) error {
	if inner, ok := c.inner.(driver.SessionResetter); ok {
		return inner.ResetSession(ctx)
	}
	return nil
}

// directTx measures the end of a transaction.
type directTx struct {
	driver.Tx
	ctx       context.Context // that it was begun with
	durations *durations
}

func (t directTx) Commit() error {
	start := t.durations.now()
	err := t.Tx.Commit()
	t.durations.since(t.ctx, otelsql.MethodTxCommit, start, err)
	return err
}

func (t directTx) Rollback() error {
	start := t.durations.now()
	err := t.Tx.Rollback()
	t.durations.since(t.ctx, otelsql.MethodTxRollback, start, err)
	return err
}
