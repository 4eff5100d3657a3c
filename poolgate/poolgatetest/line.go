package poolgatetest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
)

// cancelEvery is how long a statement whose context has ended may go on until
// the server is asked again to cancel it: the first time it may not have been
// there yet.
const cancelEvery = 50 * time.Millisecond

// errLost is the error of everything after the connection has failed.
var errLost = errors.New("poolgatetest: the test's connection is lost, and its transaction with it")

// A line is the one connection of a test, inside the transaction that is rolled
// back at its end. The transactions that the code under test begins are
// savepoints on it, which may be open side by side.
type line struct {
	t        testing.TB
	pool     *sql.DB
	checkout *sql.Conn // of pool
	backend  int64     // its process

	turn chan struct{} // has room for whoever uses what follows
	conn driver.Conn   // of checkout, past its wrappers
	tx   driver.Tx     // nil at the end
	open []*level      // in the order of their savepoints
	made int           // savepoints, for their names
	xids int64         // see written; -1 if not known
}

func newLine(t testing.TB, pool *sql.DB) (_ *line, err error) {
	ctx := context.WithoutCancel(t.Context())
	l := &line{t: t, pool: pool, turn: make(chan struct{}, 1), xids: -1}
	if l.checkout, err = pool.Conn(t.Context()); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			if l.tx != nil {
				l.tx.Rollback()
			}
			l.checkout.Close()
		}
	}()
	// The driver's connection stays ours until checkout is closed.
	if err := poolgate.Raw(l.checkout, func(c driver.Conn) error { l.conn = c; return nil }); err != nil {
		return nil, err
	}
	beginner, ok := l.conn.(driver.ConnBeginTx)
	if !ok {
		return nil, fmt.Errorf("the driver's %T has no BeginTx", l.conn)
	}
	if l.tx, err = beginner.BeginTx(ctx, driver.TxOptions{}); err != nil {
		return nil, err
	}
	if l.backend, err = l.scalar("SELECT pg_backend_pid()::bigint"); err == nil {
		err = l.exec("SAVEPOINT poolgatetest")
	}
	return l, err
}

// end rolls everything back. What is still in use fails from then on; a
// statement that goes on for long is cancelled.
func (l *line) end() {
	idle := make(chan struct{})
	timer := time.AfterFunc(patience, func() { l.cancel(idle) })
	l.turn <- struct{}{}
	defer l.give()
	timer.Stop()
	close(idle)
	if err := l.exec("ROLLBACK TO SAVEPOINT poolgatetest"); err != nil && err != errLost {
		l.t.Errorf("poolgatetest: a statement has ended the transaction of the test; what was written may be in the database: %v", err)
	}
	l.tx.Rollback() // if it fails, the connection is lost, and the server does it
	l.tx = nil
	l.checkout.Close()
}

// take takes the turn, which give gives back.
func (l *line) take(ctx context.Context) error {
	select {
	case l.turn <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	if l.tx == nil {
		l.give()
		return errors.New("poolgatetest: the test has ended")
	}
	return nil
}

func (l *line) give() { <-l.turn }

// What follows is called by whoever has the turn.

// statement calls f for a statement of s, or of none if s is nil, and undoes
// what f did if it fails.
func (l *line) statement(ctx context.Context, s *level, f func(context.Context) error) error {
	if s != nil && s.failed {
		return abortedError{}
	}
	before, err := l.written(s)
	if err != nil {
		return err
	}
	if err := l.exec("SAVEPOINT poolgatetest_statement"); err != nil {
		return err
	}
	if s != nil && s.readOnly { // until the end of the savepoint
		if err := l.exec("SET TRANSACTION READ ONLY"); err != nil {
			return err
		}
	}
	if err := l.cancellable(ctx, f); err != nil {
		if broken := l.exec("ROLLBACK TO SAVEPOINT poolgatetest_statement; RELEASE SAVEPOINT poolgatetest_statement"); broken != nil {
			return errors.Join(err, broken)
		}
		if s != nil && sqlState(err) != "" {
			s.failed = true
		}
		return err
	}
	after, err := l.countXIDs()
	if err == nil {
		err = l.exec("RELEASE SAVEPOINT poolgatetest_statement")
	}
	if err != nil {
		return fmt.Errorf("poolgatetest: after a statement, which may have ended the test's transaction: %w", err)
	}
	l.xids = after
	if after > before {
		l.xids-- // that of the statement's savepoint
		l.note(s)
	}
	return nil
}

// written prepares for a statement of s, and returns how many savepoints have
// written, which grows if the statement writes.
//
// As long as s has not written, its savepoint is moved to here, past all that
// others have written.
func (l *line) written(s *level) (xids int64, err error) {
	if s != nil && !s.wrote && len(s.others) > 0 && len(s.saved) == 0 {
		if err := l.moveUp(s); err != nil {
			return 0, err
		}
	}
	if l.xids < 0 {
		l.xids, err = l.countXIDs()
	}
	return l.xids, err
}

// countXIDs returns how many savepoints have written and are neither released
// nor rolled back: each holds the lock of a transaction id.
func (l *line) countXIDs() (int64, error) {
	return l.scalar("SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'transactionid' AND mode = 'ExclusiveLock'")
}

// cancellable calls f with a context that does not end, since drivers give a
// connection up whose statement is cancelled, and has the server cancel it when
// ctx ends.
func (l *line) cancellable(ctx context.Context, f func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	done, cancelled := make(chan struct{}), make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(cancelled)
		l.cancel(done)
	})
	err := f(context.WithoutCancel(ctx))
	close(done)
	if !stop() {
		<-cancelled // else it could hit the next statement
		if err != nil {
			err = fmt.Errorf("%w (%w)", ctx.Err(), err)
		}
	}
	return lost(err)
}

// cancel cancels what runs on the connection until done.
func (l *line) cancel(done chan struct{}) {
	for {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		l.pool.ExecContext(ctx, "SELECT pg_cancel_backend($1)", l.backend) // and again, if it fails
		cancel()
		select {
		case <-done:
			return
		case <-time.After(cancelEvery):
		}
	}
}

// exec executes statements of ours, about savepoints.
func (l *line) exec(query string) error {
	l.xids = -1
	_, err := execOn(context.Background(), l.conn, query, nil)
	return lost(err)
}

// scalar returns the number that query asks for.
func (l *line) scalar(query string) (int64, error) {
	rows, err := queryOn(context.Background(), l.conn, query, nil)
	if err != nil {
		return 0, lost(err)
	}
	defer rows.Close()
	values := make([]driver.Value, 1)
	if err := rows.Next(values); err != nil {
		return 0, lost(err)
	}
	n, ok := values[0].(int64)
	if !ok {
		return 0, fmt.Errorf("poolgatetest: the driver has a %T for a bigint", values[0])
	}
	return n, nil
}

// lost keeps database/sql from trying again on another connection.
func lost(err error) error {
	if errors.Is(err, driver.ErrBadConn) {
		return errLost
	}
	return err
}

func sqlState(err error) string {
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return e.SQLState()
	}
	return ""
}
