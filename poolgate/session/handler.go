package session

import (
	"database/sql"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gatehttp"
)

// HandlerConfig configures [NewHandler]. Its zero value is good.
type HandlerConfig struct {
	// Isolation is the isolation level of the transactions. The default is
	// the server's.
	Isolation sql.IsolationLevel

	// ReadOnly has the server refuse writes. As there is nothing to lose
	// then, unless Isolation is sql.LevelSerializable the transactions go on
	// while the response is written: rows can be streamed.
	ReadOnly bool

	// Error answers a request whose unit of work could not be committed. What
	// the handler has set in the header, and writes, is dropped. If the
	// header is out already it can only log: w drops everything, and the
	// response is cut off after it. The default logs to slog.Default and
	// calls gatehttp.WriteError.
	Error func(w http.ResponseWriter, r *http.Request, err error)
}

// NewHandler returns a handler that runs next in a unit of work, which the
// request's context carries: see [DB] and [From]. A request that uses no
// database costs no connection.
//
// The unit is committed just before the header goes out: in WriteHeader, the
// first Write or Flush, or when next returns, if the status is less than 400.
// So a COMMIT that fails is a 500, and not a write that is lost behind a 200.
// With any other status, and if next panics, the unit is rolled back, and so
// it is, at once, when the client goes away.
//
// What next writes to the database after the header could be lost in silence,
// so that from then on transactions are read only. For writes then, use
// RunNew. Rows of the unit that are still open when the header is to go out
// make a 500, as the commit would end them: read them before, in a unit of
// their own, or see HandlerConfig.ReadOnly. A header cannot be written inside
// of a nested Run, which would be committed with the unit before it is known
// whether it fails.
//
// A 500 of next, after the gate has refused the unit a connection, becomes a
// 503 with a Retry-After header.
//
// Flush, Hijack and the deadlines work by http.NewResponseController; Flush
// and Hijack also by a type assertion. Hijack commits, like Flush; if that
// fails it returns the error, and the client gets a 500. The unit of a
// hijacked connection is closed when next returns, or when its context ends.
//
// A request in whose context there is a unit already gets a new one. NewHandler
// returns an error that names the field of config that it cannot accept.
func NewHandler(next http.Handler, config HandlerConfig) (http.Handler, error) {
	unit := Config{Isolation: config.Isolation, ReadOnly: config.ReadOnly}
	if err := unit.check(); err != nil {
		return nil, err
	}
	if next == nil {
		return nil, errors.New("session: NewHandler: the handler is nil")
	}
	if config.Error == nil {
		config.Error = logAndWrite
	}
	return &handler{next: next, unit: unit, onError: config.Error}, nil
}

type handler struct {
	next    http.Handler
	unit    Config
	onError func(http.ResponseWriter, *http.Request, error)
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	if _, ok := gate.StartOf(ctx); !ok { // an overloaded gate prefers what has just come
		ctx = gate.WithStart(ctx, time.Now())
	}
	s := newSession(ctx, h.unit)
	defer s.unit.close()
	res := &response{
		inner:    w,
		request:  r,
		handler:  h,
		session:  s,
		original: w.Header().Clone(),
	}
	h.next.ServeHTTP(res, r.WithContext(with(s.unit.ctx, s)))
	res.finish()
}

func logAndWrite(w http.ResponseWriter, r *http.Request, err error) {
	level := slog.LevelError
	if r.Context().Err() != nil { // the client is gone, and knows that it has no answer
		level = slog.LevelInfo
	}
	slog.Log(r.Context(), level, "unit of work not committed", "method", r.Method, "path", r.URL.Path, "error", err)
	gatehttp.WriteError(w, err)
}
