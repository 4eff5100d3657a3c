package gather

import (
	"context"
	"database/sql"

	"github.com/poolgate/poolgate/poolgate/rows"
	"github.com/poolgate/poolgate/poolgate/session"
)

// A Statement is a part of a gather: one of Query, One, LoadMany, Exec and Discard, or any
// function that works on db, such as one that sqlc generates:
//
//	func(ctx context.Context, db session.DBTX) (err error) {
//		page.Orders, err = queries.New(db).ListOrders(ctx, customer)
//		return err
//	}
//
// It runs in a goroutine other than the caller's, side by side with the other
// statements. It must use the db and the ctx that it is given, and close its rows
// before it returns. If rows are open then, the gather closes them, and the
// statement fails with [ErrRowsOpen] unless it returned an error itself. The
// gather cannot see whether an *sql.Row was scanned, which it cancels when the
// statement returns, nor the rows of an *sql.Stmt, which it cancels at its end.
type Statement func(ctx context.Context, db session.DBTX) error

// Query returns a statement that reads all its rows into *into, as
// rows.Collect does. If it fails, *into does not change.
func Query[T any](into *[]T, query string, args ...any) Statement {
	return func(ctx context.Context, db session.DBTX) error {
		all, err := rows.Collect[T](ctx, direct(db), query, args...)
		if err == nil {
			*into = all
		}
		return err
	}
}

// One returns a statement that reads its only row into *into, as rows.One does:
// a struct, or the value of the only column. Without a row it fails with
// sql.ErrNoRows. If it fails, *into does not change.
func One[T any](into *T, query string, args ...any) Statement {
	return func(ctx context.Context, db session.DBTX) error {
		only, err := rows.One[T](ctx, direct(db), query, args...)
		if err == nil {
			*into = only
		}
		return err
	}
}

// LoadMany returns a statement that loads the children of many parents into
// *into, as rows.LoadMany does: (*into)[i] are those of parents[i]. Several of
// them, one for each relation of the parents, take one round trip in a
// [Pipelined] gather. If it fails, *into does not change.
func LoadMany[P, C any, K comparable](into *[][]C, parents []P, key func(P) K, parent func(C) K, query string, args ...any) Statement {
	return func(ctx context.Context, db session.DBTX) error {
		children, err := rows.LoadMany(ctx, direct(db), parents, key, parent, query, args...)
		if err == nil {
			*into = children
		}
		return err
	}
}

// Exec returns a statement that stores its result in *into, unless into is nil.
func Exec(into *sql.Result, query string, args ...any) Statement {
	return func(ctx context.Context, db session.DBTX) error {
		result, err := direct(db).ExecContext(ctx, query, args...)
		if err == nil && into != nil {
			*into = result
		}
		return err
	}
}

// Discard returns a statement whose rows are read to the end and discarded. An
// error in the middle of them makes it fail.
func Discard(query string, args ...any) Statement {
	return func(ctx context.Context, db session.DBTX) error {
		rs, err := direct(db).QueryContext(ctx, query, args...)
		if err != nil {
			return err
		}
		defer rs.Close()
		for rs.Next() {
		}
		if err := rs.Err(); err != nil {
			return err
		}
		return rs.Close()
	}
}

// SQL is a statement for [Collect]: its text, and what $1 and so on stand for.
type SQL struct {
	Query string
	Args  []any
}

// Collect gathers statements whose rows all have one type, as [Run] does, and
// returns the rows of each, in the order of the statements. Each row becomes a T
// as in package rows.
//
// After an error Collect returns no results. With Options.AllErrors it returns
// the results of the statements that did not fail, and empty ones in place of
// the others.
func Collect[T any](ctx context.Context, db DB, o Options, statements ...SQL) ([]Frozen[T], error) {
	results := make([]Frozen[T], len(statements))
	err := run(ctx, db, o, len(statements), func(ctx context.Context, db session.DBTX, i int) error {
		all, err := rows.Collect[T](ctx, direct(db), statements[i].Query, statements[i].Args...)
		results[i].rows = all
		return err
	})
	if err != nil && !o.AllErrors {
		return nil, err
	}
	return results, err
}
