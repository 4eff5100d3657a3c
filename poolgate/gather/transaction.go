package gather

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/poolgate/poolgate/internal/operation"
	"github.com/poolgate/poolgate/internal/sqlstate"
)

const (
	beginSerial   = "BEGIN ISOLATION LEVEL REPEATABLE READ"
	beginSnapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
)

// endGrace is how long a COMMIT goes on when the gather's context has ended, and
// how long a ROLLBACK may take, until the connection is given up.
const endGrace = 5 * time.Second

// A transaction is a connection that has one open. Statements begin and end it
// rather than BeginTx, which cannot import a snapshot in the same round trip,
// and for which lib/pq needs more of them. One worker uses it.
type transaction struct {
	g         *gathering
	conn      *sql.Conn
	ctx       context.Context // of its statements
	cancel    context.CancelFunc
	savepoint bool // there is one
	inside    bool // a statement runs, or has panicked
	lost      bool // it can run no more statements
	stuck     bool // rows are open that cannot be closed
}

// begin opens a transaction, or returns nil if there is nothing left to do in
// it. It waits for a connection as long as waiting lasts.
func (g *gathering) begin(waiting context.Context, begin string) (*transaction, error) {
	conn, err := g.db.Conn(waiting)
	if err != nil {
		return nil, fmt.Errorf("gather: no connection: %w", err)
	}
	if !g.more() {
		conn.Close()
		return nil, nil
	}
	t := &transaction{g: g, conn: conn}
	t.ctx, t.cancel = context.WithCancel(g.ctx)
	if _, err := conn.ExecContext(t.ctx, begin); sqlstate.IsForeign(err) {
		t.release() // nothing has begun, and SQLite in memory would go with the connection
		return nil, fmt.Errorf("gather: %v needs PostgreSQL, which knows %s: %w", g.options.Consistency, begin, err)
	} else if err != nil {
		t.discard()
		return nil, fmt.Errorf("gather: %s: %w", begin, err)
	}
	return t, nil
}

// work runs statements until there are none, or the connection is lost.
func (t *transaction) work() {
	for !t.lost {
		i, ok := t.g.take()
		if !ok {
			return
		}
		t.g.end(i, t.run(i))
	}
}

// run runs statement i. With AllErrors a savepoint protects the next statement
// from its failure.
func (t *transaction) run(i int) error {
	if t.g.options.AllErrors {
		if err := t.save(); err != nil {
			t.lost = true
			return err
		}
	}
	t.inside = true
	err := t.g.statement(t.ctx, t.conn, i)
	t.inside = false
	switch {
	case errors.Is(err, errStuck):
		t.lost, t.stuck = true, true
	case err != nil && t.savepoint:
		_, broken := t.conn.ExecContext(t.ctx, "ROLLBACK TO SAVEPOINT poolgate_gather")
		t.lost = broken != nil
	}
	return err
}

func (t *transaction) save() error {
	query := "SAVEPOINT poolgate_gather"
	if t.savepoint {
		query = "RELEASE SAVEPOINT poolgate_gather; " + query
	}
	if _, err := t.conn.ExecContext(t.ctx, query); err != nil {
		return fmt.Errorf("%s: %w", query, err)
	}
	t.savepoint = true
	return nil
}

// accepts reports whether the server still accepts statements. If a function has
// hidden the error of one, COMMIT would roll back and report no error.
func (t *transaction) accepts() error {
	_, err := t.conn.ExecContext(t.ctx, "SELECT 1")
	return err
}

// commit keeps what the statements have written, unless err says that they have
// failed.
func (t *transaction) commit(err error) error {
	if err == nil {
		ctx, cancel := context.WithCancel(context.WithoutCancel(t.ctx))
		defer cancel()
		defer context.AfterFunc(t.ctx, func() { time.AfterFunc(endGrace, cancel) })()
		_, err = t.conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		return fmt.Errorf("gather: not committed: %w", err)
	}
	t.release()
	return nil
}

// rollback ends the transaction and gives the connection back.
func (t *transaction) rollback() {
	if t.inside || t.stuck {
		t.discard()
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), endGrace)
	defer cancel()
	if _, err := t.conn.ExecContext(ctx, "ROLLBACK"); err != nil {
		t.discard() // the server rolls back
		return
	}
	t.release()
}

// release gives the connection back to the pool. database/sql makes it wait for
// rows that are still open, of which a handle does not see those of an *sql.Row
// and of an *sql.Stmt. They are cancelled first.
func (t *transaction) release() {
	t.cancel()
	within(endGrace, func() { t.conn.Close() })
}

// discard makes the pool close the connection, whose state nobody knows.
func (t *transaction) discard() {
	t.cancel()
	within(endGrace, func() {
		t.conn.Raw(func(any) error { return driver.ErrBadConn }) // which is what Raw returns
		t.conn.Close()
	})
}

// serial runs all statements in one transaction.
func (g *gathering) serial(begin string) {
	t, err := g.begin(g.ctx, begin)
	if err != nil {
		g.fail(err)
		return
	}
	kept := false
	defer func() {
		if !kept {
			t.rollback()
		}
	}()
	t.work()
	if !g.whole() {
		return
	}
	if err := t.commit(t.accepts()); err != nil {
		g.fail(err)
		return
	}
	kept = true
}

// snapshot runs the statements on connections that share a snapshot. The first
// exports it and then works like the others, so that no permit is held only to
// wait for another.
func (g *gathering) snapshot() {
	t, err := g.begin(g.ctx, beginSnapshot)
	if err != nil {
		g.fail(err)
		return
	}
	defer t.rollback()
	if g.workers > 1 {
		begin, err := t.export()
		if err != nil {
			g.fail(err)
			return
		}
		var importing sync.WaitGroup
		defer importing.Wait() // the snapshot is there until its exporter ends
		waiting, stopWaiting := context.WithCancel(operation.Optional(g.ctx))
		defer stopWaiting()
		for range g.workers - 1 {
			importing.Add(1)
			g.spawn(func() { g.join(waiting, begin, importing.Done) })
		}
	}
	t.work()
}

// join works on the snapshot that begin imports, if there is a permit before
// waiting ends. If it cannot, the others do the work.
func (g *gathering) join(waiting context.Context, begin string, imported func()) {
	t, err := func() (*transaction, error) {
		defer imported()
		return g.begin(waiting, begin)
	}()
	switch {
	case t != nil:
		defer t.rollback()
		t.work()
	case err != nil && waiting.Err() == nil:
		g.without(err)
	}
}

// export returns the statements that begin a transaction on t's snapshot.
func (t *transaction) export() (begin string, err error) {
	var id string
	if err := t.conn.QueryRowContext(t.ctx, "SELECT pg_export_snapshot()").Scan(&id); err != nil {
		return "", fmt.Errorf("gather: no snapshot: %w", err)
	}
	if id == "" || strings.Trim(id, "0123456789ABCDEF-") != "" {
		return "", fmt.Errorf("gather: the server calls its snapshot %q, which is no name of one", id)
	}
	return beginSnapshot + "; SET TRANSACTION SNAPSHOT '" + id + "'", nil
}
