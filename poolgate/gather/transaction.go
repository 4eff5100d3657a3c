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

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

const (
	beginSerial   = "BEGIN ISOLATION LEVEL REPEATABLE READ"
	beginSnapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
)

// endGrace is how long a ROLLBACK may take until the connection is given up.
const endGrace = 5 * time.Second

// A transaction is a connection that is inside of one. It is begun and ended by
// statements rather than by BeginTx, which cannot import a snapshot in the same
// round trip, and which lib/pq needs more of. One worker uses it.
type transaction struct {
	g         *gathering
	conn      *sql.Conn
	savepoint bool // there is one
	inside    bool // of a statement: set for good if that panics
}

// begin opens a transaction, or returns nil. It waits for a connection as long
// as waiting lasts.
func (g *gathering) begin(waiting context.Context, begin string) *transaction {
	conn, err := g.db.Conn(waiting)
	if err != nil {
		g.refused(waiting, err)
		return nil
	}
	if !g.more() {
		conn.Close()
		return nil
	}
	if _, err := conn.ExecContext(g.ctx, begin); err != nil {
		g.fail(fmt.Errorf("gather: %s: %w", begin, err))
		discard(conn)
		return nil
	}
	return &transaction{g: g, conn: conn}
}

// refused takes note that there was no connection. Those that wanted to join in
// may be refused by the gate, and are called off when there is nothing to do.
func (g *gathering) refused(waiting context.Context, err error) {
	joining := waiting != g.ctx
	if joining && (waiting.Err() != nil || errors.Is(err, gate.ErrRejected)) {
		return
	}
	g.fail(fmt.Errorf("gather: no connection: %w", err))
}

// run runs statement i. With AllErrors a savepoint keeps its failure from the
// next.
func (t *transaction) run(i int) error {
	if t.g.options.AllErrors {
		if err := t.save(); err != nil {
			t.g.fail(err)
			return err
		}
	}
	t.inside = true
	err := t.g.statement(t.g.ctx, t.conn, i)
	t.inside = false
	if err != nil && t.savepoint {
		if _, broken := t.conn.ExecContext(t.g.ctx, "ROLLBACK TO SAVEPOINT poolgate_gather"); broken != nil {
			t.g.fail(fmt.Errorf("gather: after statement %d: %w", i, broken))
		}
	}
	return err
}

func (t *transaction) save() error {
	query := "SAVEPOINT poolgate_gather"
	if t.savepoint {
		query = "RELEASE SAVEPOINT poolgate_gather; " + query
	}
	_, err := t.conn.ExecContext(t.g.ctx, query)
	if err != nil {
		return fmt.Errorf("gather: %s: %w", query, err)
	}
	t.savepoint = true
	return nil
}

// commit keeps what the statements have written. If one has failed, and a
// function has swallowed its error, COMMIT would be a ROLLBACK that reports
// none: so it is asked before whether the server still takes statements.
func (t *transaction) commit() bool {
	for _, query := range []string{"SELECT 1", "COMMIT"} {
		if _, err := t.conn.ExecContext(t.g.ctx, query); err != nil {
			t.g.fail(fmt.Errorf("gather: not committed: %w", err))
			return false
		}
	}
	t.conn.Close() // gives it back, without an error of its own
	return true
}

// rollback ends the transaction and gives the connection back.
func (t *transaction) rollback() {
	if t.inside { // rows may be open
		t.g.cancel()
		discard(t.conn)
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.g.ctx), endGrace)
	defer cancel()
	if _, err := t.conn.ExecContext(ctx, "ROLLBACK"); err != nil {
		discard(t.conn) // the server rolls back
		return
	}
	t.conn.Close()
}

// discard has the pool close a connection that nobody knows the state of.
func discard(conn *sql.Conn) {
	conn.Raw(func(any) error { return driver.ErrBadConn }) // which is what Raw returns
	conn.Close()
}

// serial runs all statements in one transaction.
func (g *gathering) serial() {
	t := g.begin(g.ctx, beginSerial)
	if t == nil {
		return
	}
	kept := false
	defer func() {
		if !kept {
			t.rollback()
		}
	}()
	g.work(t.run)
	kept = g.whole() && t.commit()
}

// snapshot runs the statements on connections that share a snapshot. The first
// exports it and then works like the others, so that nobody waits for a permit
// for the sake of whom another is held.
func (g *gathering) snapshot() {
	t := g.begin(g.ctx, beginSnapshot)
	if t == nil {
		return
	}
	defer t.rollback()
	if g.workers > 1 && !isOneConnection(t.conn) {
		begin, err := t.export()
		if err != nil {
			g.fail(err)
			return
		}
		var importing sync.WaitGroup
		defer importing.Wait() // the snapshot is there until its exporter ends
		waiting, stopWaiting := context.WithCancel(g.ctx)
		defer stopWaiting()
		for range g.workers - 1 {
			importing.Add(1)
			g.spawn(func() { g.join(waiting, begin, importing.Done) })
		}
	}
	g.work(t.run)
}

// join works on the snapshot that begin imports, if there is a permit before
// waiting ends.
func (g *gathering) join(waiting context.Context, begin string, imported func()) {
	t := func() *transaction {
		defer imported()
		return g.begin(waiting, begin)
	}()
	if t == nil {
		return
	}
	defer t.rollback()
	g.work(t.run)
}

// export returns the statements that begin a transaction on t's snapshot.
func (t *transaction) export() (begin string, err error) {
	var id string
	if err := t.conn.QueryRowContext(t.g.ctx, "SELECT pg_export_snapshot()").Scan(&id); err != nil {
		return "", fmt.Errorf("gather: no snapshot: %w", err)
	}
	if id == "" || strings.Trim(id, "0123456789ABCDEF-") != "" {
		return "", fmt.Errorf("gather: the server calls its snapshot %q, which is no name of one", id)
	}
	return beginSnapshot + "; SET TRANSACTION SNAPSHOT '" + id + "'", nil
}

// isOneConnection tells whether conn stands for all connections of its pool, as
// poolgatetest's do: it cannot import its own snapshot.
func isOneConnection(conn *sql.Conn) bool {
	type oneConnection interface{ OneConnection() }
	return poolgate.Raw(conn, func(oneConnection) error { return nil }) == nil
}
