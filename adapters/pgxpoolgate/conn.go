package pgxpoolgate

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A Conn is a connection that was acquired, as a *pgxpool.Conn is. It holds a
// permit until Release. One goroutine at a time may use it.
type Conn struct {
	lease lease
}

// Release gives the connection back, and then the permit. No other method may be
// called afterwards, but Release again, which does nothing.
func (c *Conn) Release() { c.lease.release() }

// Hijack takes the connection out of the pool, for the caller to close. It gives
// the permit back: the connection counts towards neither the limit nor MaxConns any
// more. It panics after Release.
func (c *Conn) Hijack() *pgx.Conn {
	if c.lease.conn == nil {
		panic("pgxpoolgate: Hijack of a Conn that was released")
	}
	conn := c.lease.conn.Hijack()
	c.lease.hijacked()
	return conn
}

// Conn returns pgx's own connection. Use it only until Release. What is executed on
// it is not among the holders of the gate, and a statement that is cancelled
// returns the server's error, 57014.
func (c *Conn) Conn() *pgx.Conn {
	c.lease.begin("")
	return c.lease.conn.Conn()
}

// Exec executes a statement.
func (c *Conn) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	return c.lease.exec(ctx, c.lease.conn.Conn(), sql, args)
}

// Query executes a query.
func (c *Conn) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	r := &rows{lease: &c.lease}
	err := r.query(ctx, c.lease.conn.Conn(), sql, args)
	return r, err
}

// QueryRow executes a query of which the first row is wanted.
func (c *Conn) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	r := &row{lease: &c.lease}
	r.query(ctx, c.lease.conn.Conn(), sql, args)
	return r
}

// SendBatch sends a batch.
func (c *Conn) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	return c.lease.sendBatch(ctx, c.lease.conn.Conn(), b, false)
}

// CopyFrom copies rows into a table by COPY, and returns how many.
func (c *Conn) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	return c.lease.copyFrom(ctx, c.lease.conn.Conn(), table, columns, rows)
}

// Begin begins a transaction with the server's defaults.
func (c *Conn) Begin(ctx context.Context) (pgx.Tx, error) { return c.BeginTx(ctx, pgx.TxOptions{}) }

// BeginTx begins a transaction. Its end does not release the Conn.
func (c *Conn) BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	return c.lease.beginTx(ctx, c.lease.conn.Conn(), options, false)
}

// Ping asks the server for an answer.
func (c *Conn) Ping(ctx context.Context) error { return c.lease.ping(ctx, c.lease.conn.Conn()) }
