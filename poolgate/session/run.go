package session

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/poolgate/poolgate/internal/operation"
)

// WhenOpen says what [Options.Run] does where the context carries a unit of
// work already.
type WhenOpen int

const (
	// Savepoint makes the function a part of the unit that can be undone by
	// itself: if it fails, the transactions go back to where they were.
	// Savepoints are set only on databases that the function uses.
	Savepoint WhenOpen = iota

	// Join makes the function a part of the unit. If it fails, the unit, or
	// the nested Run that it is in, cannot be committed any more: what tries
	// to gets ErrDoomed.
	Join

	// CommitFirst commits the unit, then runs the function in a new one.
	CommitFirst

	// RollbackFirst rolls the unit back, then runs the function in a new one.
	RollbackFirst

	// Refuse returns ErrOpen if the unit has a transaction open. Otherwise it
	// runs the function in a new unit.
	Refuse
)

// Options say how a unit of work is run. The zero Options are what the
// functions Run, RunNew, Atomic and New use.
type Options struct {
	// Isolation is the isolation level of the unit's transactions. The
	// default is the server's.
	Isolation sql.IsolationLevel

	// ReadOnly has the server refuse writes.
	ReadOnly bool

	// WhenOpen says what Run does inside of another unit. A Run that becomes
	// a part of it, by Savepoint or Join, cannot have another Isolation or
	// ReadOnly: they must be zero or those of the unit.
	WhenOpen WhenOpen

	// Attempts is how many times the function is run at most if the server
	// gives up the unit for the sake of others: by a serialization failure
	// (SQLSTATE 40001) or a deadlock (40P01). Between them it waits, for up
	// to 10 ms at random after the first and twice as long after each other,
	// but no longer than a second; the end of the context ends the waiting.
	// The default is 1: only who wrote the function knows that it may be
	// repeated. It must return the statement's error, which may be wrapped.
	//
	// What was committed early is not repeated. In a Run that is a part of
	// another unit Attempts has no effect, since only the whole of it can be
	// repeated.
	Attempts int
}

func (o Options) check() error {
	switch {
	case o.Isolation < sql.LevelDefault || o.Isolation > sql.LevelLinearizable:
		return fmt.Errorf("session: Options.Isolation is %d, which is no sql.IsolationLevel", int(o.Isolation))
	case o.WhenOpen < Savepoint || o.WhenOpen > Refuse:
		return fmt.Errorf("session: Options.WhenOpen is %d; it must be one of Savepoint to Refuse", int(o.WhenOpen))
	case o.Attempts < 0:
		return fmt.Errorf("session: Options.Attempts is %d; it must not be negative", o.Attempts)
	}
	return nil
}

// Run runs fn in a unit of work, which the context that fn is given carries.
// If fn returns nil the unit is committed, see [Session.Commit]; if it returns
// an error or panics it is rolled back, and the error is returned, or the panic
// goes on. When Run returns, the unit is closed and its connections are given
// back.
//
// A unit costs about 3 µs more than a transaction by hand, see BenchmarkUnit,
// and a nested Run two round trips for each database that it uses.
//
// Inside of another unit, Run is a part of it that can be undone by itself, by
// savepoints. Use the context that fn is given, not one from outside.
func Run(ctx context.Context, fn func(context.Context) error) error {
	return Options{}.Run(ctx, fn)
}

// RunNew is like [Run], but always in a new unit, with transactions of its own.
// Inside of a unit that has a transaction open, it is a second connection, and
// a second permit of the gate, that the goroutine waits for: where all permits
// are held by those that wait for a second, gate.Config.MaxWait ends it.
func RunNew(ctx context.Context, fn func(context.Context) error) error {
	return Options{}.RunNew(ctx, fn)
}

// Atomic is like [RunNew] with a detached session: fn is given it, and no
// context carries it.
func Atomic(ctx context.Context, fn func(*Session) error) error {
	return Options{}.Atomic(ctx, fn)
}

// Run is [Run] with options. It returns an error for options that are not
// valid, before it calls fn.
func (o Options) Run(ctx context.Context, fn func(context.Context) error) error {
	s := From(ctx)
	if s == nil {
		return o.RunNew(ctx, fn)
	}
	if err := o.check(); err != nil {
		return err
	}
	switch o.WhenOpen {
	case CommitFirst:
		if err := s.Commit(); err != nil {
			return err
		}
	case RollbackFirst:
		if err := s.Rollback(); err != nil {
			return err
		}
	case Refuse:
		if err := s.unit.nothingOpen(s); err != nil {
			return err
		}
	default:
		if err := s.unit.accepts(o); err != nil {
			return err
		}
		if o.WhenOpen == Join {
			return s.join(ctx, fn)
		}
		return s.nest(ctx, fn)
	}
	return o.RunNew(ctx, fn)
}

// RunNew is [RunNew] with options. WhenOpen has no meaning here.
func (o Options) RunNew(ctx context.Context, fn func(context.Context) error) error {
	return o.repeat(ctx, func(s *Session) error { return fn(with(s.unit.ctx, s)) })
}

// Atomic is [Atomic] with options. WhenOpen has no meaning here.
func (o Options) Atomic(ctx context.Context, fn func(*Session) error) error {
	return o.repeat(ctx, fn)
}

// repeat runs fn in new units until one is committed, or need not be tried
// again.
func (o Options) repeat(ctx context.Context, fn func(*Session) error) error {
	if err := o.check(); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		s := newSession(ctx, o)
		err := s.run(fn)
		if err == nil || o.Attempts <= 1 || !repeatable(err) || s.unit.committed() {
			return err
		}
		if attempt == o.Attempts {
			return fmt.Errorf("session: given up after %d attempts: %w", attempt, err)
		}
		timer := time.NewTimer(backoff(attempt))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return err
		}
	}
}

func repeatable(err error) bool {
	state := sqlState(err)
	return state == "40001" || state == "40P01"
}

// backoff returns how long to wait after an attempt. It is random, lest those
// that were in each other's way meet again.
func backoff(attempt int) time.Duration {
	longest := min(10*time.Millisecond<<min(attempt-1, 10), time.Second)
	return rand.N(longest) + 1
}

// run runs fn, commits or rolls back, and closes the session.
func (s *Session) run(fn func(*Session) error) error {
	// If a rollback fails, the connection is lost, and the server rolls back.
	defer s.unit.close()
	if err := fn(s); err != nil {
		s.unit.failed(err)
		return err
	}
	err := s.unit.commit(s, false)
	if err == ErrClosed { // by fn, after which there is nothing to commit
		return nil
	}
	return err
}

// join runs fn as a part of the unit, or of the nested Run, that s is in.
func (s *Session) join(ctx context.Context, fn func(context.Context) error) (err error) {
	failure := errors.New("it panicked")
	defer func() {
		if failure != nil {
			s.unit.doom(s.level, failure)
		}
	}()
	if err := s.unit.enterable(s); err != nil {
		failure = nil
		return err
	}
	failure = fn(ctx)
	return failure
}

// nest runs fn as a part of the unit that can be undone.
func (s *Session) nest(ctx context.Context, fn func(context.Context) error) (err error) {
	inner, err := s.unit.enter(s)
	if err != nil {
		return err
	}
	ctx, end := operation.Start(ctx, "session.nested")
	keep, returned := false, false
	defer func() {
		left := s.unit.leave(inner, keep)
		if returned {
			err = both(err, left)
		}
		if end != nil {
			end(err, slog.Bool("kept", keep && left == nil))
		}
	}()
	err = fn(with(ctx, inner))
	keep, returned = err == nil, true
	return err
}
