package promgate

import (
	"context"
	"fmt"
	"testing"

	"github.com/poolgate/poolgate/internal/errortype"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestErrorType(t *testing.T) {
	for _, err := range []error{
		&gate.RejectedError{Reason: gate.ErrDeadlock}, &gate.RejectedError{Reason: gate.ErrClosed},
		fmt.Errorf("wrapped: %w", context.Canceled), context.DeadlineExceeded,
	} {
		if got, want := errorType(err), errortype.Of(err); got != want {
			t.Errorf("%v is %q, and %q in the metrics of package tracing", err, got, want)
		}
	}
	if got := errorType(nil); got != "" {
		t.Errorf("no error is %q", got)
	}
}
