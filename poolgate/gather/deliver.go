package gather

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"sync"
)

// The results of a pipeline come from the driver. Statements expect *sql.Rows,
// which only database/sql can make. So a delivery is a database whose queries
// have their result as the argument.

func newDelivery() *sql.DB { return sql.OpenDB(delivery{}) }

type delivery struct{}

func (delivery) Connect(context.Context) (driver.Conn, error) { return delivery{}, nil }
func (delivery) Driver() driver.Driver                        { return nil }
func (delivery) Prepare(string) (driver.Stmt, error)          { return nil, errors.ErrUnsupported }
func (delivery) Begin() (driver.Tx, error)                    { return nil, errors.ErrUnsupported }
func (delivery) Close() error                                 { return nil }
func (delivery) CheckNamedValue(*driver.NamedValue) error     { return nil }

func (delivery) QueryContext(_ context.Context, _ string, args []driver.NamedValue) (driver.Rows, error) {
	a := args[0].Value.(answer)
	if a.err != nil {
		return nil, a.err
	}
	return delivered(a.rows), nil
}

// An answer is what a statement gets.
type answer struct {
	rows   *turnRows
	result driver.Result
	err    error
	own    func() // makes the calling goroutine that which works under the permit; nil if there is no call
}

// turnRows are the rows of a statement while it is its turn. The statement reads
// them, and the pipeline closes them when it goes on.
type turnRows struct {
	driver.Rows
	ctx  context.Context // of the statement
	stop func() bool     // ends the watch on ctx

	mu     sync.Mutex // guards what follows, and the calls
	closed bool
	failed error // of the statement, for the server
}

func (r *turnRows) Next(dest []driver.Value) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.closed:
		return io.EOF
	case r.ctx.Err() != nil:
		return r.ctx.Err()
	}
	return r.Rows.Next(dest)
}

func (r *turnRows) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return nil
	}
	r.closed = true
	r.failed = r.Rows.Close() // which reads what is left, until ctx ends
	r.stop()
	return r.failed
}

// ColumnTypeDatabaseTypeName is the driver's, if it has one.
func (r *turnRows) ColumnTypeDatabaseTypeName(i int) string {
	if named, ok := r.Rows.(driver.RowsColumnTypeDatabaseTypeName); ok {
		return named.ColumnTypeDatabaseTypeName(i)
	}
	return ""
}

func (r *turnRows) isOpen() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return !r.closed
}

// end closes the rows, and returns the error of their statement.
func (r *turnRows) end() error {
	r.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.failed
}
