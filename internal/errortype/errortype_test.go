package errortype

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/lib/pq"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestOf(t *testing.T) {
	for want, err := range map[string]error{
		"queue_full":                 &gate.RejectedError{Reason: gate.ErrQueueFull},
		"deadlock":                   fmt.Errorf("session: %w", &gate.RejectedError{Reason: gate.ErrDeadlock}),
		"22P02":                      fmt.Errorf("reading: %w", &pgconn.PgError{Code: "22P02", Message: "s3cret"}),
		"23505":                      &pq.Error{Code: "23505", Message: "s3cret"},
		"context.Canceled":           context.Canceled,
		"context.DeadlineExceeded":   fmt.Errorf("pool: %w", context.DeadlineExceeded),
		"driver.ErrBadConn":          driver.ErrBadConn,
		"poolgate.ErrOutcomeUnknown": fmt.Errorf("%w: %w", poolgate.ErrOutcomeUnknown, errors.New("s3cret")),
		"unknown_class":              &gate.RejectedError{Reason: gate.ErrUnknownClass, Class: "s3cret"},
		"*errors.errorString":        fmt.Errorf("s3cret: %w", errors.New("s3cret")),
		"*fmt.wrapErrors":            fmt.Errorf("s3cret: %w, %w", errors.New("s3cret"), errors.New("s3cret")),
	} {
		if got := Of(err); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}
