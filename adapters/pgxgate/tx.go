package pgxgate

import (
	"context"
	"database/sql/driver"
	"reflect"

	"github.com/poolgate/poolgate/adapters/internal/socket"
	"github.com/poolgate/poolgate/internal/operation"
)

// Begin is there because driver.Conn wants it; database/sql calls BeginTx.
func (c *Conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

// BeginTx begins a transaction.
func (c *Conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if err := ctx.Err(); err != nil {
		return nil, err // pgx would give the connection up
	}
	inner, err := c.beginTx(ctx, opts)
	if err != nil {
		return nil, err
	}
	c.tx = &tx{Tx: inner, conn: c, ctx: ctx}
	return c.tx, nil
}

func (c *Conn) beginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	if query := beginQuery(opts); query != "" && c.defers(ctx, operation.Begin) {
		c.deferred.queries = append(c.deferred.queries, query)
		c.late = &deferredTx{conn: c, ctx: ctx}
		return c.late, nil
	}
	call := c.begin(ctx)
	call.Harmless = true
	inner, err := c.inner.BeginTx(ctx, opts)
	return inner, c.result(ctx, call, err)
}

// A tx is pgx's transaction. The end of its context also ends what runs in it
// under another context, as database/sql waits for that before it rolls back.
type tx struct {
	driver.Tx
	conn    *Conn
	ctx     context.Context
	unwatch func() bool // nil if ctx is not watched
}

// watch watches the transaction's context from now on, as a call under ctx
// begins. pgx itself watches that of the call.
func (t *tx) watch(ctx context.Context) {
	if t.unwatch != nil || t.ctx.Done() == nil {
		return
	}
	if reflect.TypeOf(ctx).Kind() == reflect.Pointer && ctx == t.ctx { // others need not be comparable
		return
	}
	t.unwatch = context.AfterFunc(t.ctx, t.conn.watcher.interrupt)
}

// ends is called when the transaction is about to end.
func (t *tx) ends() {
	t.conn.tx = nil
	if t.unwatch != nil {
		t.unwatch()
	}
}

func (t *tx) Commit() error {
	defer t.ends()
	call := t.conn.begin(t.ctx)
	return t.conn.result(t.ctx, call, t.Tx.Commit())
}

// Rollback rolls back, also after the transaction's context has ended. That is
// when pgx by itself gives the connection up.
func (t *tx) Rollback() error {
	t.ends()
	call := t.conn.begin(t.ctx)
	call.Harmless = true
	if t.ctx.Err() == nil {
		return t.conn.result(t.ctx, call, t.Tx.Rollback())
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), socket.Patience)
	defer cancel()
	var err error
	if late, ok := t.Tx.(*deferredTx); ok {
		err = late.rollback(ctx)
	} else {
		_, err = t.conn.inner.ExecContext(ctx, "rollback", nil)
	}
	return t.conn.result(ctx, call, err)
}
