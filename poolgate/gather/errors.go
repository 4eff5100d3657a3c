package gather

import "fmt"

// A StatementError says which statement failed. It unwraps to the reason: the
// driver's error, a *gate.RejectedError, or the context's.
type StatementError struct {
	Index int // of the statement, from 0
	Err   error
}

func (e *StatementError) Error() string {
	return fmt.Sprintf("gather: statement %d: %v", e.Index, e.Err)
}

// Unwrap returns the reason.
func (e *StatementError) Unwrap() error { return e.Err }

// A PanicError is what a gather panics with, in the goroutine of its caller,
// if a statement panics: when all others have ended and everything is given
// back. It unwraps to the value of the panic, if that is an error.
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
