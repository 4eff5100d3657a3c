package session

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/poolgate/poolgate/internal/sqlstate"
	"github.com/poolgate/poolgate/poolgate"
)

// The errors of a session, for errors.Is.
var (
	// ErrNoSession: the context carries no session.
	ErrNoSession = errors.New("session: none in this context; Run opens one")

	// ErrClosed: the session, or the nested Run that the context comes from,
	// has ended.
	ErrClosed = errors.New("session: closed; work that outlives a unit of work needs its own: RunNew")

	// ErrNested: only the outermost Run of a unit can commit it, roll it back
	// or close it.
	ErrNested = errors.New("session: inside a nested Run; return an error to undo it, or open a unit with RunNew")

	// ErrOpen: a transaction is open already, and [Refuse] was asked for.
	ErrOpen = errors.New("session: a transaction is open already")

	// ErrDoomed: a function that joined the unit failed, so the rest must not
	// be committed, see [Join].
	ErrDoomed = errors.New("session: a part of the unit failed")

	// ErrBusy matches every [*BusyError].
	ErrBusy = errors.New("session: busy")
)

// A BusyError says that a goroutine used a transaction, or a unit, while another
// goroutine used it or rows of it were open. It matches [ErrBusy]. The call sent
// nothing to the server.
type BusyError struct {
	Goroutine int64  // whose call was refused, numbered as in Go's stack traces
	Call      string // the refused call: "ExecContext"

	Holder     int64  // the goroutine that was in the way
	HolderCall string // and its call
	Rows       bool   // HolderCall has returned, but the rows that it returned are open
}

// Error names both goroutines and says what to do.
func (e *BusyError) Error() string {
	who := fmt.Sprintf("goroutine %d", e.Holder)
	if e.Holder == e.Goroutine {
		who = "the same goroutine"
	}
	switch {
	case e.Rows:
		return fmt.Sprintf("session: busy: %s by goroutine %d was refused: the rows of a %s by %s are open; "+
			"close them first, or read them in a unit of their own: RunNew", e.Call, e.Goroutine, e.HolderCall, who)
	case e.HolderCall == nestedRun:
		return fmt.Sprintf("session: busy: %s by goroutine %d was refused: %s has a nested Run open, and the call is from outside it; "+
			"use the context that Run passes to its function, and RunNew for goroutines that work side by side", e.Call, e.Goroutine, who)
	}
	return fmt.Sprintf("session: busy: %s by goroutine %d was refused: %s is in %s on the same transaction; "+
		"a unit of work is for one goroutine at a time: give each its own with RunNew", e.Call, e.Goroutine, who, e.HolderCall)
}

// Is reports whether target is ErrBusy.
func (e *BusyError) Is(target error) bool { return target == ErrBusy }

// State is how a transaction ended.
type State int

const (
	// RolledBack: nothing of it is in the database.
	RolledBack State = iota
	// Committed: all of it is in the database.
	Committed
	// Unknown: the connection was lost, or given up, in the COMMIT.
	Unknown
)

func (s State) String() string {
	switch s {
	case RolledBack:
		return "rolled back"
	case Committed:
		return "committed"
	case Unknown:
		return "unknown"
	}
	return fmt.Sprintf("State(%d)", int(s))
}

// Outcome is how a session's transaction on one database ended.
type Outcome struct {
	DB    *sql.DB
	State State
}

// A CommitError says that a session was not committed, or not on all of its
// databases. It unwraps to the reason.
type CommitError struct {
	// Outcomes has every database of the session, in the order in which they
	// were first used and committed.
	Outcomes []Outcome

	// Err is what failed first.
	Err error
}

// Error says what failed and, with several databases, how each of them ended.
func (e *CommitError) Error() string { return e.text(e.Err.Error()) }

func (e *CommitError) text(reason string) string {
	text := "session: not committed: "
	switch {
	case len(e.Outcomes) > 1:
		states := make([]string, len(e.Outcomes))
		for i, o := range e.Outcomes {
			states[i] = fmt.Sprintf("%d %v", i+1, o.State)
		}
		text = "session: not committed on all databases (in order of first use: " + strings.Join(states, ", ") + "): "
	case len(e.Outcomes) == 1 && e.Outcomes[0].State == Unknown:
		text = "session: not known to be committed: "
	}
	return text + reason
}

// Unwrap returns the reason.
func (e *CommitError) Unwrap() error { return e.Err }

// stateAfter returns the state of a transaction whose COMMIT returned err. Unless
// the connection failed, the server refused.
func stateAfter(err error) State {
	if err == nil {
		return Committed
	}
	if state := sqlstate.Of(err); state != "" {
		if sqlstate.IsLost(state) {
			return Unknown
		}
		return RolledBack
	}
	_, network := errors.AsType[net.Error](err)
	if network || errors.Is(err, poolgate.ErrOutcomeUnknown) || errors.Is(err, driver.ErrBadConn) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		err.Error() == "invalid connection" { // go-sql-driver/mysql says no more
		return Unknown
	}
	return RolledBack
}
