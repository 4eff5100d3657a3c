package pgxpoolgate

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// batchResults are pgx's. They give the connection back as they close, if they own
// it. Where the batch began a transaction, that owns it.
type batchResults struct {
	call
	inner  pgx.BatchResults
	lease  *lease
	owns   bool
	tx     *tx
	closed bool
}

func (b *batchResults) Exec() (pgconn.CommandTag, error) {
	start := b.begin()
	tag, err := b.inner.Exec()
	b.took += took(start)
	return tag, explain(b.ctx, err)
}

func (b *batchResults) Query() (pgx.Rows, error) {
	start := b.begin()
	inner, err := b.inner.Query()
	b.took += took(start)
	return &batchRows{inner, b.ctx}, explain(b.ctx, err)
}

func (b *batchResults) QueryRow() pgx.Row {
	start := b.begin()
	inner := b.inner.QueryRow()
	b.took += took(start)
	return &batchRow{inner, b.ctx}
}

// Close reads what is left of the results, and calls the functions that were
// registered for them.
func (b *batchResults) Close() error {
	if b.closed {
		return explain(b.ctx, b.inner.Close())
	}
	start := b.begin()
	b.closed = true
	defer func() {
		if b.owns || b.tx != nil && b.tx.owns && !b.inTx() {
			b.lease.release()
		}
	}()
	err := b.inner.Close()
	b.took += took(start)
	return b.lease.end(&b.call, err)
}

// begin is called before each call but those after Close.
func (b *batchResults) begin() (start time.Time) {
	if b.closed {
		return start
	}
	return b.lease.begin("")
}

// inTx reports whether the transaction that the batch began is still there.
func (b *batchResults) inTx() bool {
	if b.lease.conn == nil {
		return false
	}
	pg := b.lease.conn.Conn().PgConn()
	return !pg.IsClosed() && pg.TxStatus() != 'I'
}

// Tx returns the transaction that the batch began, or nil.
func (b *batchResults) Tx() pgx.Tx {
	if b.tx == nil {
		return nil
	}
	return b.tx
}

// batchRows are rows of a batch, but for their errors.
type batchRows struct {
	pgx.Rows
	ctx context.Context
}

func (r *batchRows) Err() error { return explain(r.ctx, r.Rows.Err()) }

// batchRow is a row of a batch, but for its errors.
type batchRow struct {
	inner pgx.Row
	ctx   context.Context
}

func (r *batchRow) Scan(dest ...any) error { return explain(r.ctx, r.inner.Scan(dest...)) }
