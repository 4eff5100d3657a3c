package pqgate

import (
	"context"
	"database/sql/driver"

	"github.com/poolgate/poolgate/adapters/internal/socket"
)

// Begin is there because driver.Conn wants it; database/sql calls BeginTx.
func (c *Conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

// BeginTx begins a transaction. lib/pq by itself does not heed ctx until that is
// done.
func (c *Conn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	call := c.begin()
	call.Harmless = true
	lift := c.socket.Limit(ctx, socket.Patience, 0)
	inner, err := c.inner.BeginTx(ctx, opts)
	lift()
	if err = c.result(ctx, call, err); err != nil {
		return nil, err
	}
	c.tx, c.copy = ctx, nil
	return &tx{inner, c}, nil
}

// A tx is lib/pq's transaction.
type tx struct {
	driver.Tx
	conn *Conn
}

func (t *tx) Commit() error { return t.end(false, t.Tx.Commit) }

// Rollback ends the transaction's COPY first. As long as that is under way,
// lib/pq reads from the connection in a goroutine, and the answer to ROLLBACK
// would be read by either; and database/sql rolls back when a context ends,
// wherever the transaction is.
func (t *tx) Rollback() error {
	if t.conn.copy != nil {
		t.conn.copy.Close() // its rows are rolled back, and its error with them
	}
	return t.end(true, t.Tx.Rollback)
}

func (t *tx) end(harmless bool, end func() error) error {
	ctx := t.conn.tx
	call := t.conn.begin()
	call.Harmless = harmless
	if ctx.Err() != nil { // then lib/pq closes the connection here, and writes to it
		defer t.conn.socket.LimitWrites(ctx)()
	}
	err := t.conn.result(ctx, call, end())
	t.conn.tx, t.conn.copy = nil, nil
	return err
}
