package session

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"github.com/petermattis/goid"

	"github.com/poolgate/poolgate/internal/sqlstate"
)

// outermost returns the reason why s cannot end the unit now, if there is one.
// The caller holds u.mu.
func (u *unit) outermost(s *Session, call string) error {
	me := goid.Get()
	switch {
	case u.closed || s.level.ended:
		return ErrClosed
	case u.top.depth > 0 && s.level != u.top && u.top.goroutine != me:
		return &BusyError{Goroutine: me, Call: call, Holder: u.top.goroutine, HolderCall: nestedRun}
	case u.top.depth > 0:
		return ErrNested
	}
	return nil
}

// claimOutermost holds all transactions so that s can end the unit. The caller
// calls releaseAll.
func (u *unit) claimOutermost(s *Session, call string) ([]*transaction, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.outermost(s, call); err != nil {
		return nil, err
	}
	return u.claimAll(call)
}

// commit runs the hooks and commits everything.
func (u *unit) commit(s *Session) error {
	for {
		hook, err := u.commitOrHook(s)
		if err != nil {
			return err
		}
		if hook == nil {
			break
		}
		if err := hook(with(u.ctx, s)); err != nil {
			return u.fail(s, err)
		}
	}
	ctx := with(u.ctx, nil)
	for hook := u.nextAfter(); hook != nil; hook = u.nextAfter() {
		hook(ctx)
	}
	return nil
}

// commitLast commits everything before the unit is closed, which rolls back
// what could not be committed. A unit that is closed already has nothing to
// commit.
func (u *unit) commitLast(s *Session) error {
	err := u.commit(s)
	if err == ErrClosed {
		return nil
	}
	if _, ok := errors.AsType[*CommitError](err); err != nil && !ok {
		u.failed(err)
	}
	return err
}

// nextAfter returns the next hook of AfterCommit, or nil.
func (u *unit) nextAfter() afterHook {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.after) == 0 {
		return nil
	}
	hook := u.after[0]
	u.after = u.after[1:]
	return hook
}

// commitOrHook commits everything, unless a hook has to run first: then it
// returns that. It refuses to commit while rows are open: the commit would cut
// them off, and the server may fail on those that nobody has read.
func (u *unit) commitOrHook(s *Session) (beforeHook, error) {
	txs, err := u.claimOutermost(s, "Commit")
	if err != nil {
		return nil, err
	}
	defer u.releaseAll(txs)
	for _, t := range txs {
		if err := t.checkRows("Commit"); err != nil && u.ctx.Err() == nil {
			return nil, err
		}
	}
	hook, why := u.nextBefore()
	if hook != nil {
		return hook, nil
	}
	if why == nil && len(txs) > 1 { // a single COMMIT fails by itself
		why = u.ask(txs)
	}
	if why == nil {
		why = u.beginCommit(txs)
	}
	if why != nil {
		return nil, u.giveUp(txs, why)
	}
	return nil, u.commitEach(txs)
}

// nextBefore returns the next hook of BeforeCommit, or the reason why the unit
// cannot be committed, if there is one.
func (u *unit) nextBefore() (beforeHook, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.uncommittable(); err != nil || len(u.before) == 0 {
		return nil, err
	}
	hook := u.before[0]
	u.before = u.before[1:]
	return hook, nil
}

// ask asks the server, before the first COMMIT of several, whether a
// transaction has failed unnoticed.
func (u *unit) ask(txs []*transaction) error {
	for _, t := range txs {
		if err := t.ask(u.ctx); err != nil {
			return fmt.Errorf("an earlier statement failed, and the transaction with it: %w", u.because(err))
		}
	}
	return nil
}

// beginCommit notes that COMMIT is under way, unless the unit cannot be
// committed any more: then it returns the reason.
func (u *unit) beginCommit(txs []*transaction) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.uncommittable(); err != nil {
		return err
	}
	for _, t := range txs {
		t.ending = true
	}
	return nil
}

