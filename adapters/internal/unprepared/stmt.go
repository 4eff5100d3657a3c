// Package unprepared has statements that are not prepared on the server.
package unprepared

import (
	"context"
	"database/sql/driver"
	"errors"
)

// A Conn executes statements that are not prepared.
type Conn interface {
	driver.ExecerContext
	driver.QueryerContext
}

// A Stmt is a statement whose text is sent with the arguments each time that it is
// executed. What is wrong with the text shows only then.
type Stmt struct {
	conn  Conn
	query string
}

// New returns the statement that conn executes for query. It sends nothing.
func New(conn Conn, query string) *Stmt { return &Stmt{conn, query} }

// Close does nothing.
func (s *Stmt) Close() error { return nil }

// NumInput returns -1: the server counts the arguments.
func (s *Stmt) NumInput() int { return -1 }

// ExecContext executes the statement.
func (s *Stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.conn.ExecContext(ctx, s.query, args)
}

// QueryContext executes the statement as a query.
func (s *Stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.conn.QueryContext(ctx, s.query, args)
}

// Exec and Query are there because driver.Stmt wants them; database/sql calls
// ExecContext and QueryContext.

func (s *Stmt) Exec([]driver.Value) (driver.Result, error) { return nil, errors.ErrUnsupported }
func (s *Stmt) Query([]driver.Value) (driver.Rows, error)  { return nil, errors.ErrUnsupported }
