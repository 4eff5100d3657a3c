package gatehttp

import (
	"net/http"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// NewHandler returns a handler that takes a permit of g for each request before
// it calls next, and gives it back when next returns or panics. A request that
// is refused is answered as [WriteError] does. One whose context ends while it
// waits, mostly because the client has gone, gives its place up and gets a 503
// too.
//
// The permit's class is that of the request's context, see gate.WithClass, and
// so a handler outside of this one can choose it. The work of a request begins
// when it comes to the first NewHandler, see gate.WithStart, for every gate
// that its context then passes: an overloaded one prefers the requests that have
// just come. Among the gate's holders a request is known by the pattern of the
// http.ServeMux that has matched it, if NewHandler is behind one; never by its
// URL.
//
// The http.ResponseWriter reaches next as it is: streaming, hijacking and
// deadlines work as without a gate. The permit is held while an answer is
// streamed. That of a hijacked connection is given back when next returns, even
// if the connection goes on.
//
// Give requests a gate of their own. Where next uses a database behind the same
// gate, each request needs a second permit while it holds one, and when all are
// held by requests these end with gate.ErrDeadlock.
//
// Where a permit is free, it costs a microsecond and four allocations, the copy
// of the request among them. NewHandler panics if next or g is nil.
func NewHandler(next http.Handler, g *gate.Gate) http.Handler {
	if next == nil || g == nil {
		panic("gatehttp: NewHandler: the handler or the gate is nil")
	}
	return &handler{next: next, gate: g}
}

type handler struct {
	next http.Handler
	gate *gate.Gate
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	if _, ok := gate.StartOf(ctx); !ok {
		ctx = gate.WithStart(ctx, time.Now())
	}
	permit, err := h.gate.AcquireWith(ctx, gate.Request{Holder: pattern(r.Pattern)})
	switch {
	case err == nil:
	case ctx.Err() != nil:
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	default:
		WriteError(w, err)
		return
	}
	defer permit.Release()
	permit.SetOwner()
	h.next.ServeHTTP(w, r.WithContext(ctx))
}

// pattern is what a request's permit is used for.
type pattern string

// Statement returns the pattern, which is the program's own text. The permit is
// held for as long as the request is being answered.
func (p pattern) Statement() (text string, running bool) {
	if p == "" {
		return "HTTP request", true
	}
	return "HTTP request " + string(p), true
}
