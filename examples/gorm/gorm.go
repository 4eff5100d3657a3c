// Package gorm shows GORM on a gated pool, and inside of units of work.
package gorm

import (
	"context"
	"database/sql"

	"github.com/lib/pq"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// An Account is a row of the table accounts.
type Account struct {
	ID      int64 `gorm:"primaryKey;autoIncrement:false"`
	Balance int64 `gorm:"not null"`
}

// Accounts works on the table accounts.
type Accounts struct {
	db   *sql.DB
	orm  *gorm.DB
	inTx bool
}

// Open returns the Accounts of db, with GORM's PrepareStmt if prepare is set. It
// asks the server for its time.
func Open(db *sql.DB, prepare bool) (*Accounts, error) {
	config := postgres.Config{Conn: db}
	if _, ok := db.Driver().(*pq.Driver); ok {
		config.DriverName = "postgres" // GORM's migrator takes a Conn for pgx otherwise
	}
	orm, err := gorm.Open(postgres.New(config), &gorm.Config{
		PrepareStmt: prepare,
		Logger:      logger.Discard,
	})
	return &Accounts{db: db, orm: orm}, err
}

// Close closes the prepared statements.
func (a *Accounts) Close() error {
	if prepared, ok := a.orm.ConnPool.(*gorm.PreparedStmtDB); ok {
		prepared.Close()
	}
	return nil
}

// on returns GORM in the transaction, in the unit of work that ctx carries, or on
// the pool.
func (a *Accounts) on(ctx context.Context) *gorm.DB {
	if a.inTx {
		return a.orm.WithContext(ctx)
	}
	return InUnit(ctx, a.orm, a.db)
}

// Migrate creates the table if there is none, and adds what it lacks.
func (a *Accounts) Migrate(ctx context.Context) error {
	return a.on(ctx).AutoMigrate(&Account{})
}

// Create creates an account.
func (a *Accounts) Create(ctx context.Context, id, balance int64) error {
	return a.on(ctx).Create(&Account{id, balance}).Error
}

// CreateMany creates accounts by statements of two each, in one transaction.
func (a *Accounts) CreateMany(ctx context.Context, ids, balances []int64) error {
	accounts := make([]Account, len(ids))
	for i, id := range ids {
		accounts[i] = Account{id, balances[i]}
	}
	return a.on(ctx).CreateInBatches(accounts, 2).Error
}

// Balance returns the balance of an account.
func (a *Accounts) Balance(ctx context.Context, id int64) (int64, error) {
	var account Account
	err := a.on(ctx).Take(&account, "id = ?", id).Error
	return account.Balance, err
}

// Add adds to the balance of an account.
func (a *Accounts) Add(ctx context.Context, id, amount int64) error {
	return a.on(ctx).Model(&Account{ID: id}).Update("balance", gorm.Expr("balance + ?", amount)).Error
}

// Delete deletes an account.
func (a *Accounts) Delete(ctx context.Context, id int64) error {
	return a.on(ctx).Delete(&Account{ID: id}).Error
}

// Each calls fn for each account, in the order of ids, while it reads them.
func (a *Accounts) Each(ctx context.Context, fn func(id, balance int64) error) error {
	orm := a.on(ctx)
	rows, err := orm.Model(&Account{}).Order("id").Rows()
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var account Account
		if err := orm.ScanRows(rows, &account); err != nil {
			return err
		}
		if err := fn(account.ID, account.Balance); err != nil {
			return err
		}
	}
	return rows.Err()
}

// InTx runs fn in a transaction. One in another, or in a unit of work, is a
// savepoint of it.
func (a *Accounts) InTx(ctx context.Context, fn func(tx *Accounts) error) error {
	return a.on(ctx).Transaction(func(tx *gorm.DB) error {
		return fn(&Accounts{db: a.db, orm: tx, inTx: true})
	})
}
