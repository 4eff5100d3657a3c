// Package bun shows bun on a gated pool, and inside of units of work.
package bun

import (
	"context"
	"database/sql"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"
	"github.com/uptrace/bun/migrate"

	"github.com/poolgate/poolgate/poolgate/session"
)

// An Account is a row of the table accounts.
type Account struct {
	ID      int64 `bun:",pk"`
	Balance int64 `bun:",notnull"`
}

// Accounts works on the table accounts.
type Accounts struct {
	db *bun.DB
	tx *bun.Tx // nil outside of a transaction
}

// New returns the Accounts of db.
func New(db *sql.DB) *Accounts {
	return &Accounts{db: bun.NewDB(db, pgdialect.New())}
}

// on returns the transaction, the unit of work that ctx carries, or the pool, for
// the Conn of queries.
func (a *Accounts) on(ctx context.Context) session.DBTX {
	if a.tx != nil {
		return a.tx.Tx
	}
	return session.DB(ctx, a.db.DB)
}

// Migrate creates the table, unless bun's migrator has done so before.
func (a *Accounts) Migrate(ctx context.Context) error {
	migrations := migrate.NewMigrations()
	migrations.Add(migrate.Migration{
		Name: "1",
		Up: func(ctx context.Context, m *migrate.Migrator, _ *migrate.Migration) error {
			_, err := m.DB().NewCreateTable().Model((*Account)(nil)).Exec(ctx)
			return err
		},
	})
	migrator := migrate.NewMigrator(a.db, migrations, migrate.WithMarkAppliedOnSuccess(true))
	if err := migrator.Init(ctx); err != nil {
		return err
	}
	_, err := migrator.Migrate(ctx)
	return err
}

// Create creates an account.
func (a *Accounts) Create(ctx context.Context, id, balance int64) error {
	_, err := a.db.NewInsert().Conn(a.on(ctx)).Model(&Account{id, balance}).Exec(ctx)
	return err
}

// CreateMany creates accounts by one statement.
func (a *Accounts) CreateMany(ctx context.Context, ids, balances []int64) error {
	accounts := make([]Account, len(ids))
	for i, id := range ids {
		accounts[i] = Account{id, balances[i]}
	}
	_, err := a.db.NewInsert().Conn(a.on(ctx)).Model(&accounts).Exec(ctx)
	return err
}

// Balance returns the balance of an account.
func (a *Accounts) Balance(ctx context.Context, id int64) (int64, error) {
	account := Account{ID: id}
	err := a.db.NewSelect().Conn(a.on(ctx)).Model(&account).WherePK().Scan(ctx)
	return account.Balance, err
}

// Balances returns the balances of accounts, by a statement that is prepared
// once, which is for database/sql: bun has none.
func (a *Accounts) Balances(ctx context.Context, ids ...int64) ([]int64, error) {
	stmt, err := a.on(ctx).PrepareContext(ctx, "SELECT balance FROM accounts WHERE id = $1")
	if err != nil {
		return nil, err
	}
	defer stmt.Close()
	balances := make([]int64, len(ids))
	for i, id := range ids {
		if err := stmt.QueryRowContext(ctx, id).Scan(&balances[i]); err != nil {
			return nil, err
		}
	}
	return balances, nil
}

// Add adds to the balance of an account.
func (a *Accounts) Add(ctx context.Context, id, amount int64) error {
	_, err := a.db.NewUpdate().Conn(a.on(ctx)).Model(&Account{ID: id}).
		Set("balance = balance + ?", amount).WherePK().Exec(ctx)
	return err
}

// Delete deletes an account.
func (a *Accounts) Delete(ctx context.Context, id int64) error {
	_, err := a.db.NewDelete().Conn(a.on(ctx)).Model(&Account{ID: id}).WherePK().Exec(ctx)
	return err
}

// Each calls fn for each account, in the order of ids, while it reads them.
func (a *Accounts) Each(ctx context.Context, fn func(id, balance int64) error) error {
	rows, err := a.db.NewSelect().Conn(a.on(ctx)).Model((*Account)(nil)).Order("id").Rows(ctx)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var account Account
		if err := a.db.ScanRow(ctx, rows, &account); err != nil {
			return err
		}
		if err := fn(account.ID, account.Balance); err != nil {
			return err
		}
	}
	return rows.Err()
}

// InTx runs fn in a transaction. One in another is a savepoint of it.
func (a *Accounts) InTx(ctx context.Context, fn func(tx *Accounts) error) error {
	inTx := func(_ context.Context, tx bun.Tx) error { return fn(&Accounts{a.db, &tx}) }
	if a.tx != nil {
		return a.tx.RunInTx(ctx, nil, inTx)
	}
	return a.db.RunInTx(ctx, nil, inTx)
}
