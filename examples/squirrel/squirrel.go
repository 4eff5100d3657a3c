// Package squirrel shows squirrel on a gated pool, and inside of units of work.
package squirrel

import (
	"context"
	"database/sql"
	"errors"

	"github.com/Masterminds/squirrel"

	"github.com/poolgate/poolgate/poolgate/session"
)

// InUnit returns the unit of work that ctx carries, on db, for RunWith. Where ctx
// carries none, it returns db itself.
func InUnit(ctx context.Context, db *sql.DB) squirrel.StdSqlCtx {
	if session.From(ctx) == nil {
		return db
	}
	return unit{session.DB(ctx, db)}
}

// A unit has the methods without a context that squirrel asks for too.
type unit struct{ session.DBTX }

func (u unit) Exec(query string, args ...any) (sql.Result, error) {
	return u.ExecContext(context.Background(), query, args...)
}

func (u unit) Query(query string, args ...any) (*sql.Rows, error) {
	return u.QueryContext(context.Background(), query, args...)
}

func (u unit) QueryRow(query string, args ...any) *sql.Row {
	return u.QueryRowContext(context.Background(), query, args...)
}

// Accounts works on the table accounts.
type Accounts struct {
	db     *sql.DB
	cached bool                // whether statements are prepared
	pool   squirrel.BaseRunner // the db, or a cache of its statements
	tx     squirrel.BaseRunner // the same of a transaction; nil outside of one
}

// New returns the Accounts of db.
func New(db *sql.DB) *Accounts { return &Accounts{db: db, pool: db} }

// NewCached returns the Accounts of db, with squirrel's cache of prepared
// statements.
func NewCached(db *sql.DB) *Accounts {
	return &Accounts{db: db, cached: true, pool: squirrel.NewStmtCache(db)}
}

// Close closes the prepared statements.
func (a *Accounts) Close() error {
	if cache, ok := a.pool.(*squirrel.StmtCache); ok {
		return cache.Clear()
	}
	return nil
}

// build returns a builder of statements that run in the transaction, in the unit
// of work that ctx carries, or on the pool.
func (a *Accounts) build(ctx context.Context) squirrel.StatementBuilderType {
	b := squirrel.StatementBuilder.PlaceholderFormat(squirrel.Dollar)
	switch {
	case a.tx != nil:
		return b.RunWith(a.tx)
	case session.From(ctx) != nil:
		return b.RunWith(InUnit(ctx, a.db))
	}
	return b.RunWith(a.pool)
}

// Create creates an account.
func (a *Accounts) Create(ctx context.Context, id, balance int64) error {
	_, err := a.build(ctx).Insert("accounts").Columns("id", "balance").Values(id, balance).ExecContext(ctx)
	return err
}

// CreateMany creates accounts by one statement.
func (a *Accounts) CreateMany(ctx context.Context, ids, balances []int64) error {
	insert := a.build(ctx).Insert("accounts").Columns("id", "balance")
	for i, id := range ids {
		insert = insert.Values(id, balances[i])
	}
	_, err := insert.ExecContext(ctx)
	return err
}

// Balance returns the balance of an account.
func (a *Accounts) Balance(ctx context.Context, id int64) (balance int64, err error) {
	query := a.build(ctx).Select("balance").From("accounts").Where(squirrel.Eq{"id": id})
	err = query.QueryRowContext(ctx).Scan(&balance)
	return balance, err
}

// Add adds to the balance of an account.
func (a *Accounts) Add(ctx context.Context, id, amount int64) error {
	update := a.build(ctx).Update("accounts").Set("balance", squirrel.Expr("balance + ?", amount))
	_, err := update.Where(squirrel.Eq{"id": id}).ExecContext(ctx)
	return err
}

// Delete deletes an account.
func (a *Accounts) Delete(ctx context.Context, id int64) error {
	_, err := a.build(ctx).Delete("accounts").Where(squirrel.Eq{"id": id}).ExecContext(ctx)
	return err
}

// Each calls fn for each account, in the order of ids, while it reads them.
func (a *Accounts) Each(ctx context.Context, fn func(id, balance int64) error) error {
	rows, err := a.build(ctx).Select("id", "balance").From("accounts").OrderBy("id").QueryContext(ctx)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id, balance int64
		if err := rows.Scan(&id, &balance); err != nil {
			return err
		}
		if err := fn(id, balance); err != nil {
			return err
		}
	}
	return rows.Err()
}

// InTx runs fn in a transaction. There are no nested ones.
func (a *Accounts) InTx(ctx context.Context, fn func(tx *Accounts) error) error {
	if a.tx != nil {
		return errors.ErrUnsupported
	}
	tx, err := a.db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	inTx := *a
	inTx.tx = tx
	if a.cached {
		inTx.tx = squirrel.NewStmtCache(tx) // the transaction's end closes its statements
	}
	if err := fn(&inTx); err != nil {
		return err
	}
	return tx.Commit()
}
