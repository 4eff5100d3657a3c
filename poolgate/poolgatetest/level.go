package poolgatetest

import (
	"fmt"
	"slices"
)

// A level is a transaction of the code under test, or a statement by itself.
type level struct {
	number    int
	savepoint string
	readOnly  bool
	failed    bool // it takes no statements until it is rolled back
	wrote     bool
	undone    bool

	// others have written since its savepoint, in this order.
	others []*level

	// saved has the savepoints that the code under test has set.
	saved map[string]mark
}

// A mark says what there was when a savepoint was set.
type mark struct {
	others int // how many of level.others
	made   int // as in line
}

// What follows is called by whoever has the line's turn.

// note keeps in mind that s has written, or a statement by itself.
func (l *line) note(s *level) {
	writer := s
	if writer == nil {
		writer = &level{}
	}
	writer.wrote = true
	for _, o := range l.open {
		if o != s {
			o.others = append(o.others, writer)
		}
	}
}

// begin begins a transaction.
func (l *line) begin(readOnly bool) (*level, error) {
	s := &level{readOnly: readOnly}
	if err := l.moveUp(s); err != nil {
		return nil, err
	}
	return s, nil
}

// moveUp sets a savepoint for s, in place of the one that it may have.
func (l *line) moveUp(s *level) error {
	l.made++
	name := fmt.Sprintf("poolgatetest_%d", l.made)
	if err := l.exec("SAVEPOINT " + name); err != nil {
		return err
	}
	l.close(s)
	l.open = append(l.open, s)
	s.number, s.savepoint, s.others = l.made, name, nil
	return nil
}

// commit ends s. Its savepoint goes with those around it if others have begun
// since.
func (l *line) commit(s *level) error {
	if s.failed {
		l.rollback(s)
		return abortedError{}
	}
	if len(l.open) == 1 {
		// What is done here is undone, but for the error.
		err := l.exec("SAVEPOINT poolgatetest_check; SET CONSTRAINTS ALL IMMEDIATE; " +
			"ROLLBACK TO SAVEPOINT poolgatetest_check; RELEASE SAVEPOINT poolgatetest_check")
		if err != nil {
			l.rollback(s)
			return err
		}
	}
	return l.release(s)
}

// release gives the savepoint of s up, which goes with those before it if
// others are open that have begun since.
func (l *line) release(s *level) error {
	last := l.open[len(l.open)-1] == s
	l.close(s)
	if !last {
		return nil
	}
	return l.exec("RELEASE SAVEPOINT " + s.savepoint)
}

// rollback undoes s.
func (l *line) rollback(s *level) error {
	if !s.wrote && len(s.others) > 0 { // there is nothing to undo but theirs
		return l.release(s)
	}
	l.lose(s.others)
	later := l.open[slices.Index(l.open, s)+1:]
	query := "ROLLBACK TO SAVEPOINT " + s.savepoint + "; RELEASE SAVEPOINT " + s.savepoint + again(later)
	l.close(s)
	s.undone = true
	return l.exec(query)
}

// save sets a savepoint of the code under test.
func (l *line) save(s *level, name string) error {
	if s.saved == nil {
		s.saved = make(map[string]mark)
	}
	s.saved[name] = mark{len(s.others), l.made}
	return l.exec("SAVEPOINT " + name)
}

// unsave gives up a savepoint of the code under test, unless those of others
// would go with it.
func (l *line) unsave(s *level, name string) error {
	if m, ok := s.saved[name]; ok && len(l.since(m)) > 0 {
		return nil
	}
	return l.exec("RELEASE SAVEPOINT " + name)
}

// rollbackTo undoes what s has done since a savepoint of the code under test.
func (l *line) rollbackTo(s *level, name string) error {
	query := "ROLLBACK TO SAVEPOINT " + name
	if m, ok := s.saved[name]; ok {
		l.lose(s.others[m.others:])
		query += again(l.since(m))
	}
	s.failed = false
	return l.exec(query)
}

// since returns the open levels that have begun since m.
func (l *line) since(m mark) []*level {
	at := slices.IndexFunc(l.open, func(o *level) bool { return o.number > m.made })
	if at < 0 {
		return nil
	}
	return l.open[at:]
}

// again returns the statements that set the savepoints of levels again, which
// have gone with an earlier one.
func again(levels []*level) string {
	query := ""
	for _, o := range levels {
		query += "; SAVEPOINT " + o.savepoint
	}
	return query
}

func (l *line) close(s *level) {
	l.open = slices.DeleteFunc(l.open, func(o *level) bool { return o == s })
}

// lose fails the test if what others have written goes with a rollback.
func (l *line) lose(others []*level) {
	kept := slices.ContainsFunc(others, func(o *level) bool { return !o.undone })
	if kept && l.tx != nil {
		l.t.Errorf("poolgatetest: a rollback has undone what others had written since, which would have stayed otherwise: " +
			"on a test's one connection that cannot be shown; this test needs a database of its own")
	}
}

// abortedError is the server's own for a transaction that has failed.
type abortedError struct{}

func (abortedError) Error() string {
	return "poolgatetest: current transaction is aborted, commands ignored until end of transaction block (25P02)"
}

// SQLState returns the error's SQLSTATE.
func (abortedError) SQLState() string { return "25P02" }
