package gather

import (
	"context"
	"database/sql/driver"
	"io"
	"sync"

	"github.com/poolgate/poolgate/internal/delivery"
)

// An answer is what a statement gets.
type answer struct {
	rows   *turnRows
	result driver.Result
	err    error
	own    func() // makes the calling goroutine that which works under the permit; nil if there is no call
}

// delivery returns the answer to a query, of which *sql.Rows are made.
func (a answer) delivery() delivery.Result {
	if a.err != nil {
		return delivery.Result{Err: a.err}
	}
	return delivery.Result{Rows: delivered(a.rows)}
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
