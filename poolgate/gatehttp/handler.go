package gatehttp

import (
	"net/http"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// NewHandler returns a handler that takes a permit of g for each request, calls
// next, and releases the permit when next returns or panics. It answers a request
// that gets no permit as [WriteError] does, also if its context ends while it
// waits, usually because the client has gone. A request whose context is done on
// arrival gets a 503 too.
//
// The permit has the class of the request's context, see [Class]. The first
// NewHandler that a request passes records its start, see gate.WithStart, for all
// gates that the context passes later: an overloaded gate prefers the requests
// that started last. In gate.Gate.Holders a request appears as the pattern of the
// http.ServeMux that matched it, if a mux calls NewHandler's handler, and never as
// its URL.
//
// NewHandler passes the http.ResponseWriter on as it is, so streaming, hijacking
// and deadlines work as without a gate. A request holds its permit while its
// response is streamed. The permit of a hijacked connection is released when next
// returns, even if the connection stays open.
//
// Give requests a gate of their own. Where next uses a database behind the same
// gate, each request needs a second permit while it holds one, and when requests
// hold all permits they fail with gate.ErrDeadlock.
//
// Where a permit is free, it costs a microsecond and four allocations, including
// the copy of the request. NewHandler panics if next or g is nil.
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
	if err != nil { // the gate's, or that of a context that was done on arrival
		SetRetryAfter(w.Header(), err)
		http.Error(w, http.StatusText(http.StatusServiceUnavailable), http.StatusServiceUnavailable)
		return
	}
	defer permit.Release()
	permit.SetOwner()
	h.next.ServeHTTP(w, r.WithContext(ctx))
}

// pattern describes a request as the holder of a permit.
type pattern string

// Statement returns the pattern, which is text of the program itself. A request
// runs as long as it holds its permit.
func (p pattern) Statement() (text string, running bool) {
	if p == "" {
		return "HTTP request", true
	}
	return "HTTP request " + string(p), true
}
