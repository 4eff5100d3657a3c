package rows

import (
	"context"
	"database/sql"
	"errors"
)

// A Queryer runs queries: *sql.DB, *sql.Tx, *sql.Conn, *poolgate.DB, and what
// sqlc calls a DBTX.
type Queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// ErrTooManyRows is the error of [One] for a query with more than one row.
var ErrTooManyRows = errors.New("rows: the query has more than one row")

// Collect returns all rows of a query. If there are none, the slice is empty and
// not nil. If there is an error, including that of ctx, the slice is nil.
//
// All rows are in memory at once. For many rows see [Stream] and [Partitions].
func Collect[T any](ctx context.Context, q Queryer, query string, args ...any) ([]T, error) {
	rs, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return collect[T](rs)
}

func collect[T any](rs *sql.Rows) ([]T, error) {
	all := []T{}
	err := read(rs, func(row T) bool {
		all = append(all, row)
		return true
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// One returns the only row of a query, or the value of its only column:
//
//	n, err := rows.One[int](ctx, db, "SELECT count(*) FROM users")
//
// The error is sql.ErrNoRows if there is no row, and [ErrTooManyRows] if there
// is a second one.
func One[T any](ctx context.Context, q Queryer, query string, args ...any) (T, error) {
	var only, zero T
	rs, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return zero, err
	}
	n := 0
	err = read(rs, func(row T) bool {
		only = row
		n++
		return n < 2
	})
	switch {
	case err != nil:
		return zero, err
	case n == 0:
		return zero, sql.ErrNoRows
	case n > 1:
		return zero, ErrTooManyRows
	}
	return only, nil
}

// First returns the first row of a query and drops the others. If there is no
// row, the error is sql.ErrNoRows. The server may still send all rows, and First
// reads them to the end: if there may be many, add LIMIT 1 to the query.
func First[T any](ctx context.Context, q Queryer, query string, args ...any) (T, error) {
	var first T
	rs, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return first, err
	}
	err = sql.ErrNoRows
	failed := read(rs, func(row T) bool {
		first, err = row, nil
		return false
	})
	if failed != nil {
		var zero T
		return zero, failed
	}
	return first, err
}

// read calls each with every row until it returns false, and closes rs.
func read[T any](rs *sql.Rows, each func(T) bool) error {
	defer rs.Close() // after an error, and if each panics or ends its goroutine
	t, err := targetOf[T](rs)
	if err != nil {
		return err
	}
	defer t.release()
	for rs.Next() {
		row, err := t.scan(rs)
		if err != nil {
			return err
		}
		if !each(row) {
			break
		}
	}
	if err := rs.Err(); err != nil {
		return err
	}
	return rs.Close()
}
