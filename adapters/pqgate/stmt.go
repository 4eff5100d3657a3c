package pqgate

import (
	"context"
	"database/sql/driver"
	"strings"
	"time"

	"github.com/poolgate/poolgate/adapters/internal/socket"
)

// closeTimeout bounds how long closing a statement may take. It has no context.
const closeTimeout = 5 * time.Second

// pqStmt is what lib/pq's statements can do, except for COPY.
type pqStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

// stmt is lib/pq's statement, under the care of its Conn.
type stmt struct {
	pqStmt
	conn *Conn
}

func (s *stmt) Close() error {
	call := s.conn.begin()
	call.Harmless = true
	lift := s.conn.socket.Limit(context.Background(), 0, closeTimeout)
	defer lift()
	return s.conn.result(context.Background(), call, s.pqStmt.Close())
}

func (s *stmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	call := s.conn.begin()
	res, err := s.pqStmt.ExecContext(ctx, args)
	if err = s.conn.result(ctx, call, err); err != nil {
		return nil, err
	}
	return res, nil
}

func (s *stmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	call := s.conn.begin()
	inner, err := s.pqStmt.QueryContext(ctx, args)
	return s.conn.rows(ctx, call, inner, err)
}

// pqCopy is what lib/pq's COPY can do.
type pqCopy interface {
	driver.Stmt
	CopyData(ctx context.Context, line string) (driver.Result, error)
}

// copyStmt is lib/pq's COPY, which by itself does not heed contexts.
type copyStmt struct {
	pqCopy
	conn *Conn
}

// ExecContext writes a row, or ends the data if there are no arguments.
func (s *copyStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	values := make([]driver.Value, len(args))
	for i, arg := range args {
		values[i] = arg.Value
	}
	call := s.conn.begin()
	// A row is mostly just put into a buffer, which takes less time than
	// watching a context. So that is done only where something is written.
	if len(args) == 0 {
		defer s.conn.socket.Limit(ctx, socket.Patience, 0)()
	} else {
		defer s.conn.socket.LimitWrites(ctx)()
	}
	res, err := s.Exec(values)
	if err = s.conn.result(ctx, call, err); err != nil {
		return nil, err
	}
	return res, nil
}

// Close ends the data, if that was not done.
func (s *copyStmt) Close() error {
	call := s.conn.begin()
	ctx := s.conn.tx
	if ctx == nil {
		ctx = context.Background()
	}
	defer s.conn.socket.Limit(ctx, socket.Patience, 0)()
	return s.conn.result(ctx, call, s.pqCopy.Close())
}

// startsWithCopy reports whether query is what lib/pq takes for a COPY.
func startsWithCopy(query string) bool {
	for {
		query = strings.TrimLeft(query, " \t\r\n")
		switch {
		case strings.HasPrefix(query, "--"):
			_, query, _ = strings.Cut(query, "\n")
		case strings.HasPrefix(query, "/*"):
			_, query, _ = strings.Cut(query, "*/")
		default:
			return len(query) >= 4 && strings.EqualFold(query[:4], "copy")
		}
	}
}
