package pgxpoolgate

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolgate/poolgate/adapters/internal/pgxlink"
	"github.com/poolgate/poolgate/internal/activity"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A lease is a permit and the connection that it is for, from the checkout until
// both are given back. Like a connection, one goroutine at a time uses it.
type lease struct {
	pool   *Pool
	permit gate.Permit
	conn   *pgxpool.Conn   // nil once it was given back
	link   *pgxlink.Link   // nil for a pool of Wrap
	watch  *poolgate.Lease // nil if nobody observes

	activity activity.Activity // which the gate may ask at any time
}

// acquire takes the permit, and then a connection. It holds neither if it fails, or
// if a hook of the pool or an observer panics.
func (l *lease) acquire(ctx context.Context, p *Pool) error {
	l.watch = p.db.Lease(ctx)
	err := l.take(ctx, p)
	if l.watch != nil {
		l.started(ctx, p, err)
	}
	return err
}

// started has the observers look at the checkout, which failed with err.
func (l *lease) started(ctx context.Context, p *Pool, err error) {
	returned := false
	defer l.releaseUnless(&returned)
	l.watch.Started(p.classOf(ctx), err)
	returned = true
}

func (l *lease) take(ctx context.Context, p *Pool) error {
	permit, err := p.gate.AcquireWith(ctx, gate.Request{Class: p.class, OutOfBand: p.outOfBand, Holder: &l.activity})
	if err != nil {
		return err
	}
	l.watch.Permitted()
	defer func() {
		if l.conn == nil {
			permit.Release()
		}
	}()
	conn, err := p.inner.Acquire(ctx)
	if err != nil && p.links.refused(err) {
		conn, err = p.inner.Acquire(ctx)
	}
	if err != nil {
		if overloaded(err) {
			permit.Worked(0, true, true)
		}
		return err
	}
	l.hold(p, permit, conn)
	return nil
}

// hold makes l that of a permit and a connection, which the calling goroutine
// works with.
func (l *lease) hold(p *Pool, permit gate.Permit, conn *pgxpool.Conn) {
	l.pool, l.permit, l.conn = p, permit, conn
	permit.SetOwner()
	if l.link = p.links.link(conn.Conn()); l.link != nil {
		l.link.Socket.Busy()
	}
}

// discardPatience is how long a caller waits for its bad connection to be
// closed. Most are at once, and then the permit is there for another try.
const discardPatience = 50 * time.Millisecond

// release gives the connection back, and then the permit. A connection that is no
// longer of use is closed in the background, and its permit stays out until then:
// what the limit protects is the server, which may go on until the connection is
// closed. It does nothing if that has happened already.
func (l *lease) release() {
	conn := l.conn
	if conn == nil {
		return
	}
	l.conn = nil
	if l.pool.keeps(conn.Conn(), l.link) {
		conn.Release()
		l.permit.Release()
		l.watch.Ended(false)
		return
	}
	permit, link, watch := l.permit, l.link, l.watch
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer watch.Ended(true)
		defer permit.Release()
		permit.SetOwner() // no longer the caller, who may wait for another permit
		discard(conn.Conn(), link, conn.Release)
	}()
	patience := time.NewTimer(discardPatience)
	defer patience.Stop()
	select {
	case <-done:
	case <-patience.C:
	}
}

// releaseUnless is deferred around a call after which the connection is kept, for
// when it fails, panics or ends the goroutine.
func (l *lease) releaseUnless(kept *bool) {
	if !*kept {
		l.activity.End()
		l.release()
	}
}

// hijacked gives the permit back, and leaves the connection to the caller.
func (l *lease) hijacked() {
	if l.link != nil {
		l.link.Socket.Idle() // so that closing it closes the socket
	}
	l.conn = nil
	l.permit.Release()
	l.watch.Ended(false)
}
