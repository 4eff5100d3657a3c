package bench

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/lib/pq/pqerror"

	"github.com/poolgate/poolgate/internal/sqlstate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A commitError comes from the call that commits. Unless the server has reported
// a rollback, the transaction may have been committed.
type commitError struct{ err error }

func (e *commitError) Error() string { return e.err.Error() }
func (e *commitError) Unwrap() error { return e.err }

// maybeCommitted reports whether a write that failed with err may have been
// committed. In case of doubt it reports true: then the verification accepts
// either outcome of the write, and stays correct.
func maybeCommitted(err error) bool {
	if _, ok := errors.AsType[*commitError](err); !ok {
		return false
	}
	switch state := sqlstate.Of(err); {
	case errors.Is(err, gate.ErrRejected), notConnected(err):
		return false
	case state == "":
		return true
	default:
		return sqlstate.IsLost(state) // otherwise the server says that it did not commit
	}
}

// notConnected reports whether err means that no connection was established.
func notConnected(err error) bool {
	if _, ok := errors.AsType[*pgconn.ConnectError](err); ok {
		return true
	}
	op, ok := errors.AsType[*net.OpError](err)
	return ok && op.Op == "dial"
}

// failureKind names the kind of err, under which failures are counted: the
// SQLSTATE of an error of the server, otherwise the class of the error.
func failureKind(err error) string {
	if state := sqlstate.Of(err); state != "" {
		if name := pqerror.Code(state).Name(); name != "" {
			return state + " " + name
		}
		return "SQLSTATE " + state
	}
	switch {
	case errors.Is(err, gate.ErrQueueFull):
		return "gate: queue full"
	case errors.Is(err, gate.ErrWaitTimeout):
		return "gate: wait timeout"
	case errors.Is(err, gate.ErrClosed):
		return "gate: closed"
	case errors.Is(err, errWrongRows):
		return "wrong rows"
	case errors.Is(err, context.Canceled):
		return "canceled"
	}
	prefix := "connection lost"
	if notConnected(err) {
		prefix = "connect"
	}
	if errno, ok := errors.AsType[syscall.Errno](err); ok {
		return prefix + ": " + errno.Error()
	}
	if timeout, ok := errors.AsType[net.Error](err); ok && timeout.Timeout() {
		return prefix + ": timeout"
	}
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, driver.ErrBadConn):
		return prefix
	}
	return fmt.Sprintf("%T", err)
}
