package promgate

import (
	"context"
	"errors"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// errorType is the value of the label error_type: a reason of the gate, or how
// the caller's context ended, in the words of package tracing.
func errorType(err error) string {
	rejected, refused := errors.AsType[*gate.RejectedError](err)
	switch {
	case err == nil:
		return ""
	case refused && rejected.Reason != gate.ErrCanceled:
		return rejected.Reason.String()
	case errors.Is(err, context.DeadlineExceeded):
		return "context.DeadlineExceeded"
	}
	return "context.Canceled"
}
