package pgxpoolgate

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// rows are pgx's. They give the connection back as they close, if they own it.
type rows struct {
	pgx.Rows
	call
	lease *lease
	owns  bool

	begun, ended bool
}

// ownRows are rows with a connection of their own.
type ownRows struct {
	rows rows
	own  lease
}

func (r *rows) query(ctx context.Context, on caller, sql string, args []any) error {
	r.call = call{ctx: ctx, kind: "query", sql: sql, args: args}
	passed, start := r.lease.start(&r.call, sql)
	inner, err := on.Query(passed, sql, args...)
	r.took = took(start)
	r.Rows = inner
	if err != nil {
		r.end()
		return explain(ctx, err)
	}
	return nil
}

// end is called when pgx has closed the rows.
func (r *rows) end() {
	if r.ended {
		return
	}
	r.ended = true
	if r.owns {
		defer r.lease.release() // even if an observer panics
	}
	r.lease.end(&r.call, r.Rows.Err())
}

// Close closes the rows.
func (r *rows) Close() {
	if r.ended {
		return
	}
	defer r.end() // even if pgx panics
	r.lease.begin("")
	r.Rows.Close()
}

// Next reads the next row.
func (r *rows) Next() bool {
	if r.ended {
		return false
	}
	var start time.Time
	if !r.begun { // the server works until the first
		r.begun = true
		start = r.lease.begin("")
	}
	next := r.Rows.Next()
	r.took += took(start)
	if !next {
		r.end()
	}
	return next
}

// Scan scans the row. An error closes the rows.
func (r *rows) Scan(dest ...any) error {
	err := r.Rows.Scan(dest...)
	if err != nil {
		r.Close()
	}
	return explain(r.ctx, err)
}

// Values returns the values of the row. An error closes the rows.
func (r *rows) Values() ([]any, error) {
	values, err := r.Rows.Values()
	if err != nil {
		r.Close()
	}
	return values, explain(r.ctx, err)
}

// Err returns the error that ended the rows.
func (r *rows) Err() error { return explain(r.ctx, r.Rows.Err()) }

// row is pgx's. Scan gives the connection back, if the row owns it.
type row struct {
	call
	inner pgx.Row
	lease *lease
	owns  bool
}

// ownRow is a row with a connection of its own.
type ownRow struct {
	row row
	own lease
}

func (r *row) query(ctx context.Context, on caller, sql string, args []any) {
	r.call = call{ctx: ctx, kind: "query", sql: sql, args: args}
	ctx, start := r.lease.start(&r.call, sql)
	r.inner = on.QueryRow(ctx, sql, args...)
	r.took = took(start)
}

// Scan scans the row.
func (r *row) Scan(dest ...any) error {
	if r.owns {
		defer r.lease.release() // even if a Scan method panics
	}
	start := r.lease.begin("")
	err := r.inner.Scan(dest...)
	r.took += took(start)
	return r.lease.end(&r.call, err)
}

// errRow is a row that there is none of.
type errRow struct{ err error }

func (r errRow) Scan(...any) error { return r.err }

// errRows are rows that there are none of.
type errRows struct{ err error }

func (errRows) Close()                                       {}
func (r errRows) Err() error                                 { return r.err }
func (errRows) CommandTag() pgconn.CommandTag                { return pgconn.CommandTag{} }
func (errRows) FieldDescriptions() []pgconn.FieldDescription { return nil }
func (errRows) Next() bool                                   { return false }
func (r errRows) Scan(...any) error                          { return r.err }
func (r errRows) Values() ([]any, error)                     { return nil, r.err }
func (errRows) RawValues() [][]byte                          { return nil }
func (errRows) Conn() *pgx.Conn                              { return nil }
func (errRows) TypeMap() *pgtype.Map                         { return nil }
