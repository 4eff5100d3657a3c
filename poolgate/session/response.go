package session

import (
	"bufio"
	"database/sql"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"

	"github.com/poolgate/poolgate/poolgate/gatehttp"
)

// A response is an http.ResponseWriter that ends the unit of work before the
// header goes out. Like any other it is for one goroutine at a time.
//
// The handler sets a header of its own, which reaches the inner one only when
// the answer is the handler's: what it sets before or after a commit that
// fails, trailers included, must not go out with the answer that says so.
type response struct {
	inner   http.ResponseWriter
	request *http.Request
	handler *handler
	session *Session
	header  http.Header // the handler's

	decided  bool  // the header is out, or about to be
	undone   bool  // the status said so
	failed   error // why the unit could not be committed; the answer is given
	hijacked bool
}

func (res *response) Header() http.Header { return res.header }

// publish makes header the inner one.
func (res *response) publish(header http.Header) {
	inner := res.inner.Header()
	clear(inner)
	maps.Copy(inner, header)
}

func (res *response) WriteHeader(status int) {
	if status < 200 && status != http.StatusSwitchingProtocols { // more will follow
		if !res.decided {
			original := res.inner.Header().Clone()
			res.publish(res.header)
			res.inner.WriteHeader(status)
			res.publish(original)
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

// ReadFrom lets io.Copy use the faster ways of the inner one.
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

// Flush is for those that ask for an http.Flusher.
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

// hijackable reports whether http.ResponseController would find an
// http.Hijacker.
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
		res.session.Rollback() // what it cannot roll back now, the end of the unit does
	case res.mayGoOn():
		res.decided = true
	default:
		res.commit(res.session.Commit)
	}
	if res.failed == nil {
		res.publish(res.header)
	}
	res.session.unit.readOnly() // what is written after the header could be lost unnoticed
	return res.failed
}

// commit commits before the header is out, or else answers the request.
func (res *response) commit(commit func() error) {
	res.decided = true
	err := commit()
	if err == nil || err == ErrClosed { // closed by the handler: nothing to commit
		return
	}
	if err == ErrNested {
		err = fmt.Errorf("%w; the answer was begun inside of it: begin it afterwards", err)
	}
	res.failed = err
	res.session.unit.close() // the answer need not wait for it
	res.handler.onError(res.inner, res.request, err)
}

// mayGoOn reports whether the transactions can go on after the header.
// Serializable ones may learn at their end that what they read was wrong.
func (res *response) mayGoOn() bool {
	c := res.handler.unit
	return c.ReadOnly && c.Isolation != sql.LevelSerializable
}

// finish ends what is still open when the handler has returned: everything, if
// the handler has written nothing, or what it did after the header.
func (res *response) finish() {
	last := func() error { return res.session.unit.commitLast(res.session) }
	switch {
	case !res.decided:
		if res.commit(last); res.failed == nil {
			res.publish(res.header)
		}
		return
	case res.failed != nil:
		return
	case !res.undone:
		if err := last(); err != nil {
			res.handler.onError(nowhere{}, res.request, err)
			if !res.hijacked {
				panic(http.ErrAbortHandler)
			}
			return
		}
	}
	maps.Copy(res.inner.Header(), res.header) // the trailers
}

// refused reports whether the gate has refused the unit a connection, and sets
// the header that says when to try again, unless the handler has.
func (res *response) refused() bool {
	err := res.session.unit.refusal()
	if res.header.Get("Retry-After") != "" {
		return gatehttp.SetRetryAfter(http.Header{}, err)
	}
	return gatehttp.SetRetryAfter(res.header, err)
}

// nowhere is where the answer goes when it is too late for one.
type nowhere struct{}

func (nowhere) Header() http.Header         { return http.Header{} }
func (nowhere) Write(p []byte) (int, error) { return len(p), nil }
func (nowhere) WriteHeader(int)             {}
