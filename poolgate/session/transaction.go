package session

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/petermattis/goid"

	"github.com/poolgate/poolgate/internal/sqlstate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// endGrace is how long a COMMIT goes on when the unit's context has ended, and
// how long a ROLLBACK may take, until the driver is told to give up.
const endGrace = 5 * time.Second

// A transaction is a unit's on one database. One call at a time holds it; what
// no lock guards belongs to the holder.
type transaction struct {
	unit    *unit
	db      *sql.DB
	options sql.TxOptions
	ctx     context.Context // what the driver knows; it does not end with the unit's
	cancel  context.CancelFunc

	base  int // depth of the nested Run in which it was begun
	depth int // and of the innermost that it has a savepoint for

	failed error // the server's, after which the transaction accepts no statement

	// The last rows that were handed out, and to whom; nil if known closed.
	rows   *sql.Rows
	rowsBy int64

	roll func() error // rolls back, once; whoever calls it again waits for it

	// Guarded by unit.mu.
	tx     *sql.Tx // nil until it is begun; only the holder sets it
	holder int64   // the goroutine that uses it, or 0
	call   string  // and in what
	ending bool    // COMMIT is under way
	ended  bool
}

func newTransaction(u *unit, db *sql.DB) *transaction {
	t := &transaction{unit: u, db: db, options: u.options, base: u.top.depth, depth: u.top.depth}
	// database/sql rolls back on its own when the context of a transaction
	// ends, in a goroutine that nobody can wait for, and pgx then loses the
	// connection. So it is given one that does not end, and abandon does it.
	t.ctx, t.cancel = context.WithCancel(context.WithoutCancel(u.ctx))
	return t
}

// hold takes t for a call. Called with unit.mu held.
func (t *transaction) hold(call string) error {
	me := goid.Get()
	if t.holder != 0 {
		return &BusyError{Goroutine: me, Call: call, Holder: t.holder, HolderCall: t.call}
	}
	t.holder, t.call = me, call
	return nil
}

// release ends a statement that claim had begun. A transaction that could not
// be begun is forgotten.
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
	tx, err := t.db.BeginTx(t.ctx, &t.options)
	inTime := waiting()
	if err == nil {
		if inTime && t.begun(tx) {
			return nil
		}
		tx.Rollback()
		err = context.Canceled // and below, why
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
// so too. It is called with u.mu held.
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
	t.roll = sync.OnceValue(tx.Rollback)
	return true
}

// savepoints sets those that are missing for the nested Runs up to depth.
func (t *transaction) savepoints(ctx context.Context, depth int) error {
	for t.depth < depth {
		if _, err := t.tx.ExecContext(ctx, fmt.Sprintf("SAVEPOINT poolgate_%d", t.depth+1)); err != nil {
			t.saw(err)
			return err
		}
		t.depth++
	}
	return nil
}

// leave ends the nested Run at depth: its work is undone, or becomes a part of
// what is around it.
func (t *transaction) leave(ctx context.Context, depth int, undo bool) error {
	switch {
	case t.base >= depth && undo: // begun in it: nothing else is in it
		t.rollback() // an error means that the connection was lost, and the work with it
		return nil
	case t.base >= depth:
		t.base, t.depth = depth-1, depth-1
		return nil
	case t.depth < depth: // not used in it
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
	_, err := t.tx.ExecContext(ctx, "RELEASE SAVEPOINT "+name)
	if err != nil {
		t.saw(err)
		return fmt.Errorf("session: ending a nested Run: %w", err)
	}
	return nil
}

// saw keeps in mind whether the transaction accepts statements: after an error
// of the server none but the one that rolls back to a savepoint.
func (t *transaction) saw(err error) {
	switch {
	case err == nil:
		t.failed = nil
	case t.failed == nil && sqlstate.Of(err) != "":
		t.failed = err
	}
}

// commit ends the transaction. Whoever calls it has it claimed.
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
	defer timer.Stop()
	err := t.roll()
	t.finish()
	if errors.Is(err, sql.ErrTxDone) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("session: roll back: %w", err)
	}
	return nil
}

// abandon rolls back, or bounds the COMMIT that is under way, since the unit's
// context has ended.
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
	t.cancel()
}

// checkRows returns a BusyError if the rows that were handed out last are
// still open: neither driver can do anything else on the connection, and
// lib/pq would lose it.
func (t *transaction) checkRows(call string) error {
	if t.rows == nil {
		return nil
	}
	if t.rowsOpen() {
		return &BusyError{Goroutine: goid.Get(), Call: call, Holder: t.rowsBy, HolderCall: "QueryContext", Rows: true}
	}
	if t.rowsBy == goid.Get() { // Err is for the goroutine that reads them
		if err := t.rows.Err(); sqlstate.Of(err) != "" {
			t.saw(err)
		}
	}
	t.rows = nil
	return nil
}

// rowsOpen asks the rows for their columns, which only open rows have. They
// answer at once, unless another goroutine is reading them, and never if this
// one has scanned sql.RawBytes and another is trying to close them: so those
// that do not answer within a second are taken for open.
func (t *transaction) rowsOpen() bool {
	rows, open := t.rows, make(chan bool, 1)
	go func() {
		_, err := rows.Columns()
		open <- err == nil
	}()
	timer := time.NewTimer(time.Second)
	defer timer.Stop()
	select {
	case answer := <-open:
		return answer
	case <-timer.C:
		return true
	}
}

// closeRows closes rows that whoever opened them has left open.
func (t *transaction) closeRows() {
	if t.rows != nil {
		t.rows.Close()
		t.rows = nil
	}
}
