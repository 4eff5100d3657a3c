package poolgate

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// Class returns a view of the DB for the gate's class of that name, whatever
// class the context carries: a *sql.DB on the same gate and the same
// connections, for an ORM or a library that knows nothing of classes. Per call,
// gate.WithClass does the same.
//
// Each name has one view, which the DB closes when it is closed. Closing a view
// ends only that view: the next call makes another. Class panics if the gate has no
// class of that name.
func (db *DB) Class(name string) *sql.DB {
	known := slices.ContainsFunc(db.gate.Stats().Classes, func(c gate.ClassStats) bool { return c.Name == name })
	if !known {
		panic(fmt.Sprintf("poolgate: Class(%q): Config.Gate.Classes has no class of this name", name))
	}
	return db.views.get(name, func(onClose func() error) *sql.DB {
		return (&connector{db: db, class: name}).open(onClose)
	})
}

// ErrOutOfBand is the error of BeginTx on DB.OutOfBand: what is out of band is
// autocommit.
var ErrOutOfBand = errors.New("poolgate: no transaction out of band: begin it on the DB itself")

// OutOfBand returns a view of the DB for single statements while the goroutine
// has a transaction or rows open: each on a connection of its own, committed by
// itself, never inside a transaction or a session. BeginTx on it returns
// ErrOutOfBand.
//
// Its permits are those of the gate's lane, gate.Config.OutOfBand, and do not
// count towards the limit: a goroutine that holds a transaction, and with it a
// permit, can wait for one of these and does not wait for itself, even if the
// limit is 1 and all others do the same. Do not hold rows or a Conn of the view
// while you query the DB: that can wait for itself, and ends with
// gate.ErrDeadlock.
//
// There is one such view, which the DB closes when it is closed. OutOfBand
// panics if the gate has no lane.
func (db *DB) OutOfBand() *sql.DB {
	return db.outOfBand(gate.OutOfBandClass, false)
}

// OutOfBandReadOnly is OutOfBand for reading only: the server refuses a write,
// with SQLSTATE 25006. Each checkout is a read-only transaction, which takes two
// more round trips and leaves nothing behind on the connection. It needs a
// server that knows BEGIN READ ONLY, as PostgreSQL does; on others each call
// fails with an error that says so. A Conn of the view is one transaction: a
// statement that fails fails all after it. The end of the transaction does not
// hold the caller beyond the deadline of its context.
func (db *DB) OutOfBandReadOnly() *sql.DB {
	return db.outOfBand(gate.OutOfBandClass+" read only", true)
}

func (db *DB) outOfBand(name string, readOnly bool) *sql.DB {
	if db.config.Gate.OutOfBand == gate.NoOutOfBand { // not the size of the lane, which a share can make 0
		panic("poolgate: OutOfBand: the gate has no lane, as Config.Gate.OutOfBand is NoOutOfBand " +
			"or the inner pool's MaxOpenConns leaves no connection besides the limit")
	}
	return db.views.get(name, func(onClose func() error) *sql.DB {
		c := &connector{db: db, outOfBand: true, readOnly: readOnly}
		return c.open(onClose)
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
