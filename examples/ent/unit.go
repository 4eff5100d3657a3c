package ent

import (
	"context"
	"database/sql"

	"entgo.io/ent/dialect"
	entsql "entgo.io/ent/dialect/sql"

	"github.com/poolgate/poolgate/poolgate/session"
)

// InUnit returns a driver for ent.NewClient, whose statements are in the unit of
// work that ctx carries, on db. Where ctx carries none, they run on db itself. A
// transaction of ent is then a savepoint of the unit.
func InUnit(ctx context.Context, db *sql.DB) dialect.Driver {
	if session.From(ctx) == nil {
		return entsql.OpenDB(dialect.Postgres, db)
	}
	return unit{entsql.Conn{ExecQuerier: session.DB(ctx, db)}}
}

type unit struct{ entsql.Conn }

func (unit) Dialect() string { return dialect.Postgres }

// Close does nothing: the unit ends by itself.
func (unit) Close() error { return nil }

// Tx sets a savepoint. ent also calls it for what takes several statements, such
// as an update that returns the entity.
func (u unit) Tx(ctx context.Context) (dialect.Tx, error) {
	tx := savepoint{u, ctx}
	return tx, tx.run(ctx, "SAVEPOINT ent")
}

// A savepoint is a transaction of ent in a unit. Those that are nested have the
// same name: the server takes the innermost.
type savepoint struct {
	unit
	ctx context.Context
}

func (s savepoint) run(ctx context.Context, statement string) error {
	return s.Exec(ctx, statement, []any{}, nil)
}

func (s savepoint) Commit() error { return s.run(s.ctx, "RELEASE SAVEPOINT ent") }

// Rollback undoes the work even if the context has ended, as that of a statement
// may do in a unit that goes on.
func (s savepoint) Rollback() error {
	return s.run(context.WithoutCancel(s.ctx), "ROLLBACK TO SAVEPOINT ent; RELEASE SAVEPOINT ent")
}
