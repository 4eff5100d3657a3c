package session

import (
	"fmt"
	"log/slog"

	"github.com/petermattis/goid"
)

// outermost returns why s cannot end the unit now, if so. Called with u.mu
// held.
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

// commit runs the hooks and commits everything.
func (u *unit) commit(s *Session, early bool) error {
	for {
		hook, err := u.commitOrHook(s, early)
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

// nextAfter takes the next hook of AfterCommit, or nil.
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

// commitOrHook commits everything, unless there is a hook to be run before:
// then it returns that. Where rows are still open, an early commit refuses: it
// would end them in the middle. At the end of a unit, whoever forgot to close
// them wants no more of them.
func (u *unit) commitOrHook(s *Session, early bool) (beforeHook, error) {
	u.mu.Lock()
	err := u.outermost(s, "Commit")
	var txs []*transaction
	if err == nil {
		txs, err = u.claimAll("Commit")
	}
	u.mu.Unlock()
	if err != nil {
		return nil, err
	}
	defer u.releaseAll(txs)
	for _, t := range txs {
		if err := t.checkRows("Commit"); err != nil && early {
			return nil, err
		}
	}
	u.mu.Lock()
	why := u.uncommittable()
	if why == nil && len(u.before) > 0 {
		hook := u.before[0]
		u.before = u.before[1:]
		u.mu.Unlock()
		return hook, nil
	}
	for _, t := range txs {
		t.ending = why == nil
	}
	u.mu.Unlock()
	if why != nil {
		return nil, u.giveUp(txs, why)
	}
	return nil, u.commitEach(txs)
}

// uncommittable returns why the unit, or the nested Run that is open, must be
// rolled back, if so. Called with u.mu held.
func (u *unit) uncommittable() error {
	if u.top.doomed != nil {
		return fmt.Errorf("%w: %w", ErrDoomed, u.top.doomed)
	}
	for _, t := range u.txs {
		if t.failed != nil {
			return fmt.Errorf("an earlier statement failed, and the transaction with it: %w", t.failed)
		}
	}
	if len(u.txs)+len(u.before) == 0 { // no need of a context
		return nil
	}
	return u.ctx.Err()
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

// fail rolls everything back, since a hook failed.
func (u *unit) fail(s *Session, why error) error {
	u.mu.Lock()
	err := u.outermost(s, "Commit")
	var txs []*transaction
	if err == nil {
		txs, err = u.claimAll("Commit")
	}
	u.mu.Unlock()
	if err != nil {
		return both(why, err)
	}
	defer u.releaseAll(txs)
	return u.giveUp(txs, why)
}

// giveUp rolls back the transactions, which are claimed, as why forbids to
// commit them.
func (u *unit) giveUp(txs []*transaction, why error) error {
	outcomes := make([]Outcome, len(txs))
	for i, t := range txs {
		outcomes[i].DB = t.db
	}
	u.failed(why)
	u.rollbackEach(txs) // where that fails, the connection is lost, and the server does it
	return &CommitError{Outcomes: outcomes, Err: why}
}

func (u *unit) rollback(s *Session) error {
	u.mu.Lock()
	err := u.outermost(s, "Rollback")
	var txs []*transaction
	if err == nil {
		txs, err = u.claimAll("Rollback")
	}
	u.mu.Unlock()
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
			t.cancel() // whoever waits to begin it waits in vain
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

// failed remembers why the unit failed, for whoever wants to know how it ended;
// nil that it did not.
func (u *unit) failed(err error) {
	u.mu.Lock()
	u.failure = err
	u.mu.Unlock()
}
