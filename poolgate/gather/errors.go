package gather

import (
	"errors"
	"fmt"
)

var (
	errOneAtATime = errors.New("gather: a statement of a Pipelined gather has one query at a time: close the rows of the one before")
	errNoPrepare  = errors.New("gather: a statement of a Pipelined gather cannot prepare")
)

// A StatementError says which statement failed. It unwraps to the reason: the
// error of the driver or of the context, a *gate.RejectedError, or ErrRowsOpen.
type StatementError struct {
	Index int // of the statement, from 0
	Err   error
}

func (e *StatementError) Error() string {
	return fmt.Sprintf("gather: statement %d: %v", e.Index, e.Err)
}

// Unwrap returns the reason.
func (e *StatementError) Unwrap() error { return e.Err }

// A PanicError is the value that a gather panics with if a statement panics. The
// gather panics in the goroutine of its caller, after all other statements have
// ended and everything is given back. A PanicError unwraps to the value of the
// panic if that is an error.
type PanicError struct {
	Value any
	Stack []byte // of the goroutine that panicked
}

func (e *PanicError) Error() string {
	return fmt.Sprintf("gather: a statement panicked: %v\n\n%s", e.Value, e.Stack)
}

// Unwrap returns the value of the panic if it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}
