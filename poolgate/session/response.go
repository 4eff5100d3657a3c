package session

import (
	"bufio"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"

	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gatehttp"
)

// A response is an http.ResponseWriter that ends the unit of work before the
// header goes out. Like any other it is for one goroutine at a time.
type response struct {
	inner    http.ResponseWriter
	request  *http.Request
	handler  *handler
	session  *Session
	original http.Header // what was set before the handler was called

	decided  bool  // the header is out, or about to be
	undone   bool  // the status said so
	failed   error // why the unit could not be committed; the answer is given
	hijacked bool
}

func (res *response) Header() http.Header { return res.inner.Header() }

func (res *response) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols { // more will follow
		if !res.decided {
			res.inner.WriteHeader(status)
		}
		return
	}
	if !res.decided && status == http.StatusInternalServerError && res.refused() {
		status = http.StatusServiceUnavailable
	}
	if res.decide(status) == nil {
		res.inner.WriteHeader(status)
	}
}

func (res *response) Write(p []byte) (int, error) {
	if err := res.decide(http.StatusOK); err != nil {
		return 0, err
	}
	return res.inner.Write(p)
}

// ReadFrom lets io.Copy reach the faster ways of the inner one.
func (res *response) ReadFrom(src io.Reader) (int64, error) {
	if err := res.decide(http.StatusOK); err != nil {
		return 0, err
	}
	return io.Copy(res.inner, src)
}

// FlushError is what http.ResponseController calls.
func (res *response) FlushError() error {
	if err := res.decide(http.StatusOK); err != nil {
		return err
	}
	return http.NewResponseController(res.inner).Flush()
}

// Flush is there for those that ask for an http.Flusher.
func (res *response) Flush() { res.FlushError() }

// Hijack commits before the connection is taken over.
func (res *response) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if !hijackable(res.inner) {
		return nil, nil, http.ErrNotSupported
	}
	if err := res.decide(http.StatusSwitchingProtocols); err != nil {
		return nil, nil, err
	}
	res.hijacked = true
	return http.NewResponseController(res.inner).Hijack()
}

// hijackable says whether there is an http.Hijacker where
// http.ResponseController would look for it.
func hijackable(w http.ResponseWriter) bool {
	for {
		if _, ok := w.(http.Hijacker); ok {
			return true
		}
		wrapper, ok := w.(interface{ Unwrap() http.ResponseWriter })
		if !ok {
			return false
		}
		w = wrapper.Unwrap()
	}
}

// Unwrap is for http.ResponseController.
func (res *response) Unwrap() http.ResponseWriter { return res.inner }

// decide ends the unit, once, as the status demands. If it cannot be committed
// the request is answered, and the handler gets the error whatever it tries to
// write.
func (res *response) decide(status int) error {
	if res.decided {
		return res.failed
	}
	switch {
	case status >= http.StatusBadRequest:
		res.decided, res.undone = true, true
		res.session.Rollback() // what it cannot roll back now is when the unit is closed
	case res.mayGoOn():
		res.decided = true
	default:
		res.commit(true)
	}
	u := res.session.unit
	u.mu.Lock()
	u.options.ReadOnly = true // what is written behind the header could be lost in silence
	u.mu.Unlock()
	return res.failed
}

// commit commits before the header is out, or else answers the request.
func (res *response) commit(early bool) {
	res.decided = true
	u := res.session.unit
	err := u.commit(res.session, early)
	if err == nil || err == ErrClosed { // closed by the handler: nothing to commit
		return
	}
	if err == ErrNested {
		err = fmt.Errorf("%w; the answer was begun inside of it: begin it afterwards", err)
	}
	res.failed = err
	u.close() // the answer need not wait for it
	header := res.inner.Header()
	clear(header)
	maps.Copy(header, res.original)
	res.handler.onError(res.inner, res.request, err)
}

// mayGoOn says whether the transactions can go on behind the header.
// Serializable ones may find out at their end that what they read was wrong.
func (res *response) mayGoOn() bool {
	c := res.handler.unit
	return c.ReadOnly && c.Isolation != sql.LevelSerializable
}

// finish ends what is still open when the handler has returned: everything, if
// it has written nothing, or else what it did after the header.
func (res *response) finish() {
	switch {
	case !res.decided:
		res.commit(false)
		return
	case res.failed != nil, res.undone:
		return
	}
	err := res.session.unit.commit(res.session, false)
	if err == nil || err == ErrClosed {
		return
	}
	res.handler.onError(nowhere{}, res.request, err)
	if !res.hijacked {
		panic(http.ErrAbortHandler)
	}
}

// refused says whether the gate has refused the unit a connection, and sets
// the header that says when to come again, unless the handler has.
func (res *response) refused() bool {
	u := res.session.unit
	u.mu.Lock()
	err := u.refused
	u.mu.Unlock()
	header := res.Header()
	if header.Get("Retry-After") != "" {
		return errors.Is(err, gate.ErrRejected)
	}
	return gatehttp.SetRetryAfter(header, err)
}

// nowhere is where the answer goes when it is too late for one.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}
