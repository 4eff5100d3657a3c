// Package sqlx shows sqlx on a gated pool, and inside of units of work.
package sqlx

import (
	"context"
	"database/sql"

	"github.com/jmoiron/sqlx"

	"github.com/poolgate/poolgate/poolgate/session"
)

// A Unit runs sqlx's statements in a unit of work. It is a [sqlx.ExecerContext],
// and works with [sqlx.SelectContext].
type Unit struct {
	session.DBTX
	db *sqlx.DB
}

// InUnit returns the unit of work that ctx carries, on db; or db itself where ctx
// carries none.
func InUnit(ctx context.Context, db *sqlx.DB) Unit {
	return Unit{session.DB(ctx, db.DB), db}
}

// QueryxContext queries in the unit.
func (u Unit) QueryxContext(ctx context.Context, query string, args ...any) (*sqlx.Rows, error) {
	rows, err := u.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return &sqlx.Rows{Rows: rows, Mapper: u.db.Mapper}, nil
}

// QueryRowxContext is there because [sqlx.QueryerContext] wants it. An [sqlx.Row]
// can only be made by sqlx, so it fails: read one row by [sqlx.SelectContext], or
// by QueryRowContext.
func (u Unit) QueryRowxContext(ctx context.Context, query string, args ...any) *sqlx.Row {
	ended, end := context.WithCancelCause(ctx)
	end(sql.ErrTxDone)
	return u.db.QueryRowxContext(ended, query, args...)
}
