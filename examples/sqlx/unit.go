package sqlx

import (
	"cmp"
	"context"
	"database/sql"

	"github.com/jmoiron/sqlx"

	"github.com/poolgate/poolgate/poolgate/session"
)

// A Unit runs statements in a unit of work, and reads their rows as sqlx does.
type Unit struct {
	session.DBTX
	db *sqlx.DB
}

// InUnit returns the unit of work that ctx carries, on db. Where ctx carries none,
// statements run on db itself.
func InUnit(ctx context.Context, db *sqlx.DB) Unit {
	return Unit{session.DB(ctx, db.DB), db}
}

// QueryxContext is that of [sqlx.DB]. The unit can do nothing else until the rows
// are closed.
func (u Unit) QueryxContext(ctx context.Context, query string, args ...any) (*sqlx.Rows, error) {
	rows, err := u.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	return &sqlx.Rows{Rows: rows, Mapper: u.db.Mapper}, nil
}

// SelectContext reads all rows into dest, a pointer to a slice of structs.
func (u Unit) SelectContext(ctx context.Context, dest any, query string, args ...any) error {
	rows, err := u.QueryxContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	return sqlx.StructScan(rows, dest)
}

// GetContext reads the first row into dest, a pointer to a struct. It returns
// sql.ErrNoRows if there is none.
func (u Unit) GetContext(ctx context.Context, dest any, query string, args ...any) error {
	rows, err := u.QueryxContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	if !rows.Next() {
		return cmp.Or(rows.Err(), sql.ErrNoRows)
	}
	if err := rows.StructScan(dest); err != nil {
		return err
	}
	return rows.Close()
}

// NamedExecContext is that of [sqlx.DB].
func (u Unit) NamedExecContext(ctx context.Context, query string, arg any) (sql.Result, error) {
	query, args, err := u.db.BindNamed(query, arg)
	if err != nil {
		return nil, err
	}
	return u.ExecContext(ctx, query, args...)
}

// PreparexContext is that of [sqlx.DB]. The end of the unit closes the statement.
func (u Unit) PreparexContext(ctx context.Context, query string) (*sqlx.Stmt, error) {
	stmt, err := u.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	return &sqlx.Stmt{Stmt: stmt, Mapper: u.db.Mapper}, nil
}
