package gather

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/poolgate/poolgate/poolgate/session"
)

// ErrRowsOpen is the error of a statement that returned without an error of its
// own while rows that it had opened were not closed.
var ErrRowsOpen = errors.New("the statement returned with rows open: close them, or read them to the end, before it returns")

var errStuck = errors.New("rows cannot be closed")

const (
	// drainTime is how long rows that a statement has left open are read to
	// their end, which keeps the connection, before their query is cancelled.
	drainTime = 50 * time.Millisecond

	// pruneAt is how many rows a handle remembers before it looks for those
	// that are closed.
	pruneAt = 64
)

// A handle is the database as one statement sees it. It remembers the rows that
// it hands out, so that none of them outlives the statement: database/sql makes
// whatever ends a connection wait for its rows. The package's own statements
// close their rows, and do without it, see direct.
type handle struct {
	session.DBTX
	given context.Context // what the statement is given

	mu     sync.Mutex      // guards what follows; a statement may use goroutines
	ctx    context.Context // of its queries, which ends when it has returned; nil before the first
	cancel context.CancelFunc
	rows   []*sql.Rows
	prune  int // the number of rows at which to look for closed ones
}

// direct returns the database that db, which may be a handle, stands for, to a
// statement that makes one call of it.
func direct(db session.DBTX) session.DBTX {
	if h, ok := db.(*handle); ok {
		db = h.DBTX
	}
	if p, ok := db.(*part); ok {
		p.once = true
	}
	return db
}

func (h *handle) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	rows, err := h.DBTX.QueryContext(h.bounded(ctx), query, args...)
	if err != nil {
		return nil, err
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.rows) >= max(pruneAt, h.prune) {
		h.rows = slices.DeleteFunc(h.rows, func(rows *sql.Rows) bool { return !isOpen(rows) })
		h.prune = 2 * len(h.rows)
	}
	h.rows = append(h.rows, rows)
	return rows, nil
}

func (h *handle) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return h.DBTX.QueryRowContext(h.bounded(ctx), query, args...)
}

// bounded returns ctx with an end no later than that of the statement. ctx need
// not come from the one that the statement was given.
func (h *handle) bounded(ctx context.Context) context.Context {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.ctx == nil {
		h.ctx, h.cancel = context.WithCancel(h.given)
	}
	if ctx == h.given {
		return h.ctx
	}
	ctx, cancel := context.WithCancel(ctx)
	context.AfterFunc(h.ctx, cancel)
	return ctx
}

// end closes the rows that the statement has left open. It returns the error of
// the statement, or ErrRowsOpen if it has none but has left rows open. Where
// rows cannot be closed, as another goroutine is stuck in reading them, it adds
// errStuck.
func (h *handle) end(err error) error {
	h.mu.Lock()
	left, ctx, cancel := h.rows, h.ctx, h.cancel
	h.mu.Unlock()
	if ctx == nil {
		return err
	}
	defer cancel()
	if len(left) == 0 || !anyOpen(left) {
		return err
	}
	if err == nil && ctx.Err() == nil { // otherwise they are being closed already
		err = ErrRowsOpen
	}
	drain := time.AfterFunc(drainTime, cancel)
	defer drain.Stop()
	if !within(endGrace, func() { closeAll(left) }) {
		err = errors.Join(err, errStuck)
	}
	return err
}

// anyOpen reports whether any of rows are open. If the caller has scanned
// sql.RawBytes and the context ends right now, only Close releases their lock.
func anyOpen(rows []*sql.Rows) bool {
	stuck := time.AfterFunc(time.Second, func() { closeAll(rows) })
	defer stuck.Stop()
	return slices.ContainsFunc(rows, isOpen)
}

func closeAll(all []*sql.Rows) {
	for _, rows := range all {
		rows.Close()
	}
}

// isOpen asks rows for their columns, which only open ones have.
func isOpen(rows *sql.Rows) bool {
	_, err := rows.Columns()
	return err == nil
}

// within reports whether f has returned within d. If it has not, it goes on.
func within(d time.Duration, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
