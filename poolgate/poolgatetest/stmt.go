package poolgatetest

import (
	"context"
	"database/sql/driver"
	"errors"
)

// A stmt is a prepared statement, which the driver prepares on the line.
type stmt struct {
	conn  *conn
	inner driver.Stmt
}

func (s *stmt) NumInput() int { return s.inner.NumInput() }

func (s *stmt) Close() error {
	if err := s.conn.line.take(context.Background()); err != nil {
		return nil // the test has ended, and the statement with it
	}
	defer s.conn.line.give()
	return s.inner.Close()
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (result driver.Result, err error) {
	inner, ok := s.inner.(driver.StmtExecContext)
	if !ok {
		return nil, errUnsupported
	}
	err = s.conn.call(ctx, func(ctx context.Context) error {
		result, err = inner.ExecContext(ctx, args)
		return err
	})
	return result, err
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	inner, ok := s.inner.(driver.StmtQueryContext)
	if !ok {
		return nil, errUnsupported
	}
	return s.conn.query(ctx, func(ctx context.Context) (driver.Rows, error) { return inner.QueryContext(ctx, args) })
}

// Exec and Query are there because driver.Stmt wants them; database/sql calls
// the forms with a context.
func (s *stmt) Exec([]driver.Value) (driver.Result, error) { return nil, errUnsupported }
func (s *stmt) Query([]driver.Value) (driver.Rows, error)  { return nil, errUnsupported }

var errUnsupported = errors.New("poolgatetest: the driver has no such call with a context")

func execOn(ctx context.Context, conn driver.Conn, query string, args []driver.NamedValue) (driver.Result, error) {
	if c, ok := conn.(driver.ExecerContext); ok {
		return c.ExecContext(ctx, query, args)
	}
	return nil, errUnsupported
}

func queryOn(ctx context.Context, conn driver.Conn, query string, args []driver.NamedValue) (driver.Rows, error) {
	if c, ok := conn.(driver.QueryerContext); ok {
		return c.QueryContext(ctx, query, args)
	}
	return nil, errUnsupported
}
