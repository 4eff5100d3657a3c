package poolgate

import (
	"database/sql"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// Class returns a view of the DB whose every checkout is of the gate's class of
// that name, whatever class the context carries: a *sql.DB on the same gate and
// the same inner pool, for an ORM or a library that knows nothing of classes.
// Per call, gate.WithClass does the same.
//
// Each name has one view, which the DB closes when it is closed. Closing a view
// ends only that: the next call makes another. Class panics if the gate has no
// class of that name.
func (db *DB) Class(name string) *sql.DB {
	known := slices.ContainsFunc(db.gate.Stats().Classes, func(c gate.ClassStats) bool { return c.Name == name })
	if !known {
		panic(fmt.Sprintf("poolgate: Class(%q): Config.Gate.Classes has no class of this name", name))
	}
	return db.views.get(name, func(onClose func() error) *sql.DB {
		return newFacade(db.inner, db.gate, name, onClose)
	})
}

// views are the views of a DB that are open.
type views struct {
	mu     sync.Mutex // guards what follows
	byName map[string]*sql.DB
	closed bool
}

func (v *views) get(name string, open func(onClose func() error) *sql.DB) *sql.DB {
	v.mu.Lock()
	view, ok := v.byName[name]
	if !ok {
		view = open(func() error {
			v.mu.Lock()
			defer v.mu.Unlock()
			delete(v.byName, name)
			return nil
		})
		if v.byName == nil {
			v.byName = make(map[string]*sql.DB)
		}
		v.byName[name] = view
	}
	closed := v.closed
	v.mu.Unlock()
	if closed { // as every view of a DB that is
		view.Close()
	}
	return view
}

func (v *views) close() {
	v.mu.Lock()
	v.closed = true
	open := slices.Collect(maps.Values(v.byName))
	v.mu.Unlock() // a view that closes takes itself out
	for _, view := range open {
		view.Close() // the error would be ours, and there is none
	}
}
