package session

import (
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/petermattis/goid"
)

// A level is the outermost Run of a unit, at depth 0, or a nested one.
type level struct {
	parent    *level
	depth     int
	goroutine int64 // that entered it
	before    int   // how many hooks there were then
	after     int

	ended  bool  // guarded by unit.mu, as is what follows
	doomed error // why it cannot be kept
}

// enterable returns the reason why a Run cannot become a part of s now, if there is
// one.
func (u *unit) enterable(s *Session) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	return u.usable(s, nestedRun)
}

// accepts returns an error if a part of the unit cannot have c.
func (u *unit) accepts(c Config) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	switch {
	case c.Isolation != sql.LevelDefault && c.Isolation != u.options.Isolation:
		return fmt.Errorf("session: Config.Isolation is %v in a part of a unit whose isolation is %v; "+
			"leave it out, or open a unit with RunNew", c.Isolation, u.options.Isolation)
	case c.ReadOnly && !u.options.ReadOnly:
		return errors.New("session: Config.ReadOnly is set in a part of a unit that can write; " +
			"leave it out, or open a unit with RunNew")
	}
	return nil
}

// enter begins a nested Run.
func (u *unit) enter(s *Session) (*Session, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if err := u.usable(s, nestedRun); err != nil {
		return nil, err
	}
	u.top = &level{
		parent:    u.top,
		depth:     u.top.depth + 1,
		goroutine: goid.Get(),
		before:    len(u.before),
		after:     len(u.after),
	}
	return &Session{unit: u, level: u.top}, nil
}

// leave ends the nested Run of s. It undoes the work if that is not to be kept, or
// cannot be. If that fails, the whole unit is doomed.
func (u *unit) leave(s *Session, keep bool) error {
	l := s.level
	u.mu.Lock()
	txs, err := u.claimNested(l)
	if err != nil {
		u.mu.Unlock()
		return err
	}
	u.mu.Unlock()
	defer u.releaseAll(txs)
	var open error
	for _, t := range txs { // also for the error that ended them; t.leave closes those that are open
		if err := t.checkRows(endOfNestRun); err != nil && t.usedIn(l.depth) && open == nil {
			open = err
		}
	}
	u.mu.Lock()
	var why error
	if keep {
		if why = u.uncommittable(); why == nil {
			why = open
		}
	}
	gone := u.ctx.Err() != nil
	u.mu.Unlock()
	undo := !keep || why != nil
	var broken error
	if !gone { // otherwise everything is rolled back anyway
		for _, t := range txs {
			broken = both(broken, t.leave(u.ctx, l.depth, undo))
		}
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.pop(l)
	if !gone {
		u.txs = slices.DeleteFunc(slices.Clone(u.txs), func(t *transaction) bool { return t.ended })
	}
	if undo {
		u.before = u.before[:min(l.before, len(u.before))]
		u.after = u.after[:min(l.after, len(u.after))]
	}
	if broken != nil {
		u.top.doomed = broken
	}
	if why != nil {
		why = fmt.Errorf("session: nested Run undone: %w", why)
	}
	return both(why, broken)
}

// claimNested claims everything for the end of l. If other goroutines still work in
// it, the unit is doomed: what they did before its end cannot be told from what
// they do after it. The caller holds u.mu.
func (u *unit) claimNested(l *level) ([]*transaction, error) {
	l.ended = true
	if u.closed {
		return nil, ErrClosed
	}
	if u.top != l {
		err := &BusyError{Goroutine: goid.Get(), Call: endOfNestRun, Holder: u.top.goroutine, HolderCall: nestedRun}
		u.doomAll(err)
		return nil, err
	}
	txs, err := u.claimAll(endOfNestRun)
	if err != nil {
		u.doomAll(err)
		u.pop(l)
	}
	return txs, err
}

func (u *unit) doomAll(why error) {
	for l := u.top; l != nil; l = l.parent {
		l.doomed = why
	}
}

// pop removes l from the nested Runs, and those around it that have ended.
func (u *unit) pop(l *level) {
	for u.top = l.parent; u.top.ended; {
		u.top = u.top.parent
	}
}

// doom notes that the work of l must not be kept.
func (u *unit) doom(l *level, why error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if l.doomed == nil {
		l.doomed = why
	}
}
