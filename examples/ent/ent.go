// Package ent shows ent on a gated pool, and inside of units of work. The package
// below it of the same name is what ent has generated.
package ent

import (
	"context"
	"database/sql"

	"github.com/poolgate/poolgate/examples/ent/ent"
	"github.com/poolgate/poolgate/examples/ent/ent/account"
	"github.com/poolgate/poolgate/poolgate/session"
)

//go:generate go run entgo.io/ent/cmd/ent@v0.14.5 generate ./ent/schema

// Accounts works on the table accounts.
type Accounts struct {
	db     *sql.DB
	client *ent.Client
	inTx   bool
}

// New returns the Accounts of db.
func New(db *sql.DB) *Accounts {
	return &Accounts{db: db, client: ent.NewClient(ent.Driver(InUnit(context.Background(), db)))}
}

// on returns the client of the transaction, of the unit of work that ctx carries,
// or of the pool.
func (a *Accounts) on(ctx context.Context) *ent.Client {
	if a.inTx || session.From(ctx) == nil {
		return a.client
	}
	return ent.NewClient(ent.Driver(InUnit(ctx, a.db)))
}

// Migrate creates the table if there is none, and adds what it lacks.
func (a *Accounts) Migrate(ctx context.Context) error {
	return a.on(ctx).Schema.Create(ctx)
}

// Create creates an account.
func (a *Accounts) Create(ctx context.Context, id, balance int64) error {
	return a.on(ctx).Account.Create().SetID(id).SetBalance(balance).Exec(ctx)
}

// CreateMany creates accounts by one statement.
func (a *Accounts) CreateMany(ctx context.Context, ids, balances []int64) error {
	return a.on(ctx).Account.MapCreateBulk(ids, func(create *ent.AccountCreate, i int) {
		create.SetID(ids[i]).SetBalance(balances[i])
	}).Exec(ctx)
}

// Balance returns the balance of an account.
func (a *Accounts) Balance(ctx context.Context, id int64) (int64, error) {
	found, err := a.on(ctx).Account.Get(ctx, id)
	if err != nil {
		return 0, err
	}
	return found.Balance, nil
}

// Add adds to the balance of an account.
func (a *Accounts) Add(ctx context.Context, id, amount int64) error {
	return a.on(ctx).Account.UpdateOneID(id).AddBalance(amount).Exec(ctx)
}

// Delete deletes an account.
func (a *Accounts) Delete(ctx context.Context, id int64) error {
	return a.on(ctx).Account.DeleteOneID(id).Exec(ctx)
}

// Each calls fn for each account, in the order of ids. ent reads all of them
// before it returns.
func (a *Accounts) Each(ctx context.Context, fn func(id, balance int64) error) error {
	all, err := a.on(ctx).Account.Query().Order(account.ByID()).All(ctx)
	if err != nil {
		return err
	}
	for _, found := range all {
		if err := fn(found.ID, found.Balance); err != nil {
			return err
		}
	}
	return nil
}

// InTx runs fn in a transaction. One in a unit of work is a savepoint of it. ent
// has no nested ones.
func (a *Accounts) InTx(ctx context.Context, fn func(tx *Accounts) error) error {
	tx, err := a.on(ctx).Tx(ctx)
	if err != nil {
		return err
	}
	ended := false
	defer func() {
		if !ended { // by an error of fn, or a panic
			tx.Rollback()
		}
	}()
	if err := fn(&Accounts{db: a.db, client: tx.Client(), inTx: true}); err != nil {
		return err
	}
	ended = true
	return tx.Commit()
}
