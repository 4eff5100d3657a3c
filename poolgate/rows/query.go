package rows

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
)

// A Queryer can be queried: *sql.DB, *sql.Tx, *sql.Conn, *poolgate.DB, and what
// sqlc calls a DBTX.
type Queryer interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// ErrTooManyRows is the error of [One] and [Scalar] where there is a second row.
var ErrTooManyRows = errors.New("rows: the query has more than one row")

// Collect returns all rows of a query. Where there are none the slice is empty,
// and not nil. After an error, that of ctx included, there is no slice.
//
// All rows are in memory at once: see [Stream] and [Partitions] for many.
func Collect[T any](ctx context.Context, q Queryer, query string, args ...any) ([]T, error) {
	rs, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	all := []T{}
	err = read(rs, func(row T) bool {
		all = append(all, row)
		return true
	})
	if err != nil {
		return nil, err
	}
	return all, nil
}

// One returns the only row of a query. Without a row the error is
// sql.ErrNoRows, and with a second one [ErrTooManyRows].
func One[T any](ctx context.Context, q Queryer, query string, args ...any) (T, error) {
	rs, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		var zero T
		return zero, err
	}
	return one[T](rs)
}

// First returns the first row of a query and drops the others. Without a row
// the error is sql.ErrNoRows. The server may still send all rows, which are
// read to the end: where they may be many, the query should say LIMIT 1.
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

// Scalar is [One] for a query with one column, such as a count; where there are
// more columns it returns an error. For NULL, T must be a pointer, a sql.Null,
// or the like.
func Scalar[T any](ctx context.Context, q Queryer, query string, args ...any) (T, error) {
	var zero T
	rs, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return zero, err
	}
	columns, err := rs.Columns()
	if err == nil && len(columns) != 1 {
		err = fmt.Errorf("rows: Scalar wants one column, and the query has %d (%s)", len(columns), strings.Join(columns, ", "))
	}
	if err != nil {
		rs.Close() // why there is no value matters more
		return zero, err
	}
	return one[T](rs)
}

func one[T any](rs *sql.Rows) (T, error) {
	var only, zero T
	n := 0
	err := read(rs, func(row T) bool {
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

// read calls each with every row, until it returns false, and closes rs.
func read[T any](rs *sql.Rows, each func(T) bool) error {
	defer rs.Close() // for errors, and for a panic or the like in each
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
