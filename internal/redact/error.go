package redact

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// Error says in a word what kind of error err is, without its text, in which a
// server may quote a value: for a refusal by a gate its [gate.Reason], such as
// "queue_full"; for a context that ended, also while waiting at a gate, the name
// of the context's error; for an error of the server its SQLSTATE; otherwise its
// type.
func Error(err error) string {
	if rejected, ok := errors.AsType[*gate.RejectedError](err); ok && rejected.Reason != gate.ErrCanceled {
		return rejected.Reason.String()
	}
	if state := SQLState(err); state != "" {
		return state
	}
	switch {
	case errors.Is(err, context.Canceled):
		return "context.Canceled"
	case errors.Is(err, context.DeadlineExceeded):
		return "context.DeadlineExceeded"
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

// SQLState returns the SQLSTATE of an error of the server, as the errors of both
// drivers have it, or "".
func SQLState(err error) string {
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return e.SQLState()
	}
	return ""
}
