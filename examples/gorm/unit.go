package gorm

import (
	"context"
	"database/sql"

	"gorm.io/gorm"

	"github.com/poolgate/poolgate/poolgate/session"
)

// InUnit returns orm with its statements in the unit of work that ctx carries, on
// the database db that orm was opened on. Without a unit it returns orm with that
// context. GORM's own Transaction is then a savepoint of the unit.
func InUnit(ctx context.Context, orm *gorm.DB, db *sql.DB) *gorm.DB {
	orm = orm.Session(&gorm.Session{Context: ctx, NewDB: true})
	if session.From(ctx) != nil {
		orm.Statement.ConnPool = transaction{session.DB(ctx, db)}
	}
	return orm
}

// A transaction is a unit's, for GORM, which takes a connection pool for an open
// transaction if it has these methods. The unit commits and rolls back itself.
type transaction struct{ session.DBTX }

func (transaction) Commit() error   { return nil }
func (transaction) Rollback() error { return nil }
