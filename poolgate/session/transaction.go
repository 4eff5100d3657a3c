package session

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petermattis/goid"

	"github.com/poolgate/poolgate/internal/operation"
	"github.com/poolgate/poolgate/internal/sqlstate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

const (
	// endGrace is how long a COMMIT goes on after the unit's context has
	// ended, and how long a ROLLBACK may take, before the driver is told to
	// give up.
	endGrace = 5 * time.Second

	// drainTime is how long open rows may take to close when their
	// transaction ends, before their query is cancelled. Drivers read rows to
	// the end to keep the connection.
	drainTime = 50 * time.Millisecond
)

// A transaction is a unit's transaction on one database. One call at a time
// holds it. What no lock guards belongs to the holder.
type transaction struct {
	unit    *unit
	db      *sql.DB
	options sql.TxOptions
	ctx     context.Context // what the driver knows; it does not end with the unit's
	cancel  context.CancelFunc

	base  int // depth of the nested Run in which it was begun
	depth int // and of the innermost that it has a savepoint for

	failed   error // the server's, after which the transaction accepts no statement
	unsure   bool  // a statement may have failed after its call had returned
	prepared bool  // there may be an *sql.Stmt, whose uses the session does not see

	reading atomic.Pointer[reading] // the rows that were returned last; nil if known to be closed

	roll func() error // rolls back, once; another caller waits for it

	// Guarded by unit.mu.
	tx     *sql.Tx // nil until it is begun; only the holder sets it
	holder int64   // the goroutine that uses it, or 0
	call   string  // and in what
	ending bool    // COMMIT is under way
	ended  bool
}

// A reading is the rows of a query that a caller reads.
type reading struct {
	rows   *sql.Rows
	by     int64           // the goroutine that they were returned to
	ctx    context.Context // the query's; its end closes the rows
	cancel context.CancelFunc
}

func newTransaction(u *unit, db *sql.DB) *transaction {
	t := &transaction{unit: u, db: db, options: u.options, base: u.top.depth, depth: u.top.depth}
	// database/sql rolls back on its own when the context of a transaction
	// ends, in a goroutine that nobody can wait for, and pgx then loses the
	// connection. So it gets a context that does not end, and abandon rolls
	// back.
	t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(u.ctx))
	return t
}

// hold takes t for a call. The caller holds unit.mu.
func (t *transaction) hold(call string) error {
	me := goid.Get()
	if t.holder != 0 {
		return &BusyError{Goroutine: me, Call: call, Holder: t.holder, HolderCall: t.call}
	}
	t.holder, t.call = me, call
	return nil
}

// release ends a statement that claim has begun. It forgets a transaction that
// could not be begun.
func (t *transaction) release() {
	u := t.unit
	u.mu.Lock()
	t.holder = 0
	if t.tx == nil {
		for i, other := range u.txs {
			if other == t {
				u.txs = append(u.txs[:i:i], u.txs[i+1:]...)
				break
			}
		}
		t.cancel()
	}
	u.mu.Unlock()
	u.calls.Done()
}

// begin begins the transaction. It waits no longer than ctx allows.
func (t *transaction) begin(ctx context.Context) error {
	waiting := context.AfterFunc(ctx, t.cancel)
	tx, err := t.db.BeginTx(operation.Deferred(t.ctx, operation.Begin), &t.options)
	inTime := waiting()
	if err == nil {
		if inTime && t.begun(tx) {
			return nil
		}
		tx.Rollback()
		err = context.Canceled // replaced below
	}
	u := t.unit
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case errors.Is(err, gate.ErrRejected) && !errors.Is(err, gate.ErrCanceled):
		u.refused = err
	case u.closed:
		return ErrClosed
	case u.ctx.Err() != nil:
		return u.ended(u.ctx.Err(), err)
	case ctx.Err() != nil:
		return u.ended(ctx.Err(), err)
	}
	return err
}

