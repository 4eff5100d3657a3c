// Package pgxlink owns the socket of a pgx connection, and cancels what runs on
// it. Adapters that reach pgx through database/sql and natively share it.
package pgxlink

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"github.com/poolgate/poolgate/adapters/internal/socket"
)

// A Link is what an adapter has of one pgx connection.
type Link struct {
	PG     *pgconn.PgConn
	Line   *socket.Line
	Socket *socket.Conn

	cancelled chan struct{} // closed when the request to cancel is over; nil if there was none
}

// Attach has the connection that config opens dial through a Link, and has watch
// make what pgx calls when a context ends. PG and Socket are set by then.
func Attach(config *pgconn.Config, watch func(*Link) ctxwatch.Handler) *Link {
	l := &Link{Line: &socket.Line{Dial: socket.DialFunc(config.DialFunc)}}
	config.DialFunc = l.Line.DialContext
	config.BuildContextWatcherHandler = func(pg *pgconn.PgConn) ctxwatch.Handler {
		l.PG, l.Socket = pg, socket.Of(pg.Conn())
		return watch(l)
	}
	return l
}

// Established says that the connection has come about. It is in use.
func (l *Link) Established(pg *pgconn.PgConn) {
	l.PG = pg
	l.Socket = l.Line.Established(pg.Conn())
}

// Interrupt asks the server to cancel what it does, in the background, and has
// reads and writes fail once socket.Patience has passed. Only one goroutine at a
// time may call Interrupt or Resume.
func (l *Link) Interrupt() {
	if l.cancelled != nil {
		return
	}
	end := time.Now().Add(socket.Patience)
	l.Socket.SetDeadline(end)
	done := make(chan struct{})
	l.cancelled = done
	go func() {
		defer close(done)
		ctx, cancel := context.WithDeadline(context.Background(), end)
		defer cancel()
		l.PG.CancelRequest(ctx) // Line.Settled knows what has become of it
	}()
}

// Resume waits for the request of Interrupt, if there was one, which could
// otherwise hit what the server does next. Then it lifts the deadline.
func (l *Link) Resume() {
	if l.cancelled != nil {
		<-l.cancelled
		l.cancelled = nil
		l.Socket.SetDeadline(time.Time{})
	}
}

// Cancel asks the server to cancel what it does, and reports whether the server
// could be reached for that.
func (l *Link) Cancel() bool {
	before := l.Line.Answered()
	ctx, cancel := context.WithTimeout(context.Background(), socket.CheckInterval)
	defer cancel()
	return l.PG.CancelRequest(ctx) == nil && l.Line.Answered() > before
}

// IsClean reports whether the connection may go back to a pool: it is open, no
// call and no transaction is under way, and no request to cancel is.
func (l *Link) IsClean() bool {
	return !l.PG.IsClosed() && !l.PG.IsBusy() && l.PG.TxStatus() == 'I' && l.Line.Settled()
}

// End closes the connection by the driver's close, unless that has happened
// already, and returns when the server's process for it has ended, as far as that
// can be known. That takes about a second where the server cannot be reached,
// and ten at most where it can.
func (l *Link) End(closeDriver func() error) error {
	if l.PG.IsBusy() {
		l.Cancel()
	}
	var err error
	if !l.PG.IsClosed() {
		l.Socket.SetDeadline(time.Now().Add(socket.Patience))
		err = closeDriver()
	}
	l.Socket.End(l.Cancel)
	select {
	case <-l.PG.CleanupDone():
	case <-time.After(time.Second): // pgx does not always close it
	}
	return err
}
