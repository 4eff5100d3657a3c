package pgxpoolgate

import (
	"cmp"
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolgate/poolgate/adapters/internal/socket"
	"github.com/poolgate/poolgate/poolgate"
)

// errOutOfBand is the error of a transaction out of band.
var errOutOfBand = poolgate.ErrOutOfBand

// A tx is pgx's transaction, or a savepoint in one. Its end gives the connection
// back, if it owns it.
type tx struct {
	inner     pgx.Tx
	lease     *lease
	owns      bool
	savepoint bool
	ended     bool
}

// Begin sets a savepoint.
func (t *tx) Begin(ctx context.Context) (pgx.Tx, error) {
	c := call{ctx: ctx, kind: "exec", sql: "savepoint"}
	ctx, start := t.lease.start(&c, c.sql)
	inner, err := t.inner.Begin(ctx)
	c.took = took(start)
	if err = t.lease.end(&c, err); err != nil {
		return nil, err
	}
	return &tx{inner: inner, lease: t.lease, savepoint: true}, nil
}

// Commit commits the transaction. If the context has ended before, it rolls back,
// and returns the error of the context. pgx by itself closes the connection then.
func (t *tx) Commit(ctx context.Context) error {
	if t.owns {
		defer t.lease.release()
	}
	if ended := ctx.Err(); ended != nil && !t.savepoint {
		if err := t.rollback(ctx); err == pgx.ErrTxClosed {
			return err
		}
		return ended
	}
	return t.finish(ctx, "commit", "release savepoint", t.inner.Commit)
}

// finish ends the transaction, or by another statement the savepoint.
func (t *tx) finish(ctx context.Context, kind, savepoint string, end func(context.Context) error) error {
	if t.ended {
		return end(ctx) // pgx.ErrTxClosed
	}
	t.ended = true
	c := call{ctx: ctx, kind: kind}
	if t.savepoint {
		c.kind, c.sql = "exec", savepoint
	}
	ctx, start := t.lease.start(&c, cmp.Or(c.sql, kind))
	err := end(ctx)
	c.took = took(start)
	return t.lease.end(&c, err)
}

// Rollback rolls the transaction back, also after the context has ended. That is
// when pgx by itself closes the connection.
func (t *tx) Rollback(ctx context.Context) error {
	if t.owns {
		defer t.lease.release()
	}
	return t.rollback(ctx)
}

// rollbackTimeout is how long a rollback takes whose context has ended before.
// With what closing a connection may take, that is a quarter of a second.
const rollbackTimeout = socket.Patience + 40*time.Millisecond

func (t *tx) rollback(ctx context.Context) error {
	ended := ctx.Err()
	if ended != nil {
		timeout := rollbackTimeout
		if t.lease.link != nil {
			timeout -= socket.Patience // which the server has besides
		}
		fresh, cancel := context.WithTimeout(context.WithoutCancel(ctx), timeout)
		defer cancel()
		ctx = fresh
	}
	err := t.finish(ctx, "rollback", "rollback to savepoint", t.inner.Rollback)
	if ended != nil && err != nil && err != pgx.ErrTxClosed {
		err = fmt.Errorf("%w: %w", ended, err)
	}
	return err
}

func (t *tx) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return t.lease.exec(ctx, t.inner, sql, args)
}

func (t *tx) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	r := &rows{lease: t.lease}
	err := r.query(ctx, t.inner, sql, args)
	return r, err
}

func (t *tx) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	r := &row{lease: t.lease}
	r.query(ctx, t.inner, sql, args)
	return r
}

func (t *tx) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return t.lease.sendBatch(ctx, t.inner, b, false)
}

func (t *tx) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	return t.lease.copyFrom(ctx, t.inner, table, columns, rows)
}

func (t *tx) Prepare(ctx context.Context, name, sql string) (*pgconn.StatementDescription, error) {
	c := call{ctx: ctx, kind: "prepare", sql: sql}
	ctx, start := t.lease.start(&c, sql)
	described, err := t.inner.Prepare(ctx, name, sql)
	c.took = took(start)
	return described, t.lease.end(&c, err)
}

// LargeObjects returns pgx's large objects of the transaction.
func (t *tx) LargeObjects() pgx.LargeObjects { return t.inner.LargeObjects() }

// Conn returns pgx's own connection, as long as the transaction lasts.
func (t *tx) Conn() *pgx.Conn { return t.inner.Conn() }