// ended returns the error of a transaction that could not begin, with err,
// because a context ended. If it ended during a wait for a permit, the error says
// so too. The caller holds u.mu.
func (u *unit) ended(because, err error) error {
	if !errors.Is(err, gate.ErrCanceled) {
		return because
	}
	if !errors.Is(err, because) { // the transaction's own context was canceled
		err = fmt.Errorf("session: %w: %w", because, err)
	}
	u.refused = err
	return err
}

// begun keeps tx, unless the unit has ended meanwhile.
func (t *transaction) begun(tx *sql.Tx) bool {
	t.unit.mu.Lock()
	defer t.unit.mu.Unlock()
	if t.unit.closed || t.unit.ctx.Err() != nil {
		return false
	}
	t.unit.refused = nil
	t.tx = tx
	t.roll = sync.OnceValue(func() error {
		if r := t.reading.Load(); r != nil {
			drain := time.AfterFunc(drainTime, r.cancel)
			defer drain.Stop()
		}
		return tx.Rollback()
	})
	return true
}

// savepoints sets the missing savepoints of the nested Runs up to depth.
func (t *transaction) savepoints(ctx context.Context, depth int) error {
	for t.depth < depth {
		savepoint := fmt.Sprintf("SAVEPOINT poolgate_%d", t.depth+1)
		if _, err := t.tx.ExecContext(operation.Deferred(ctx, savepoint), savepoint); err != nil {
			t.saw(err)
			return err
		}
		t.depth++
	}
	return nil
}

// usedIn reports whether the nested Run at depth has used the transaction.
func (t *transaction) usedIn(depth int) bool { return t.base >= depth || t.depth >= depth }

// leave ends the nested Run at depth: its work is undone, or becomes part of
// what surrounds it.
func (t *transaction) leave(ctx context.Context, depth int, undo bool) error {
	switch {
	case !t.usedIn(depth):
		return nil
	case t.base >= depth && undo: // begun in it: it holds nothing else
		t.rollback() // an error means that the connection was lost, and the work with it
		return nil
	case t.base >= depth:
		t.base, t.depth = depth-1, depth-1
		return nil
	}
	t.depth = depth - 1
	t.closeRows()
	name := fmt.Sprintf("poolgate_%d", depth)
	if undo {
		if _, err := t.tx.ExecContext(ctx, "ROLLBACK TO SAVEPOINT "+name); err != nil {
			return fmt.Errorf("session: undoing a nested Run: %w", err)
		}
		t.failed = nil
	}
	release := "RELEASE SAVEPOINT " + name
	if undo || !t.unsure && t.failed == nil { // it cannot fail
		ctx = operation.Deferred(ctx, release)
	}
	_, err := t.tx.ExecContext(ctx, release)
	t.saw(err)
	if err != nil {
		return fmt.Errorf("session: ending a nested Run: %w", err)
	}
	return nil
}

// try makes a call that sends a statement. BEGIN may be sent with the first one of
// the transaction, and that may find that its connection is dead before anything
// was sent: then try begins the transaction once more, on another.
func (t *transaction) try(ctx context.Context, statement func() error) error {
	for tries := 1; ; tries++ {
		err := statement()
		if tries == 3 || !errors.Is(err, operation.ErrUnsent) {
			return err
		}
		t.tx.Rollback() // gives the connection up
		t.unit.mu.Lock()
		t.tx = nil
		t.unit.mu.Unlock()
		depth := t.depth
		t.depth = t.base
		if err = t.begin(ctx); err == nil {
			err = t.savepoints(ctx, depth)
		}
		if err != nil {
			return err
		}
	}
}

// saw notes, from the error of a statement that has ended, whether the
// transaction accepts further statements.
func (t *transaction) saw(err error) {
	switch {
	case err == nil:
		t.failed, t.unsure = nil, t.prepared
	case t.failed == nil && sqlstate.Of(err) != "":
		t.failed = err
	}
}

// ask asks the server whether the transaction accepts statements, unless the
// last one has shown it.
func (t *transaction) ask(ctx context.Context) error {
	if !t.unsure {
		return nil
	}
	_, err := t.tx.ExecContext(ctx, "SELECT 1")
	t.saw(err)
	return err
}

