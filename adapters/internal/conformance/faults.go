package conformance

import (
	"context"
	"database/sql/driver"
	"errors"
	"math/rand/v2"
	"sync/atomic"
)

// errInjected is an error that no server and no driver has made.
var errInjected = errors.New("conformance: injected error")

// injectedPanic is what a call of the driver panics with, and says which.
type injectedPanic string

// faults is a driver's connector that fails at random, and so do its
// connections: by an error, by driver.ErrBadConn before anything was sent, and
// by a panic. The connections have the optional interfaces that the driver's
// have. Rows and statements are the driver's own, and do not fail: nothing that
// wraps connections could help there. Nor is there a panic in Connect,
// ResetSession and Close, after which a pool of database/sql counts the
// connection as in use for good, gated or not.
type faults struct {
	driver.Connector

	on       atomic.Bool  // faults are injected
	connects atomic.Int64 // calls of Connect
	calls    atomic.Int64 // calls of the connections
	errors   atomic.Int64 // errors injected
	panics   atomic.Int64 // panics injected
}

// heldKey marks the context of a query within a Tx or on a Conn. A panic there
// ends in a deadlock of database/sql's own, gated or not: it counts the query
// as running for good, and Rollback and Close wait for that. So there is none.
type heldKey struct{}

func held(ctx context.Context) bool { return ctx.Value(heldKey{}) != nil }

// conn is what the connections of both drivers can do.
type conn interface {
	driver.Conn
	driver.ConnBeginTx
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.NamedValueChecker
	driver.Pinger
	driver.QueryerContext
	driver.SessionResetter
}

// chance is true with probability p while faults are on.
func (f *faults) chance(p float64) bool { return f.on.Load() && rand.Float64() < p }

// before is called before each call of the driver, and fails some of them.
func (f *faults) before(call string) error {
	err := f.errorBefore()
	if err == nil {
		f.panicAt("before " + call)
	}
	return err
}

func (f *faults) errorBefore() error {
	f.calls.Add(1)
	switch {
	case f.chance(0.005):
		f.errors.Add(1)
		return driver.ErrBadConn
	case f.chance(0.005):
		f.errors.Add(1)
		return errInjected
	}
	return nil
}

func (f *faults) panicAt(where string) {
	if f.chance(0.005) {
		f.panics.Add(1)
		panic(injectedPanic(where))
	}
}

func (f *faults) Connect(ctx context.Context) (driver.Conn, error) {
	f.connects.Add(1)
	if f.chance(0.05) {
		f.errors.Add(1)
		return nil, errInjected
	}
	c, err := f.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	faulty := &faultyConn{conn: c.(conn), faults: f}
	if v, ok := c.(driver.Validator); ok {
		return &faultyValidConn{faulty, v}, nil
	}
	return faulty, nil
}

type faultyConn struct {
	conn
	faults *faults
}

// faultyValidConn is for drivers whose connections have a Validator.
type faultyValidConn struct {
	*faultyConn
	driver.Validator
}

func (c *faultyConn) Raw() driver.Conn { return c.conn }

func (c *faultyConn) ResetSession(ctx context.Context) error {
	if c.faults.chance(0.005) {
		c.faults.errors.Add(1)
		return driver.ErrBadConn
	}
	return c.conn.ResetSession(ctx)
}

func (c *faultyConn) Ping(ctx context.Context) error {
	if err := c.faults.before("Ping"); err != nil {
		return err
	}
	return c.conn.Ping(ctx)
}

func (c *faultyConn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	if err := c.faults.before("Exec"); err != nil {
		return nil, err
	}
	res, err := c.conn.ExecContext(ctx, query, args)
	c.faults.panicAt("after Exec")
	return res, err
}

func (c *faultyConn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	if err := c.faults.errorBefore(); err != nil {
		return nil, err
	}
	if !held(ctx) {
		c.faults.panicAt("before Query")
	}
	return c.conn.QueryContext(ctx, query, args)
}

func (c *faultyConn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	if err := c.faults.before("Prepare"); err != nil {
		return nil, err
	}
	return c.conn.PrepareContext(ctx, query)
}

func (c *faultyConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if err := c.faults.before("BeginTx"); err != nil {
		return nil, err
	}
	tx, err := c.conn.BeginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	return &faultyTx{tx, c.faults, ctx.Done() != nil}, nil
}

type faultyTx struct {
	driver.Tx
	faults *faults

	// canEnd: the transaction's context can end, upon which database/sql rolls
	// back from a goroutine of its own.
	canEnd bool
}

func (tx *faultyTx) Commit() error {
	if err := tx.faults.before("Commit"); err != nil {
		return err
	}
	err := tx.Tx.Commit()
	tx.faults.panicAt("after Commit")
	return err
}

func (tx *faultyTx) Rollback() error {
	if tx.canEnd {
		return tx.Tx.Rollback()
	}
	if err := tx.faults.before("Rollback"); err != nil {
		return err
	}
	err := tx.Tx.Rollback()
	tx.faults.panicAt("after Rollback")
	return err
}
