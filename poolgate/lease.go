package poolgate

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// A lease is a connection of the façade: a permit, and a connection of the
// inner pool that is checked out under it. database/sql never uses it from two
// goroutines at once, and closes it after one checkout, since IsValid always
// answers false.
//
// The connection is checked out as an *sql.Conn, but calls go straight to the
// driver's connection inside, not through the *sql.Conn, which would convert
// arguments a second time and watch each context with a second goroutine.
type lease struct {
	connector *connector
	permit    gate.Permit // zero once it is released
	checkout  *sql.Conn   // nil if there is no connection
	conn      driver.Conn // the driver's connection inside checkout

	// used is set once the connection has done anything that the caller may
	// rely on: another must not take its place any more.
	used bool

	// activity is what the lease is used for, which the gate may ask at any time.
	activity activity

	// watch is who wants to know of the lease; nil if nobody does.
	watch *watch

	// asked is set when database/sql asks IsValid, which it does just before
	// it gives back a connection that it thinks is good.
	asked bool
}

// open takes the permit and the connection. It holds neither if it fails or if
// the driver panics.
func (l *lease) open(ctx context.Context) error {
	permit, err := l.connector.acquire(ctx, &l.activity)
	if err != nil {
		return err
	}
	l.permit = permit
	l.watch.granted()
	defer func() {
		if l.checkout == nil {
			l.giveBackPermit()
		}
	}()
	if err := l.take(ctx); err != nil || !l.connector.readOnly {
		return err
	}
	if _, err := l.exec(ctx, "BEGIN READ ONLY", nil); err != nil {
		if l.checkout != nil {
			l.discard()
		}
		return err
	}
	return nil
}

// endReadOnly ends the transaction in which a read-only lease was used.
func (l *lease) endReadOnly() error {
	ctx, cancel := context.WithTimeout(context.Background(), endPatience)
	defer cancel()
	_, err := l.exec(ctx, "COMMIT", nil) // which is a ROLLBACK after an error
	return err
}

// endPatience is how long the end of a read-only lease may take, before its
// connection is given up.
const endPatience = 5 * time.Second

// take checks a connection out of the inner pool.
func (l *lease) take(ctx context.Context) error {
	checkout, err := l.connector.inner.Conn(ctx)
	if err != nil {
		return err
	}
	l.checkout = checkout
	return checkout.Raw(l.keep) // keep neither fails nor panics, so Raw does not either
}

// keep remembers the driver's connection, which stays ours beyond Raw: until
// checkout is closed nobody else uses it.
func (l *lease) keep(conn any) error {
	l.conn = conn.(driver.Conn)
	return nil
}

// Close ends the lease: the connection goes back to the inner pool, then the
// permit to the gate. Where database/sql has not asked IsValid before, it takes
// the connection for bad, and so it is discarded. Close may run under the
// façade's lock, and calls nothing of it.
func (l *lease) Close() error {
	defer l.giveBackPermit() // after the connection, and even if the driver panics
	if l.checkout == nil {
		return nil
	}
	if !l.asked || l.connector.readOnly && l.endReadOnly() != nil {
		if l.checkout != nil {
			l.discard()
		}
		return nil
	}
	checkout := l.checkout
	l.checkout, l.conn = nil, nil
	return checkout.Close()
}

// discard has the inner pool close the connection instead of keeping it.
func (l *lease) discard() {
	l.watch.discarded()
	checkout := l.checkout
	l.checkout, l.conn = nil, nil
	// Raw gives the connection up when its function says that it is bad, and
	// returns that same error.
	_ = checkout.Raw(saysBad)
}

func saysBad(any) error { return driver.ErrBadConn }

func (l *lease) giveBackPermit() {
	permit := l.permit
	l.permit = gate.Permit{}
	permit.Release()
	l.watch.finish()
}

// begin is called before every call into the driver, with the statement if it
// has one, and returns the context for it.
//
// The goroutine that calls is the permit's owner. The one that took it is not
// until then: where MaxOpenConns is set on the façade, database/sql opens for
// others, in a goroutine of its own.
func (l *lease) begin(ctx context.Context, query string) context.Context {
	l.permit.SetOwner()
	if query != "" {
		l.activity.begin(query)
	}
	if l.watch == nil {
		return ctx
	}
	return l.watch.begin(ctx)
}

// guard, deferred around every call into the driver, gives everything back if
// the driver panics or ends the goroutine. database/sql itself does so for
// Exec, but not for Query and BeginTx, where connection and permit would be
// lost for ever. The panic goes on to the caller.
func (l *lease) guard(returned *bool) {
	l.activity.end()
	l.watch.end()
	if *returned {
		return
	}
	defer l.giveBackPermit()
	if l.checkout != nil {
		l.discard()
	}
}

// alive returns ErrBadConn if the lease has nothing to call any more: it was
// given back after a panic, or no other connection was to be had for a bad one.
func (l *lease) alive() error {
	if l.conn == nil {
		return driver.ErrBadConn
	}
	return nil
}

// swap looks at the outcome of a call to the driver. If the connection was bad
// and has not done anything yet, swap puts another in its place, and true tells
// the caller to try again. tries counts the swaps of this call.
//
// database/sql tries a bad connection again, and at the third try insists on a
// new one. A façade cannot ask the inner pool for a new one, and would come
// upon the next of many that have died in it: so it goes on here until it has
// used up what can lie idle in the pool, after which the pool must open one.
func (l *lease) swap(ctx context.Context, err *error, tries *int) bool {
	if *err == driver.ErrSkip { // the driver wants to be asked in another way
		return false
	}
	if !errors.Is(*err, driver.ErrBadConn) {
		l.used = true
		return false
	}
	if l.used || *tries > l.connector.gate.Limit() {
		return false
	}
	*tries++
	l.discard()
	if failed := l.take(ctx); failed != nil {
		*err = failed
		return false
	}
	return true
}

// IsValid always answers false, so that database/sql closes the lease and no
// setting on the façade can keep a permit inside an idle connection.
func (l *lease) IsValid() bool {
	l.asked = true
	return false
}

// Ping asks the connection that it is called on, and no other in its place.
func (l *lease) Ping(ctx context.Context) error {
	if err := l.alive(); err != nil {
		return err
	}
	pinger, ok := l.conn.(driver.Pinger)
	if !ok {
		return nil
	}
	returned := false
	defer l.guard(&returned)
	ctx = l.begin(ctx, "")
	err := pinger.Ping(ctx)
	if err == nil {
		l.used = true
	}
	returned = true
	l.watch.called(ctx, "ping", "", nil, err)
	return err
}

// Raw returns the driver's own connection, below all wrappers. Whoever has it
// may do anything with it, so that no other can take its place later. It is
// nil if the lease has ended.
func (l *lease) Raw() driver.Conn {
	conn := l.leased()
	for {
		wrapper, ok := conn.(interface{ Raw() driver.Conn })
		if !ok {
			return conn
		}
		conn = wrapper.Raw()
	}
}

// leased returns the inner pool's connection, which can be a wrapper too.
func (l *lease) leased() driver.Conn {
	l.used = true
	return l.conn
}
