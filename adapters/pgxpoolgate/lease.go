package pgxpoolgate

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolgate/poolgate/adapters/internal/pgxlink"
	"github.com/poolgate/poolgate/adapters/internal/socket"
	"github.com/poolgate/poolgate/internal/activity"
	"github.com/poolgate/poolgate/internal/sqlstate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A lease is a permit and the connection that it is for, from the checkout until
// both are given back. Like a connection, one goroutine at a time uses it.
type lease struct {
	pool   *Pool
	permit gate.Permit
	conn   *pgxpool.Conn // nil once it was given back
	link   *pgxlink.Link // nil for a pool of Wrap

	activity activity.Activity // which the gate may ask at any time
}

// acquire takes the permit, and then a connection. It holds neither if it fails or
// if a hook of the pool panics.
func (l *lease) acquire(ctx context.Context, p *Pool) error {
	permit, err := p.gate.AcquireWith(ctx, gate.Request{Class: p.class, OutOfBand: p.outOfBand, Holder: &l.activity})
	if err != nil {
		return err
	}
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
	if p.links != nil {
		if l.link = linkOf(conn.Conn()); l.link != nil {
			l.link.Socket.Busy()
		}
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
	if l.isClean(conn) {
		if l.link != nil {
			l.link.Socket.Idle()
		}
		conn.Release()
		l.permit.Release()
		return
	}
	permit, link := l.permit, l.link
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer permit.Release()
		permit.SetOwner() // no longer the caller, who may wait for another permit
		discard(conn, link)
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

func (l *lease) isClean(conn *pgxpool.Conn) bool {
	if l.link != nil {
		return l.link.IsClean()
	}
	pg := conn.Conn().PgConn()
	return !pg.IsClosed() && !pg.IsBusy() && pg.TxStatus() == 'I'
}

// discard closes a connection, and returns when the server's process for it has
// ended, as far as that can be known.
func discard(conn *pgxpool.Conn, link *pgxlink.Link) {
	own := conn.Conn()
	closed := own.PgConn().CleanupDone()
	if link == nil {
		conn.Release() // the pool closes it, in the background
		select {
		case <-closed:
		case <-time.After(closeTimeout):
		}
		return
	}
	link.End(func() error {
		ctx, cancel := context.WithTimeout(context.Background(), socket.Patience)
		defer cancel()
		return own.Close(ctx)
	})
	conn.Release()
}

// closeTimeout is how long the closing of a connection of a pool of Wrap may take.
// It is a little longer than pgx itself allows.
const closeTimeout = 16 * time.Second

// hijacked gives the permit back, and leaves the connection to the caller.
func (l *lease) hijacked() {
	if l.link != nil {
		l.link.Socket.Idle() // so that closing it closes the socket
	}
	l.conn = nil
	l.permit.Release()
}

// begin is called before every call on the connection, with the statement if it
// has one. The goroutine that calls is the permit's owner. It does nothing once the
// connection was given back: then pgx returns an error without it.
func (l *lease) begin(query string) (start time.Time) {
	if l.conn == nil {
		return start
	}
	l.permit.SetOwner()
	if query != "" {
		l.activity.Begin(query)
	}
	if l.pool.gate.IsAdaptive() {
		start = time.Now()
	}
	return start
}

// took returns how long a call took, for a gate that wants to know.
func took(start time.Time) time.Duration {
	if start.IsZero() {
		return 0
	}
	return time.Since(start)
}

// end is called after the last call for a statement, of which pgx has returned err.
// It returns the error for the caller.
func (l *lease) end(ctx context.Context, took time.Duration, err error) error {
	l.activity.End()
	if l.conn != nil && took > 0 {
		l.permit.Worked(took, err != nil && err != pgx.ErrNoRows, overloaded(err))
	}
	return explain(ctx, err)
}

// queryCanceled is the SQLSTATE of a statement that was cancelled.
const queryCanceled = "57014"

// explain makes the error of a statement that the server has cancelled since its
// context ended that of the context, too.
func explain(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, ctx.Err()) {
		return err
	}
	if said, ok := errors.AsType[*pgconn.PgError](err); ok && said.Code == queryCanceled {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// overloaded reports whether the server said that it has too much to do: class
// 53 of PostgreSQL's error codes is insufficient resources, such as too many
// connections.
func overloaded(err error) bool { return err != nil && strings.HasPrefix(sqlstate.Of(err), "53") }
