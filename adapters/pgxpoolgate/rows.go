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
	lease *lease
	ctx   context.Context
	owns  bool

	begun, ended bool
	took         time.Duration
}

// ownRows are rows with a connection of their own.
type ownRows struct {
	rows rows
	own  lease
}

func (r *rows) query(ctx context.Context, on caller, sql string, args []any) error {
	r.ctx = ctx
	start := r.lease.begin(sql)
	inner, err := on.Query(ctx, sql, args...)
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
	r.lease.end(r.ctx, r.took, r.Rows.Err())
	if r.owns {
		r.lease.release()
	}
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
	inner pgx.Row
	lease *lease
	ctx   context.Context
	owns  bool
	took  time.Duration
}

// ownRow is a row with a connection of its own.
type ownRow struct {
	row row
	own lease
}

func (r *row) query(ctx context.Context, on caller, sql string, args []any) {
	r.ctx = ctx
	start := r.lease.begin(sql)
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
	return r.lease.end(r.ctx, r.took+took(start), err)
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
