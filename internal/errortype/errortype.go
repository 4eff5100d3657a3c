// Package errortype names the kind of an error for logs, spans and metrics, which
// must not contain its text.
package errortype

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/poolgate/poolgate/internal/sqlstate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// Of returns a word for the kind of err, without its text, in which a server may
// quote a value:
//
//   - for a refusal by a gate its [gate.Reason], such as "queue_full",
//   - for an error of the server its SQLSTATE,
//   - for a context that ended, also while waiting at a gate, the name of the
//     context's error, and likewise "poolgate.ErrOutcomeUnknown" and
//     "driver.ErrBadConn",
//   - otherwise the type.
func Of(err error) string {
	if rejected, ok := errors.AsType[*gate.RejectedError](err); ok && rejected.Reason != gate.ErrCanceled {
		return rejected.Reason.String()
	}
	if state := sqlstate.Of(err); state != "" {
		return state
	}
	switch {
	case errors.Is(err, context.Canceled):
		return "context.Canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "context.DeadlineExceeded"
	case errors.Is(err, poolgate.ErrOutcomeUnknown):
		return "poolgate.ErrOutcomeUnknown"
	case errors.Is(err, driver.ErrBadConn):
		return "driver.ErrBadConn"
	}
	for {
		name := fmt.Sprintf("%T", err)
		if !strings.HasPrefix(name, "*fmt.wrapError") || errors.Unwrap(err) == nil {
			return name
		}
		err = errors.Unwrap(err)
	}
}
