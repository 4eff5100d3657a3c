package pgxgate

import (
	"context"
	"sync"
	"time"

	"github.com/poolgate/poolgate/adapters/internal/pgxlink"
)

// A watcher is told by pgx when the context of a call ends. It asks the server
// to cancel, and gives it until socket.Patience to answer; what has not returned
// by then fails. So the connection can be kept where the server answers.
//
// Calls that do not come by a Conn, but by pgx's own connection inside, end at
// once, and the connection with them, as with pgx alone.
type watcher struct {
	link *pgxlink.Link

	mu      sync.Mutex // guards what follows, and the link's Interrupt and Resume
	calls   int        // of a Conn that are under way; two only by mistake
	foreign bool       // the deadline is for a call that came by another way
}

// watching is what a Conn needs of its watcher.
type watching interface {
	begin()
	end()
	interrupt()
}

// begin says that a call of a Conn begins.
func (w *watcher) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls++
}

// end says that the call has ended. It waits for the request to cancel, if
// there was one, which could otherwise hit what the server does next.
func (w *watcher) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls--
	if w.calls == 0 {
		w.link.Resume()
	}
}

// interrupt ends the call that is under way, if there is one.
func (w *watcher) interrupt() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calls > 0 {
		w.link.Interrupt()
	}
}

// HandleCancel is called by pgx when the context of a call has ended.
func (w *watcher) HandleCancel(context.Context) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.calls > 0 {
		w.link.Interrupt()
		return
	}
	w.foreign = true
	w.link.Socket.SetDeadline(time.Now())
}

// HandleUnwatchAfterCancel is called by pgx after that call. Those of a Conn
// end later, by end: they may be several of pgx's.
func (w *watcher) HandleUnwatchAfterCancel() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.foreign {
		w.foreign = false
		w.link.Socket.SetDeadline(time.Time{})
	}
}
