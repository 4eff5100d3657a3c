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
// server may quote a value: for a refusal by a gate why it refused, such as
// "queue_full", for an error of the server its SQLSTATE, otherwise its type.
func Error(err error) string {
	if rejected, ok := errors.AsType[*gate.RejectedError](err); ok {
		return Reason(rejected.Reason)
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
	case errors.Is(err, gate.ErrUnknownClass):
		return "unknown_class"
	}
	for {
		name := fmt.Sprintf("%T", err)
		if !strings.HasPrefix(name, "*fmt.wrapError") || errors.Unwrap(err) == nil {
			return name
		}
		err = errors.Unwrap(err)
	}
}

// Reason is the word for one of gate.Reasons.
func Reason(reason error) string { return strings.ReplaceAll(reason.Error(), " ", "_") }

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
