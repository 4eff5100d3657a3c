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
	"github.com/poolgate/poolgate/internal/sqlstate"
)

// WhenOpen says what [Config.Run] does if the context already carries a unit of
// work.
type WhenOpen int

const (
	// Savepoint makes the function a part of the unit that can be undone by
	// itself: if it fails, the transactions return to where they were. Only
	// databases that the function uses get a savepoint.
	Savepoint WhenOpen = iota

	// Join makes the function a part of the unit. If it fails, the unit, or
	// the nested Run around it, can no longer be committed: the attempt
	// returns ErrDoomed.
	Join

	// CommitFirst commits the unit, then runs the function in a new one.
	CommitFirst

	// RollbackFirst rolls the unit back, then runs the function in a new one.
	RollbackFirst

	// Refuse returns ErrOpen if the unit has a transaction open. Otherwise it
	// runs the function in a new unit.
	Refuse
)

// A Config describes a unit of work. The functions Run, RunNew and Atomic use
// the zero Config. A Config can be kept and used many times, by any number of
// goroutines.
type Config struct {
	// Isolation is the isolation level of the unit's transactions. The
	// default is the server's.
	Isolation sql.IsolationLevel

	// ReadOnly makes the server refuse writes.
	ReadOnly bool

	// WhenOpen says what Run does inside another unit. A Run that becomes
	// part of that unit, by Savepoint or Join, cannot change Isolation or
	// ReadOnly: they must be zero or the unit's.
	WhenOpen WhenOpen

	// Attempts is the maximum number of times the function runs if the server
	// aborts the unit in favor of others: by a serialization failure
	// (SQLSTATE 40001) or a deadlock (40P01, with MySQL 40001). The default is 1, because only
	// the author of the function knows whether it can be repeated. The
	// function must return the statement's error, which it may wrap.
	//
	// Between attempts Run waits for a random time: up to 10 ms after the
	// first attempt, twice as long after each further one, and never more
	// than a second. The end of the context ends the wait.
	//
	// A unit that has committed something early is not repeated. In a Run
	// that is part of another unit Attempts has no effect, because only the
	// whole unit can be repeated.
	Attempts int
}

func (c Config) check() error {
	switch {
	case c.Isolation < sql.LevelDefault || c.Isolation > sql.LevelLinearizable:
		return fmt.Errorf("session: Config.Isolation is %d, which is not a sql.IsolationLevel", int(c.Isolation))
	case c.WhenOpen < Savepoint || c.WhenOpen > Refuse:
		return fmt.Errorf("session: Config.WhenOpen is %d; it must be one of Savepoint to Refuse", int(c.WhenOpen))
	case c.Attempts < 0:
		return fmt.Errorf("session: Config.Attempts is %d; it must not be negative", c.Attempts)
	}
	return nil
}

// Run runs fn in a unit of work, which the context passed to fn carries. If fn
// returns nil, Run commits the unit, see [Session.Commit]. If fn returns an
// error or panics, Run rolls the unit back, and returns the error or lets the
// panic continue. When Run returns, the unit is closed and has given back its
// connections.
//
// Inside another unit, Run is a part of it that can be undone by itself, by
// savepoints. Use the context passed to fn, not one from outside.
//
// A unit costs about 3 µs more than a transaction written by hand, see
// BenchmarkUnit, and a nested Run up to two round trips for each database that it
// uses, see "Round trips" in the package documentation.
func Run(ctx context.Context, fn func(context.Context) error) error {
	return Config{}.Run(ctx, fn)
}

// RunNew is like [Run], but always opens a new unit, with transactions of its
// own. Inside a unit that has a transaction open, the goroutine waits for a
// second connection, and for a second permit of the gate. If all permits are
// held by goroutines that wait for a second one, the gate's deadlock detection
// or gate.Config.MaxWait ends the wait.
func RunNew(ctx context.Context, fn func(context.Context) error) error {
	return Config{}.RunNew(ctx, fn)
}

// Atomic is like [RunNew] with a detached session: it passes the session to fn,
// and no context carries it.
func Atomic(ctx context.Context, fn func(*Session) error) error {
	return Config{}.Atomic(ctx, fn)
}

// Run is [Run] for units described by c. It returns an error for a Config that
// is not valid, before it calls fn.
func (c Config) Run(ctx context.Context, fn func(context.Context) error) error {
	s := From(ctx)
	if s == nil {
		return c.RunNew(ctx, fn)
	}
	if err := c.check(); err != nil {
		return err
	}
	switch c.WhenOpen {
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
		if err := s.unit.accepts(c); err != nil {
			return err
		}
		if c.WhenOpen == Join {
			return s.join(ctx, fn)
		}
		return s.nest(ctx, fn)
	}
	return c.RunNew(ctx, fn)
}

// RunNew is [RunNew] for units described by c. It ignores WhenOpen.
func (c Config) RunNew(ctx context.Context, fn func(context.Context) error) error {
	return c.repeat(ctx, func(s *Session) error { return fn(with(s.unit.ctx, s)) })
}

// Atomic is [Atomic] for units described by c. It ignores WhenOpen.
func (c Config) Atomic(ctx context.Context, fn func(*Session) error) error {
	return c.repeat(ctx, fn)
}

// repeat runs fn in new units until one is committed or fails for good.
func (c Config) repeat(ctx context.Context, fn func(*Session) error) error {
	if err := c.check(); err != nil {
		return err
	}
	for attempt := 1; ; attempt++ {
		s := newSession(ctx, c)
		err := s.run(fn)
		if err == nil || c.Attempts <= 1 || !repeatable(err) || s.unit.committed() {
			return err
		}
		if attempt == c.Attempts {
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
	state := sqlstate.Of(err)
	return state == "40001" || state == "40P01" || sqlstate.OfMySQL(err) == "40001" // a deadlock there
}

// backoff returns how long to wait after an attempt. It is random, so that units
// that were in each other's way do not meet again.
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
	return s.unit.commitLast(s)
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
