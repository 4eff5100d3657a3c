package poolgatetest

import (
	"context"
	"database/sql/driver"
	"errors"
)

// A conn is what the code under test takes for a connection of its own.
type conn struct {
	line *line
	tx   *level // if it is inside a transaction; guarded by the line's turn
}

// OneConnection tells gather that there is only one connection.
func (c *conn) OneConnection() {}

// Raw returns the driver's connection, for poolgate.Raw.
func (c *conn) Raw() driver.Conn { return c.line.conn }

// call calls f as a statement.
func (c *conn) call(ctx context.Context, f func(context.Context) error) error {
	if err := c.line.take(ctx); err != nil {
		return err
	}
	defer c.line.give()
	return c.line.statement(ctx, c.tx, f)
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (result driver.Result, err error) {
	if parts := controls(query); parts != nil {
		return driver.ResultNoRows, c.control(ctx, parts)
	}
	err = c.call(ctx, func(ctx context.Context) error {
		result, err = execOn(ctx, c.line.conn, query, args)
		return err
	})
	return result, err
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.query(ctx, func(ctx context.Context) (driver.Rows, error) {
		return queryOn(ctx, c.line.conn, query, args)
	})
}

// query reads all that f returns. An error in the middle comes after the rows
// before it, as without us.
func (c *conn) query(ctx context.Context, f func(context.Context) (driver.Rows, error)) (driver.Rows, error) {
	var all *rows
	err := c.call(ctx, func(ctx context.Context) error {
		inner, err := f(ctx)
		if err != nil {
			return err
		}
		all = readAll(inner)
		return all.failed()
	})
	if all == nil {
		return nil, err
	}
	if err != nil {
		all.fail(err)
	}
	return all, nil
}

func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

func (c *conn) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	s := &stmt{conn: c}
	err := c.call(ctx, func(ctx context.Context) (err error) {
		if p, ok := c.line.conn.(driver.ConnPrepareContext); ok {
			s.inner, err = p.PrepareContext(ctx, query)
		} else {
			s.inner, err = c.line.conn.Prepare(query)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return s, nil
}

// CheckNamedValue has the driver check and convert an argument.
func (c *conn) CheckNamedValue(v *driver.NamedValue) error {
	checker, ok := c.line.conn.(driver.NamedValueChecker)
	if !ok {
		return driver.ErrSkip
	}
	return checker.CheckNamedValue(v)
}

func (c *conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

// BeginTx begins a transaction. Its isolation level is ignored.
func (c *conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if err := c.line.take(ctx); err != nil {
		return nil, err
	}
	defer c.line.give()
	if err := c.begin(opts.ReadOnly); err != nil {
		return nil, err
	}
	return tx{c}, nil
}

// begin and end are called by whoever has the line's turn.
func (c *conn) begin(readOnly bool) (err error) {
	if c.tx != nil {
		return errors.New("poolgatetest: there is already a transaction in progress")
	}
	c.tx, err = c.line.begin(readOnly)
	return err
}

func (c *conn) end(commit bool) error {
	s := c.tx
	c.tx = nil
	switch {
	case s == nil:
		return errors.New("poolgatetest: there is no transaction in progress")
	case commit:
		return c.line.commit(s)
	}
	return c.line.rollback(s)
}

// Close gives up what is open.
func (c *conn) Close() error {
	if err := c.line.take(context.Background()); err != nil {
		return nil // the test has ended
	}
	defer c.line.give()
	if c.tx != nil {
		return c.end(false)
	}
	return nil
}

// tx is the transaction of a conn.
type tx struct{ conn *conn }

func (t tx) Commit() error   { return t.conn.finish(true) }
func (t tx) Rollback() error { return t.conn.finish(false) }

func (c *conn) finish(commit bool) error {
	if err := c.line.take(context.Background()); err != nil {
		return err
	}
	defer c.line.give()
	return c.end(commit)
}
