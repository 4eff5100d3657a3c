package gatehttp

import (
	"errors"
	"net/http"
	"strconv"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// WriteError answers with status 503 and a Retry-After header if err is or wraps
// a [*gate.RejectedError]: the gate refused, or the context ended while the caller
// waited for a permit. It answers any other error with status 500. The body has
// the text of the status and nothing of err.
func WriteError(w http.ResponseWriter, err error) {
	status := http.StatusInternalServerError
	if SetRetryAfter(w.Header(), err) {
		status = http.StatusServiceUnavailable
	}
	http.Error(w, http.StatusText(status), status)
}

// SetRetryAfter sets the Retry-After header if err is or wraps a
// *gate.RejectedError, and reports whether it is: then 503 is the status to
// answer with. The header has the error's RetryAfter in whole seconds, rounded
// up. It is left out where that is 0, since trying again is of no use.
func SetRetryAfter(header http.Header, err error) bool {
	rejected, ok := errors.AsType[*gate.RejectedError](err)
	if ok && rejected.RetryAfter > 0 {
		seconds := (rejected.RetryAfter + time.Second - 1) / time.Second
		header.Set("Retry-After", strconv.FormatInt(int64(seconds), 10))
	}
	return ok
}
