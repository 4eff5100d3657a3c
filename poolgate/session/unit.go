package session

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/petermattis/goid"

	"github.com/poolgate/poolgate/internal/operation"
)

type (
	beforeHook = func(context.Context) error
	afterHook  = func(context.Context)
)

// The calls of a goroutine that has a nested Run open, and of one that ends it.
const (
	nestedRun    = "Run"
	endOfNestRun = "the end of Run"
)

// A unit is what the Sessions of a unit of work and of its nested Runs share.
type unit struct {
	ctx       context.Context // as it was given; its end rolls the unit back
	unwatched func() bool     // ends the watch over ctx
	end       operation.End   // reports the end of the unit; nil without an observer

	mu      sync.Mutex // guards everything below, and the fields of transactions and levels that say so
	options sql.TxOptions
	top     *level         // the innermost nested Run
	txs     []*transaction // in the order in which they were begun
	before  []beforeHook
	after   []afterHook
	closed  bool
	written bool  // something was committed
	refused error // the gate's error, if it kept the last transaction from beginning
	failure error // of the function, or of the last attempt to commit

	calls sync.WaitGroup // statements in flight; none is added once closed is set
}

func newUnit(ctx context.Context, options sql.TxOptions) *unit {
	ctx, end := operation.Start(ctx, "session")
	u := &unit{ctx: ctx, end: end, options: options, top: &level{goroutine: goid.Get()}}
	u.unwatched = context.AfterFunc(ctx, u.abandon)
	return u
}

// abandon gives the connections back when ctx has ended, without waiting until
// the function that works in the unit notices. A COMMIT that is under way gets
// time to end.
func (u *unit) abandon() {
	u.mu.Lock()
	txs := slices.Clone(u.txs)
	for _, t := range txs {
		if t.tx == nil { // not begun yet
			t.cancel()
		}
	}
	u.mu.Unlock()
	for _, t := range txs {
		t.abandon()
	}
}

// usable returns the reason why s cannot be used now, if there is one. The caller
// holds u.mu.
func (u *unit) usable(s *Session, call string) error {
	if u.closed || s.level.ended {
		return ErrClosed
	}
	if err := u.ctx.Err(); err != nil {
		return fmt.Errorf("session: the context of the unit of work has ended: %w", err)
	}
	// A context from outside the nested Run that is open is harmless in the
	// goroutine that opened the Run. In another, the work could be undone with
	// that of the Run.
	if me := goid.Get(); s.level != u.top && u.top.goroutine != me {
		return &BusyError{Goroutine: me, Call: call, Holder: u.top.goroutine, HolderCall: nestedRun}
	}
	return nil
}

// claim returns the transaction on db for one statement, and begins it if
// needed. The caller calls release after the statement.
func (u *unit) claim(ctx context.Context, s *Session, db *sql.DB, call string) (*transaction, error) {
	u.mu.Lock()
	t, err := u.claimLocked(s, db, call)
	depth := u.top.depth
	u.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := t.checkRows(call); err != nil {
		t.release()
		return nil, err
	}
	if t.tx == nil {
		err = t.begin(ctx)
	}
	if err == nil {
		err = t.savepoints(ctx, depth)
	}
	if err != nil {
		t.release()
		return nil, err
	}
	return t, nil
}

func (u *unit) claimLocked(s *Session, db *sql.DB, call string) (*transaction, error) {
	if err := u.usable(s, call); err != nil {
		return nil, err
	}
	at := slices.IndexFunc(u.txs, func(t *transaction) bool { return t.db == db })
	var t *transaction
	if at >= 0 {
		t = u.txs[at]
	} else {
		t = newTransaction(u, db)
		u.txs = append(u.txs, t)
	}
	if err := t.hold(call); err != nil {
		return nil, err
	}
	u.calls.Add(1)
	return t, nil
}

// claimAll holds all transactions, or none if one is in use. The caller holds
// u.mu, and calls releaseAll later.
func (u *unit) claimAll(call string) ([]*transaction, error) {
	for i, t := range u.txs {
		if err := t.hold(call); err != nil {
			for _, held := range u.txs[:i] {
				held.holder = 0
			}
			return nil, err
		}
	}
	u.calls.Add(1)
	return u.txs, nil
}

func (u *unit) releaseAll(txs []*transaction) {
	u.mu.Lock()
	for _, t := range txs {
		t.holder = 0
	}
	u.mu.Unlock()
	u.calls.Done()
}

// readOnly makes transactions that begin from now on read only.
func (u *unit) readOnly() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.options.ReadOnly = true
}

// refusal returns the error of the gate that kept the last transaction from
// beginning, or nil.
func (u *unit) refusal() error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.refused
}

func (u *unit) committed() bool {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.written
}

// nothingOpen returns ErrOpen if there is a transaction.
func (u *unit) nothingOpen(s *Session) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.usable(s, nestedRun); err != nil {
		return err
	}
	if len(u.txs) > 0 {
		return ErrOpen
	}
	return nil
}

// addHooks adds hooks to those of s.
func (u *unit) addHooks(s *Session, before []beforeHook, after []afterHook) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.closed || s.level.ended {
		return ErrClosed
	}
	u.before = append(u.before, before...)
	u.after = append(u.after, after...)
	return nil
}

// both joins two errors. It returns a single one as it is.
func both(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return errors.Join(a, b)
}