// commit ends the transaction. The caller has claimed it.
func (t *transaction) commit() error {
	err := t.tx.Commit()
	t.finish()
	return err
}

// rollback ends the transaction if it has not ended.
func (t *transaction) rollback() error {
	if t.tx == nil {
		return nil
	}
	timer := time.AfterFunc(endGrace, t.cancel)
	t.closeRows()
	err := t.roll()
	late := !timer.Stop()
	t.finish()
	switch {
	case err == nil, errors.Is(err, sql.ErrTxDone):
		return nil
	case late:
		return fmt.Errorf("session: roll back: given up after %v: %w (%v)", endGrace, context.DeadlineExceeded, err)
	}
	return fmt.Errorf("session: roll back: %w", err)
}

// abandon rolls back, or limits the time of the COMMIT that is under way,
// because the unit's context has ended.
func (t *transaction) abandon() {
	t.unit.mu.Lock()
	begun, ending, ended := t.tx != nil, t.ending, t.ended
	t.unit.mu.Unlock()
	switch {
	case ending && !ended:
		time.AfterFunc(endGrace, t.cancel)
	case begun && !ended:
		timer := time.AfterFunc(endGrace, t.cancel)
		defer timer.Stop()
		t.roll()
	}
}

func (t *transaction) finish() {
	t.unit.mu.Lock()
	t.ended = true
	t.unit.mu.Unlock()
	t.forgetRows()
	t.cancel()
}

// query runs a query and remembers its rows. They can be cancelled after it has
// returned, whatever ctx its caller has chosen.
func (t *transaction) query(ctx context.Context, query string, args []any) (*sql.Rows, error) {
	ctx, cancel := context.WithCancel(ctx)
	var rows *sql.Rows
	err := t.try(ctx, func() (err error) {
		rows, err = t.tx.QueryContext(ctx, query, args...)
		return err
	})
	t.saw(err)
	if err != nil {
		cancel()
		return nil, err
	}
	t.unsure = true // the server may fail while the rows are read
	t.reading.Store(&reading{rows, goid.Get(), ctx, cancel})
	return rows, nil
}

// checkRows returns a BusyError if the rows that were returned last are still
// open: neither driver can do anything else on the connection, and lib/pq would
// lose it.
func (t *transaction) checkRows(call string) error {
	r := t.reading.Load()
	if r == nil {
		return nil
	}
	if r.open() {
		return &BusyError{Goroutine: goid.Get(), Call: call, Holder: r.by, HolderCall: "QueryContext", Rows: true}
	}
	if r.by == goid.Get() { // only the goroutine that reads them may call Err
		if err := r.rows.Err(); sqlstate.Of(err) != "" {
			t.saw(err)
		}
	}
	t.forgetRows()
	return nil
}

// open reports whether the rows are open, by asking for their columns, which
// only open rows have. Rows answer at once, unless another goroutine is reading
// them, and never if one has scanned sql.RawBytes while another is trying to
// close them. So rows that do not answer within a second count as open. Rows
// whose context has ended are being closed: open waits for that.
func (r *reading) open() bool {
	answer := make(chan bool, 1)
	stop := make(chan struct{})
	defer close(stop)
	go func() {
		for {
			_, err := r.rows.Columns()
			if err != nil || r.ctx.Err() == nil {
				answer <- err == nil
				return
			}
			select {
			case <-stop:
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case open := <-answer:
		return open
	case <-timer.C:
		return true
	}
}

// closeRows closes rows that are still open. If their reader has left them with
// sql.RawBytes scanned, database/sql waits for this Close in everything else that
// ends a transaction.
func (t *transaction) closeRows() {
	if r := t.reading.Load(); r != nil {
		drain := time.AfterFunc(drainTime, r.cancel)
		r.rows.Close()
		drain.Stop()
		t.forgetRows()
	}
}

// forgetRows forgets rows that are closed.
func (t *transaction) forgetRows() {
	if r := t.reading.Swap(nil); r != nil {
		r.cancel()
	}
}
