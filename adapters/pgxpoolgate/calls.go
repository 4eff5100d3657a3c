package pgxpoolgate

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// A caller is what statements are executed on: a *pgx.Conn or a pgx.Tx.
type caller interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error)
}

func (l *lease) exec(ctx context.Context, on caller, sql string, args []any) (pgconn.CommandTag, error) {
	start := l.begin(sql)
	tag, err := on.Exec(ctx, sql, args...)
	return tag, l.end(ctx, took(start), err)
}

func (l *lease) copyFrom(ctx context.Context, on caller, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	l.begin("copy " + table.Sanitize() + " from stdin") // how long it takes is up to rows
	n, err := on.CopyFrom(ctx, table, columns, rows)
	return n, l.end(ctx, 0, err)
}

func (l *lease) ping(ctx context.Context, conn *pgx.Conn) error {
	start := l.begin("-- ping")
	return l.end(ctx, took(start), conn.Ping(ctx))
}

func (l *lease) beginTx(ctx context.Context, conn *pgx.Conn, options pgx.TxOptions, owns bool) (pgx.Tx, error) {
	start := l.begin("begin")
	inner, err := conn.BeginTx(ctx, options)
	if err = l.end(ctx, took(start), err); err != nil {
		return nil, err
	}
	return &tx{inner: inner, lease: l, owns: owns}, nil
}

func (l *lease) sendBatch(ctx context.Context, on caller, b *pgx.Batch, owns bool) pgx.BatchResults {
	first := ""
	if len(b.QueuedQueries) > 0 {
		first = b.QueuedQueries[0].SQL
	}
	start := l.begin(first)
	br := &batchResults{inner: on.SendBatch(ctx, b), lease: l, ctx: ctx, owns: owns}
	br.took = took(start)
	if inner := br.inner.Tx(); inner != nil {
		br.tx = &tx{inner: inner, lease: l, owns: owns}
		br.owns = false
	}
	return br
}