// uncommittable returns the reason why the unit, or the nested Run that is
// open, must be rolled back, if there is one. The caller holds u.mu.
func (u *unit) uncommittable() error {
	if u.top.doomed != nil {
		return fmt.Errorf("%w: %w", ErrDoomed, u.top.doomed)
	}
	for _, t := range u.txs {
		if t.failed != nil {
			return fmt.Errorf("an earlier statement failed, and the transaction with it: %w", t.failed)
		}
	}
	if len(u.txs)+len(u.before) == 0 { // nothing needs a context
		return nil
	}
	return u.ctx.Err()
}

// because returns err as an error of the unit's context if that has ended, and
// err says only that something was cancelled.
func (u *unit) because(err error) error {
	ended := u.ctx.Err()
	if ended == nil || errors.Is(err, ended) {
		return err
	}
	switch state := sqlstate.Of(err); {
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%w (%v)", ended, err)
	case state == "57014": // query_canceled
		return fmt.Errorf("%w (%w)", ended, err)
	}
	return err
}

// commitEach commits the transactions, which are claimed, in turn.
func (u *unit) commitEach(txs []*transaction) error {
	outcomes := make([]Outcome, len(txs))
	var failure error
	for i, t := range txs {
		outcomes[i].DB = t.db
		if failure != nil {
			t.rollback() // its own error changes nothing
			continue
		}
		failure = t.commit()
		outcomes[i].State = stateAfter(failure)
		failure = u.because(failure)
	}
	u.mu.Lock()
	for _, o := range outcomes {
		u.written = u.written || o.State != RolledBack
	}
	u.txs = nil
	u.failure = failure
	if failure == nil {
		u.mu.Unlock()
		return nil
	}
	u.before, u.after = nil, nil
	u.mu.Unlock()
	return &CommitError{Outcomes: outcomes, Err: failure}
}

// fail rolls everything back because a hook failed.
func (u *unit) fail(s *Session, why error) error {
	txs, err := u.claimOutermost(s, "Commit")
	if err != nil {
		return both(why, err)
	}
	defer u.releaseAll(txs)
	return u.giveUp(txs, why)
}

// giveUp rolls back the transactions, which are claimed. why is the reason.
func (u *unit) giveUp(txs []*transaction, why error) error {
	outcomes := make([]Outcome, len(txs))
	for i, t := range txs {
		outcomes[i].DB = t.db
	}
	u.failed(why)
	u.rollbackEach(txs) // if that fails, the connection is lost, and the server rolls back
	return &CommitError{Outcomes: outcomes, Err: why}
}

func (u *unit) rollback(s *Session) error {
	txs, err := u.claimOutermost(s, "Rollback")
	if err != nil {
		return err
	}
	defer u.releaseAll(txs)
	return u.rollbackEach(txs)
}

// rollbackEach rolls back the transactions, which are claimed, and the unit
// with them.
func (u *unit) rollbackEach(txs []*transaction) error {
	var err error
	for _, t := range txs {
		err = both(err, t.rollback())
	}
	u.mu.Lock()
	u.txs, u.before, u.after = nil, nil, nil
	u.top.doomed = nil
	u.mu.Unlock()
	return err
}

// close rolls back what is open and ends the unit.
func (u *unit) close() error {
	u.mu.Lock()
	if u.closed {
		u.mu.Unlock()
		return nil
	}
	u.closed = true
	for _, t := range u.txs {
		if t.tx == nil {
			t.cancel() // ends the wait to begin it
		}
	}
	u.mu.Unlock()
	u.unwatched()
	u.calls.Wait()
	u.mu.Lock()
	txs := u.txs
	u.mu.Unlock()
	err := u.rollbackEach(txs)
	if u.end != nil {
		u.mu.Lock()
		failure, committed := both(u.failure, err), u.written
		u.mu.Unlock()
		u.end(failure, slog.Bool("committed", committed))
	}
	return err
}

// failed notes why the unit failed, for its observer; nil means that it did not.
func (u *unit) failed(err error) {
	u.mu.Lock()
	u.failure = err
	u.mu.Unlock()
}
