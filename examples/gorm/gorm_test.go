package gorm

import (
	"errors"
	"sync"
	"testing"

	"go.uber.org/goleak"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

type Account struct {
	ID      int
	Balance int
}

// open is all that a program has to change: GORM is given db.DB.
func open(db *poolgate.DB) (*gorm.DB, error) {
	return gorm.Open(postgres.New(postgres.Config{Conn: db.DB}), &gorm.Config{
		PrepareStmt: true,
		Logger:      logger.Discard,
	})
}

// forBoth runs a test over both drivers, on a new table of accounts.
func forBoth(t *testing.T, limit int, test func(t *testing.T, db *poolgate.DB, orm *gorm.DB)) {
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			dsn := pgserver.ForTest(t).CreateDatabase(t)
			ignored := goleak.IgnoreCurrent()
			db, err := driver.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: limit}})
			if err != nil {
				t.Fatal(err)
			}
			// GORM's cache of statements has a goroutine that never ends.
			cache := goleak.IgnoreTopFunction("gorm.io/gorm/internal/lru.NewLRU[...].func1")
			t.Cleanup(func() { goleak.VerifyNone(t, ignored, cache) })
			t.Cleanup(func() {
				if s := db.Gate().Stats(); s.InFlight != 0 || s.Waiting != 0 || db.Stats().InUse != 0 {
					t.Errorf("left behind: %+v", s)
				}
				db.Close()
			})
			orm, err := open(db)
			if err != nil {
				t.Fatal(err)
			}
			if err := orm.AutoMigrate(&Account{}); err != nil {
				t.Fatal(err)
			}
			test(t, db, orm)
			if prepared, ok := orm.ConnPool.(*gorm.PreparedStmtDB); ok {
				prepared.Close()
			}
		})
	}
}

func TestManyGoroutinesShareFewPermits(t *testing.T) {
	forBoth(t, 3, func(t *testing.T, db *poolgate.DB, orm *gorm.DB) {
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				err := orm.Transaction(func(tx *gorm.DB) error {
					if err := tx.Create(&Account{ID: i + 1, Balance: 100}).Error; err != nil {
						return err
					}
					return tx.Model(&Account{ID: i + 1}).Update("balance", gorm.Expr("balance + ?", i)).Error
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
		var sum int
		if err := orm.Model(&Account{}).Select("sum(balance)").Scan(&sum).Error; err != nil || sum != 50*100+49*50/2 {
			t.Errorf("the sum is %d, %v", sum, err)
		}
		if most := db.Stats().OpenConnections; most > 3 {
			t.Errorf("%d connections", most)
		}
	})
}

// A transaction that uses the outer *gorm.DB inside is the mistake that hangs a
// program as soon as enough requests make it at once: a query prepares its
// statement on the pool, and a Create begins a transaction there.
func TestATransactionThatAsksThePoolForMoreIsToldSo(t *testing.T) {
	const limit = 3
	for name, outer := range map[string]func(orm *gorm.DB, i int) error{
		// Statements that differ: those that wait for the same one to be
		// prepared wait inside of GORM, where a gate cannot see them.
		"a query": func(orm *gorm.DB, i int) error {
			return orm.Where("balance > ?", 0).Order([]string{"id", "balance", "balance, id"}[i]).Find(&[]Account{}).Error
		},
		"a transaction": func(orm *gorm.DB, i int) error { return orm.Create(&Account{ID: 10 + i}).Error },
	} {
		t.Run(name, func(t *testing.T) {
			forBoth(t, limit, func(t *testing.T, db *poolgate.DB, orm *gorm.DB) {
				var begun, all sync.WaitGroup
				begun.Add(limit)
				errs := make([]error, limit)
				for i := range limit {
					all.Go(func() {
						errs[i] = orm.Transaction(func(tx *gorm.DB) error {
							if err := tx.Create(&Account{ID: i + 1}).Error; err != nil {
								return err
							}
							begun.Done()
							begun.Wait()
							return outer(orm, i) // not tx
						})
					})
				}
				all.Wait()
				refused := 0
				for _, err := range errs {
					switch {
					case errors.Is(err, gate.ErrDeadlock):
						refused++
					case err != nil:
						t.Error(err)
					}
				}
				if refused != 1 {
					t.Errorf("%d were refused: %v", refused, errs)
				}
				var n int64
				if err := orm.Model(&Account{}).Where("id < 10").Count(&n).Error; err != nil || n != limit-1 {
					t.Errorf("%d rows are there, %v", n, err)
				}
			})
		})
	}
}

// With PrepareStmt, GORM prepares each statement once; the gate then prepares it
// once on each connection, in transactions too. The server counts.
func TestStatementsAreParsedOncePerConnection(t *testing.T) {
	const limit, executions = 8, 3000
	forBoth(t, limit, func(t *testing.T, db *poolgate.DB, orm *gorm.DB) {
		for id := range 50 {
			if err := orm.Create(&Account{ID: id + 1, Balance: 100}).Error; err != nil {
				t.Fatal(err)
			}
		}
		const where = "balance > ?"
		var wg sync.WaitGroup
		for worker := range 2 * limit {
			wg.Go(func() {
				for i := range executions / (2 * limit) {
					read := func(orm *gorm.DB) error {
						var accounts []Account
						return orm.Where(where, i).Limit(1).Find(&accounts).Error
					}
					err := read(orm)
					if worker%2 == 0 && err == nil {
						err = orm.Transaction(read)
					}
					if err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		statements, executed := 0, 0
		for range limit {
			conn, err := db.Conn(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			var n, times int
			err = conn.QueryRowContext(t.Context(), `SELECT count(*), coalesce(sum(generic_plans + custom_plans), 0)::int
				FROM pg_prepared_statements WHERE statement LIKE '%balance > $1%' AND statement NOT LIKE '%pg_prepared%'`).Scan(&n, &times)
			if err != nil {
				t.Fatal(err)
			}
			statements, executed = statements+n, executed+times
		}
		if statements > limit || executed < executions {
			t.Errorf("%d statements were executed %d times, want at most %d and %d times", statements, executed, limit, executions)
		}
	})
}
