package session

import (
	"database/sql"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/poolgate/poolgate/internal/errortype"
	"github.com/poolgate/poolgate/internal/sqlstate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gatehttp"
)

// HandlerConfig configures [NewHandler]. Its zero value is ready to use.
type HandlerConfig struct {
	// Isolation is the isolation level of the transactions. The default is
	// the server's.
	Isolation sql.IsolationLevel

	// ReadOnly makes the server refuse writes. As there is nothing to lose
	// then, the transactions go on while the response is written, so that rows
	// can be streamed, unless Isolation is sql.LevelSerializable.
	ReadOnly bool

	// Error answers a request whose unit of work could not be committed. What
	// the handler has set in the header, and what it writes, is dropped. If
	// the header is out already, Error can only log: w drops everything, and
	// the response is cut off afterwards. The default logs to slog.Default,
	// without the text of the server's errors, which may quote values, and
	// calls gatehttp.WriteError.
	Error func(w http.ResponseWriter, r *http.Request, err error)
}

// NewHandler returns a handler that runs next in a unit of work, which the
// request's context carries: see [DB] and [From]. A request that uses no
// database costs no connection.
//
// The unit is committed just before the header goes out: in WriteHeader, the
// first Write or Flush, or when next returns, if the status is less than 400.
// So a COMMIT that fails becomes a 500, and not a lost write behind a 200. With
// any other status, and if next panics, the unit is rolled back. If the client
// goes away, it is rolled back at once.
//
// What next writes to the database after the header could be lost unnoticed, so
// transactions are read only from then on. For such writes use RunNew. Rows of
// the unit that are open when it is to be committed make a 500, see the package
// documentation: read them before, in a unit of their own, or see
// HandlerConfig.ReadOnly. A header cannot be written inside a nested Run, which
// would be committed with the unit before it is known whether it fails.
//
// If the gate has refused the unit a connection and next answers with status
// 500, the status becomes 503 with a Retry-After header.
//
// The header that next sets, trailers included, reaches the ResponseWriter of
// the caller only with next's own answer.
//
// Flush, Hijack and the deadlines work through http.NewResponseController; Flush
// and Hijack also by a type assertion. Hijack commits, like Flush. If that fails
// it returns the error, and the client gets a 500. The unit of a hijacked
// connection is closed when next returns, or when its context ends.
//
// A request whose context already carries a unit gets a new one. NewHandler
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
	if _, ok := gate.StartOf(ctx); !ok { // an overloaded gate prefers recent requests
		ctx = gate.WithStart(ctx, time.Now())
	}
	s := newSession(ctx, h.unit)
	defer s.unit.close()
	res := &response{
		inner:   w,
		request: r,
		handler: h,
		session: s,
		header:  w.Header().Clone(),
	}
	h.next.ServeHTTP(res, r.WithContext(with(s.unit.ctx, s)))
	res.finish()
}

// logAndWrite is the default of HandlerConfig.Error.
func logAndWrite(w http.ResponseWriter, r *http.Request, err error) {
	level := slog.LevelError
	if r.Context().Err() != nil { // the client is gone, and knows that it has no answer
		level = slog.LevelInfo
	}
	slog.Log(r.Context(), level, "unit of work not committed", "method", r.Method, "path", r.URL.Path, "error", describe(err))
	gatehttp.WriteError(w, err)
}

// describe returns a text of err without values, which the text of a server's
// error may quote.
func describe(err error) string {
	if busy, ok := errors.AsType[*BusyError](err); ok {
		return busy.Error()
	}
	if failed, ok := errors.AsType[*CommitError](err); ok {
		return failed.text(describe(failed.Err))
	}
	for _, own := range []error{ErrNested, ErrDoomed} {
		if state := sqlstate.Of(err); errors.Is(err, own) && state != "" {
			return own.Error() + ": " + state
		} else if errors.Is(err, own) {
			return own.Error()
		}
	}
	return errortype.Of(err)
}
