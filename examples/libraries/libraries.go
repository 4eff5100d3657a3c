package main

import (
	"context"
	"database/sql"
	"io"

	"github.com/poolgate/poolgate/examples/bun"
	"github.com/poolgate/poolgate/examples/ent"
	"github.com/poolgate/poolgate/examples/gorm"
	"github.com/poolgate/poolgate/examples/sqlc"
	"github.com/poolgate/poolgate/examples/sqlx"
	"github.com/poolgate/poolgate/examples/squirrel"
)

// accounts is what the package of each library does with the table accounts.
type accounts interface {
	Create(ctx context.Context, id, balance int64) error
	CreateMany(ctx context.Context, ids, balances []int64) error
	Balance(ctx context.Context, id int64) (int64, error)
	Add(ctx context.Context, id, amount int64) error
	Delete(ctx context.Context, id int64) error
	Each(ctx context.Context, fn func(id, balance int64) error) error
}

// transactional are accounts that have transactions.
type transactional[A any] interface {
	accounts
	InTx(ctx context.Context, fn func(tx A) error) error
}

// A store is accounts of any library.
type store struct {
	accounts
	inTx func(ctx context.Context, fn func(tx store) error) error
}

func of[A transactional[A]](a A) store {
	return store{a, func(ctx context.Context, fn func(store) error) error {
		return a.InTx(ctx, func(tx A) error { return fn(of(tx)) })
	}}
}

// close closes the prepared statements, where there are any.
func (s store) close() error {
	if c, ok := s.accounts.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// A library opens accounts on a gated pool.
type library struct {
	name     string
	open     func(ctx context.Context, db *sql.DB) (store, error)
	streams  bool // Each reads while it calls fn
	nests    bool // a transaction in another is a savepoint
	inUnit   bool // a transaction in a unit of work is a savepoint
	prepares bool // statements are prepared by the library

	// balance is the begin of the statement by which Balance reads, if that is
	// the same for all accounts.
	balance string
}

var libraries = []library{
	{name: "sqlc", balance: "-- name: Balance", open: func(_ context.Context, db *sql.DB) (store, error) {
		return of(sqlc.New(db)), nil
	}},
	{name: "sqlc-prepared", prepares: true, balance: "-- name: Balance", open: func(ctx context.Context, db *sql.DB) (store, error) {
		a, err := sqlc.Prepare(ctx, db)
		return of(a), err
	}},
	{name: "sqlx", streams: true, balance: "SELECT id, balance FROM accounts WHERE id =", open: func(_ context.Context, db *sql.DB) (store, error) {
		return of(sqlx.New(db)), nil
	}},
	{name: "gorm", streams: true, nests: true, inUnit: true, balance: `SELECT * FROM "accounts" WHERE id =`, open: func(_ context.Context, db *sql.DB) (store, error) {
		a, err := gorm.Open(db, false)
		return of(a), err
	}},
	{name: "gorm-prepared", streams: true, nests: true, inUnit: true, prepares: true, balance: `SELECT * FROM "accounts" WHERE id =`, open: func(_ context.Context, db *sql.DB) (store, error) {
		a, err := gorm.Open(db, true)
		return of(a), err
	}},
	{name: "bun", streams: true, nests: true, open: func(_ context.Context, db *sql.DB) (store, error) {
		return of(bun.New(db)), nil
	}},
	{name: "ent", inUnit: true, balance: `SELECT "accounts"."id", "accounts"."balance" FROM "accounts" WHERE`, open: func(_ context.Context, db *sql.DB) (store, error) {
		return of(ent.New(db)), nil
	}},
	{name: "squirrel", streams: true, balance: "SELECT balance FROM accounts WHERE id =", open: func(_ context.Context, db *sql.DB) (store, error) {
		return of(squirrel.New(db)), nil
	}},
	{name: "squirrel-cached", streams: true, prepares: true, balance: "SELECT balance FROM accounts WHERE id =", open: func(_ context.Context, db *sql.DB) (store, error) {
		return of(squirrel.NewCached(db)), nil
	}},
}
