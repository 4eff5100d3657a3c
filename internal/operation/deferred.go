package operation

import (
	"context"
	"database/sql/driver"
	"fmt"
)

type deferredKey struct{}

// Begin stands for the BEGIN of BeginTx in [Deferred].
const Begin = "BEGIN"

// Deferred returns a context for a statement that has neither arguments nor a
// result, such as BEGIN: a driver may send it together with the statement that
// follows, whose error is then also that of the deferred one. The context names
// the statement, since those who look on may give its values to later ones.
func Deferred(ctx context.Context, statement string) context.Context {
	return context.WithValue(ctx, deferredKey{}, statement)
}

// ErrUnsent is the error of a statement in a transaction if the connection was
// found dead before BEGIN, which was deferred, was sent. It matches
// driver.ErrBadConn.
var ErrUnsent = fmt.Errorf("%w: nothing was sent", driver.ErrBadConn)

// IsDeferred reports whether this statement under ctx may be sent later.
func IsDeferred(ctx context.Context, statement string) bool {
	return ctx.Value(deferredKey{}) == any(statement)
}
