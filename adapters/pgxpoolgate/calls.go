package pgxpoolgate

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolgate/poolgate/internal/sqlstate"
	"github.com/poolgate/poolgate/poolgate"
)

// A caller is what statements are executed on: a *pgx.Conn or a pgx.Tx.
type caller interface {
	Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error)
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
	SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults
	CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error)
}

// A call is one of a statement, from when it is sent until its result was read.
type call struct {
	ctx   context.Context // of the caller
	kind  string          // see poolgate.Call
	sql   string
	args  []any
	batch *pgx.Batch
	took  time.Duration // so far, if somebody wants to know
}

// start begins a call. It returns the context for pgx, and when the call began.
// holder is what the gate's holders have of it.
func (l *lease) start(c *call, holder string) (ctx context.Context, start time.Time) {
	start = l.begin(holder)
	if l.conn == nil {
		return c.ctx, start
	}
	return l.watch.Begin(c.ctx), start
}

// begin is called before everything that pgx does on the connection, with the
// statement if there is one. The goroutine that calls is the permit's owner. It
// does nothing once the connection was given back: then pgx returns an error
// without it.
func (l *lease) begin(query string) (start time.Time) {
	if l.conn == nil {
		return start
	}
	l.permit.SetOwner()
	if query != "" {
		l.activity.Begin(query)
	}
	if l.watch != nil || l.pool.gate.IsAdaptive() {
		start = time.Now()
	}
	return start
}

// took returns how long something took that somebody wants to know of.
func took(start time.Time) time.Duration {
	if start.IsZero() {
		return 0
	}
	return time.Since(start)
}

// end ends a call, of which pgx has returned err. It returns the error for the
// caller.
func (l *lease) end(c *call, err error) error {
	l.activity.End()
	failed := err != nil && err != pgx.ErrNoRows
	if l.conn != nil && c.took > 0 {
		l.permit.Worked(c.took, failed, overloaded(err))
	}
	err = explain(c.ctx, err)
	if l.conn != nil && l.watch != nil {
		o := poolgate.Call{Kind: c.kind, Query: c.sql, Args: named(c.args), Took: c.took}
		if c.batch != nil {
			o.Query, o.Batch = pipeline(c.batch).Describe()
		}
		if failed {
			o.Err = err
		}
		l.watch.End(c.ctx, o)
	}
	return err
}

// named returns arguments as observers see them.
func named(args []any) []driver.NamedValue {
	values := make([]driver.NamedValue, len(args))
	for i, arg := range args {
		values[i] = driver.NamedValue{Ordinal: i + 1, Value: arg}
	}
	return values
}

// pipeline returns a batch as observers see it.
func pipeline(b *pgx.Batch) (p poolgate.Pipeline) {
	for _, q := range b.QueuedQueries {
		p.Statements = append(p.Statements, poolgate.PipelineStatement{Query: q.SQL})
	}
	return p
}

func (l *lease) exec(ctx context.Context, on caller, sql string, args []any) (pgconn.CommandTag, error) {
	c := call{ctx: ctx, kind: "exec", sql: sql, args: args}
	ctx, start := l.start(&c, sql)
	tag, err := on.Exec(ctx, sql, args...)
	c.took = took(start)
	return tag, l.end(&c, err)
}

func (l *lease) copyFrom(ctx context.Context, on caller, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	c := call{ctx: ctx, kind: "copy", sql: "copy " + table.Sanitize() + " from stdin"}
	ctx, start := l.start(&c, c.sql)
	n, err := on.CopyFrom(ctx, table, columns, rows)
	if l.watch != nil {
		c.took = took(start) // otherwise 0: how long it takes is up to rows, which says nothing about the limit
	}
	return n, l.end(&c, err)
}

func (l *lease) ping(ctx context.Context, conn *pgx.Conn) error {
	c := call{ctx: ctx, kind: "ping"}
	ctx, start := l.start(&c, "-- ping")
	err := conn.Ping(ctx)
	c.took = took(start)
	return l.end(&c, err)
}

func (l *lease) beginTx(ctx context.Context, conn *pgx.Conn, options pgx.TxOptions, owns bool) (pgx.Tx, error) {
	c := call{ctx: ctx, kind: "begin"}
	ctx, start := l.start(&c, "begin")
	inner, err := conn.BeginTx(ctx, options)
	c.took = took(start)
	if err = l.end(&c, err); err != nil {
		return nil, err
	}
	return &tx{inner: inner, lease: l, owns: owns}, nil
}

func (l *lease) sendBatch(ctx context.Context, on caller, b *pgx.Batch, owns bool) pgx.BatchResults {
	first := ""
	if len(b.QueuedQueries) > 0 {
		first = b.QueuedQueries[0].SQL
	}
	br := &batchResults{lease: l, owns: owns, call: call{ctx: ctx, kind: "batch", batch: b}}
	ctx, start := l.start(&br.call, first)
	br.inner = on.SendBatch(ctx, b)
	br.took = took(start)
	if inner := br.inner.Tx(); inner != nil {
		br.tx = &tx{inner: inner, lease: l, owns: owns}
		br.owns = false
	}
	return br
}

// queryCanceled is the SQLSTATE of a statement that was cancelled.
const queryCanceled = "57014"

// explain makes the error of a statement that the server has cancelled since its
// context ended that of the context, too.
func explain(ctx context.Context, err error) error {
	if err == nil || ctx.Err() == nil || errors.Is(err, ctx.Err()) {
		return err
	}
	if said, ok := errors.AsType[*pgconn.PgError](err); ok && said.Code == queryCanceled {
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// overloaded reports whether the server said that it has too much to do: class
// 53 of PostgreSQL's error codes is insufficient resources, such as too many
// connections.
func overloaded(err error) bool { return err != nil && strings.HasPrefix(sqlstate.Of(err), "53") }
