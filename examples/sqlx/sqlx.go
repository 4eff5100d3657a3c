// Package sqlx shows sqlx on a gated pool, and inside of units of work.
package sqlx

import (
	"context"
	"database/sql"
	"errors"

	"github.com/jmoiron/sqlx"
)

// An Account is a row of the table accounts.
type Account struct{ ID, Balance int64 }

// Accounts works on the table accounts.
type Accounts struct {
	db *sqlx.DB
	tx *sqlx.Tx // nil outside of a transaction
}

// New returns the Accounts of db.
func New(db *sql.DB) *Accounts {
	return &Accounts{db: sqlx.NewDb(db, "postgres")} // for the form of placeholders
}

// A queryer is a *sqlx.DB, a *sqlx.Tx or a [Unit].
type queryer interface {
	ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error)
	GetContext(ctx context.Context, dest any, query string, args ...any) error
	NamedExecContext(ctx context.Context, query string, arg any) (sql.Result, error)
	PreparexContext(ctx context.Context, query string) (*sqlx.Stmt, error)
	QueryxContext(ctx context.Context, query string, args ...any) (*sqlx.Rows, error)
}

// on returns the transaction, the unit of work that ctx carries, or the pool.
func (a *Accounts) on(ctx context.Context) queryer {
	if a.tx != nil {
		return a.tx
	}
	return InUnit(ctx, a.db)
}

// Create creates an account.
func (a *Accounts) Create(ctx context.Context, id, balance int64) error {
	return a.create(ctx, Account{id, balance})
}

// CreateMany creates accounts by one statement.
func (a *Accounts) CreateMany(ctx context.Context, ids, balances []int64) error {
	accounts := make([]Account, len(ids))
	for i, id := range ids {
		accounts[i] = Account{id, balances[i]}
	}
	return a.create(ctx, accounts)
}

// create inserts an Account, or a slice of them.
func (a *Accounts) create(ctx context.Context, accounts any) error {
	_, err := a.on(ctx).NamedExecContext(ctx, "INSERT INTO accounts (id, balance) VALUES (:id, :balance)", accounts)
	return err
}

const byID = "SELECT id, balance FROM accounts WHERE id = $1"

// Balance returns the balance of an account.
func (a *Accounts) Balance(ctx context.Context, id int64) (int64, error) {
	var account Account
	err := a.on(ctx).GetContext(ctx, &account, byID, id)
	return account.Balance, err
}

// Balances returns the balances of accounts, by a statement that is prepared
// once.
func (a *Accounts) Balances(ctx context.Context, ids ...int64) ([]int64, error) {
	stmt, err := a.on(ctx).PreparexContext(ctx, byID)
	if err != nil {
		return nil, err
	}
	defer stmt.Close()
	balances := make([]int64, len(ids))
	for i, id := range ids {
		var account Account
		if err := stmt.GetContext(ctx, &account, id); err != nil {
			return nil, err
		}
		balances[i] = account.Balance
	}
	return balances, nil
}

// Add adds to the balance of an account.
func (a *Accounts) Add(ctx context.Context, id, amount int64) error {
	_, err := a.on(ctx).ExecContext(ctx, "UPDATE accounts SET balance = balance + $2 WHERE id = $1", id, amount)
	return err
}

// Delete deletes an account.
func (a *Accounts) Delete(ctx context.Context, id int64) error {
	_, err := a.on(ctx).ExecContext(ctx, "DELETE FROM accounts WHERE id = $1", id)
	return err
}

// Each calls fn for each account, in the order of ids, while it reads them.
func (a *Accounts) Each(ctx context.Context, fn func(id, balance int64) error) error {
	rows, err := a.on(ctx).QueryxContext(ctx, "SELECT id, balance FROM accounts ORDER BY id")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var account Account
		if err := rows.StructScan(&account); err != nil {
			return err
		}
		if err := fn(account.ID, account.Balance); err != nil {
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
	tx, err := a.db.BeginTxx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // does nothing after Commit
	if err := fn(&Accounts{a.db, tx}); err != nil {
		return err
	}
	return tx.Commit()
}
