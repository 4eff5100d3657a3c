// Package sqlc shows code that sqlc has generated on a gated pool, with and
// without emit_prepared_queries, and inside of units of work.
package sqlc

import (
	"context"
	"database/sql"
	"errors"

	"github.com/poolgate/poolgate/examples/sqlc/plain"
	"github.com/poolgate/poolgate/examples/sqlc/prepared"
	"github.com/poolgate/poolgate/poolgate/session"
)

//go:generate env CGO_ENABLED=0 go run github.com/sqlc-dev/sqlc/cmd/sqlc@v1.31.1 generate

// queries is what both forms of the generated code have.
type queries interface {
	Create(ctx context.Context, id, balance int64) error
	CreateMany(ctx context.Context, ids, balances []int64) error
	Balance(ctx context.Context, id int64) (int64, error)
	Add(ctx context.Context, amount, id int64) error
	Delete(ctx context.Context, id int64) error
	All(ctx context.Context) ([]plain.Account, error)
}

// Accounts works on the table accounts.
type Accounts struct {
	db     *sql.DB
	on     func(session.DBTX) queries // in a unit
	withTx func(*sql.Tx) queries
	pool   queries
	tx     queries // nil outside of a transaction
	close  func() error
}

// New returns Accounts whose queries are sent as they are.
func New(db *sql.DB) *Accounts {
	q := plain.New(db)
	return &Accounts{
		db:     db,
		on:     func(db session.DBTX) queries { return plain.New(db) },
		withTx: func(tx *sql.Tx) queries { return q.WithTx(tx) },
		pool:   q,
		close:  func() error { return nil },
	}
}

// Prepare returns Accounts whose queries are prepared first, by the code that
// emit_prepared_queries adds.
func Prepare(ctx context.Context, db *sql.DB) (*Accounts, error) {
	q, err := prepared.Prepare(ctx, db)
	if err != nil {
		return nil, err
	}
	return &Accounts{
		db:     db,
		on:     func(db session.DBTX) queries { return preparedQueries{prepared.New(db)} },
		withTx: func(tx *sql.Tx) queries { return preparedQueries{q.WithTx(tx)} },
		pool:   preparedQueries{q},
		close:  q.Close,
	}, nil
}

// Close closes the prepared statements.
func (a *Accounts) Close() error { return a.close() }

// preparedQueries has the models of the other form.
type preparedQueries struct{ *prepared.Queries }

func (q preparedQueries) All(ctx context.Context) ([]plain.Account, error) {
	all, err := q.Queries.All(ctx)
	accounts := make([]plain.Account, len(all))
	for i, a := range all {
		accounts[i] = plain.Account(a)
	}
	return accounts, err
}

// queries returns those of the transaction, of the unit of work that ctx carries,
// or of the pool.
func (a *Accounts) queries(ctx context.Context) queries {
	switch {
	case a.tx != nil:
		return a.tx
	case session.From(ctx) != nil:
		return a.on(session.DB(ctx, a.db))
	}
	return a.pool
}

// Create creates an account.
func (a *Accounts) Create(ctx context.Context, id, balance int64) error {
	return a.queries(ctx).Create(ctx, id, balance)
}

// CreateMany creates accounts by one statement.
func (a *Accounts) CreateMany(ctx context.Context, ids, balances []int64) error {
	return a.queries(ctx).CreateMany(ctx, ids, balances)
}

// Balance returns the balance of an account.
func (a *Accounts) Balance(ctx context.Context, id int64) (int64, error) {
	return a.queries(ctx).Balance(ctx, id)
}

// Add adds to the balance of an account.
func (a *Accounts) Add(ctx context.Context, id, amount int64) error {
	return a.queries(ctx).Add(ctx, amount, id)
}

// Delete deletes an account.
func (a *Accounts) Delete(ctx context.Context, id int64) error {
	return a.queries(ctx).Delete(ctx, id)
}

// Each calls fn for each account, in the order of ids. The generated code reads
// all of them before it returns.
func (a *Accounts) Each(ctx context.Context, fn func(id, balance int64) error) error {
	all, err := a.queries(ctx).All(ctx)
	if err != nil {
		return err
	}
	for _, account := range all {
		if err := fn(account.ID, account.Balance); err != nil {
			return err
		}
	}
	return nil
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
	inTx.tx = a.withTx(tx)
	if err := fn(&inTx); err != nil {
		return err
	}
	return tx.Commit()
}
