package poolgate

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// A SharedPool is a gated pool with an interface of its own, which the
// connections and the gate of a [DB] come from. adapters/pgxpoolgate has one. It
// is safe for concurrent use.
type SharedPool interface {
	// Connect takes a connection from the pool, for a caller that has a permit.
	// IsValid of that connection, which must be a driver.Validator, gives it back
	// to the pool and returns true, or returns false if it cannot be used again.
	// Then Close closes it, and returns when it is closed.
	driver.Connector

	// Gate returns the gate. Close of the DB closes it, and nothing else.
	Gate() *gate.Gate

	// Stats returns the statistics of all connections of the pool.
	Stats() sql.DBStats

	// Bound has the pool keep no more than n connections, those in use included,
	// and close what is idle beyond that. If n is negative, it is the pool's own
	// setting that counts again.
	Bound(n int)

	// Ungated returns a connector for connections that are not of the pool.
	Ungated() driver.Connector
}

// OpenShared returns a DB on the gate and the connections of p, with the
// configuration that its gate was made with. What goes through either takes
// permits from one limit. The number and the lifetime of connections are the
// pool's: SetMaxIdleConns, SetConnMaxIdleTime and SetConnMaxLifetime of the DB do
// nothing. A connection keeps no prepared statements of a *sql.Stmt beyond a
// checkout.
func OpenShared(p SharedPool, config gate.Config) *DB {
	db := &DB{gate: p.Gate(), config: Config{Gate: config}, source: sharedPool{p}}
	db.open()
	return db
}

// A sharedPool is a SharedPool as a source of connections.
type sharedPool struct{ SharedPool }

func (p sharedPool) take(ctx context.Context, s *seat, _ bool) (*connection, error) {
	conn, err := p.Connect(ctx)
	if err != nil {
		return nil, err
	}
	s.ofInner = connection{driver: conn, validator: conn.(driver.Validator)}
	return &s.ofInner, nil
}

func (p sharedPool) giveBack(c *connection) bool {
	if !c.validator.IsValid() {
		return false
	}
	*c = connection{}
	return true
}

// discard need not return an error: nobody waits for one.
func (p sharedPool) discard(c connection) { _ = c.driver.Close() }

// prepared returns statements of which trim closes all.
func (p sharedPool) prepared(*connection) *statements { return new(statements) }

func (p sharedPool) fit(int)                      { p.Bound(-1) }
func (p sharedPool) bound(n int)                  { p.Bound(n) }
func (p sharedPool) driver() driver.Driver        { return p.Driver() }
func (p sharedPool) stats() sql.DBStats           { return p.Stats() }
func (p sharedPool) setMaxIdle(int)               {}
func (p sharedPool) setMaxIdleTime(time.Duration) {}
func (p sharedPool) setMaxLifetime(time.Duration) {}
func (p sharedPool) close() error                 { return nil }

// A Lease is a checkout that does not go through an *sql.DB, but by the other
// interface of a [SharedPool], for the observers of the DB. Its methods do nothing
// on nil. One goroutine at a time may use it.
type Lease struct{ watch watch }

// Lease begins a checkout under ctx, before it takes its permit. It returns nil if
// no observer wants to know of it.
func (db *DB) Lease(ctx context.Context) *Lease {
	if len(db.observers.get()) == 0 {
		return nil
	}
	l := new(Lease)
	if db.observers.watch(ctx, &l.watch) == nil {
		return nil
	}
	return l
}

// Permitted says that the checkout has its permit.
func (l *Lease) Permitted() {
	if l != nil {
		l.watch.granted()
	}
}

// Started says that the checkout has its connection too, or that it has failed
// with err. class is that of the permit.
func (l *Lease) Started(class string, err error) {
	if l != nil {
		l.watch.start(class, err)
	}
}

// Begin says that a call to the driver begins. It returns the context for it.
func (l *Lease) Begin(ctx context.Context) context.Context {
	if l == nil {
		return ctx
	}
	l.watch.ended.Calls++
	return l.watch.with(ctx)
}

// End says that the call has ended, of which c.Lease need not be set. c.Took is
// how long the caller waited for the server.
func (l *Lease) End(ctx context.Context, c Call) {
	if l != nil {
		l.watch.ended.Busy += c.Took
		l.watch.tell(ctx, c)
	}
}

// Ended says that the permit was given back, and whether the connection was
// closed for being bad.
func (l *Lease) Ended(discarded bool) {
	if l == nil {
		return
	}
	if discarded {
		l.watch.discarded()
	}
	l.watch.finish()
}
