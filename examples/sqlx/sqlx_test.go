package sqlx

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/jmoiron/sqlx"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/session"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

type account struct {
	ID      int
	Balance int
}

func TestSqlx(t *testing.T) {
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			db, err := driver.Open(pgserver.ForTest(t).CreateDatabase(t), poolgate.Config{Gate: gate.Config{Limit: 1}})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			x := sqlx.NewDb(db.DB, "postgres") // for the form of placeholders
			x.MustExec("CREATE TABLE accounts (id int PRIMARY KEY, balance int)")

			if _, err := x.NamedExec("INSERT INTO accounts VALUES (:id, :balance)", account{1, 10}); err != nil {
				t.Error(err)
			}
			undone := errors.New("undone")
			err = session.Run(t.Context(), func(ctx context.Context) error {
				unit := InUnit(ctx, x)
				if _, err := unit.ExecContext(ctx, "INSERT INTO accounts VALUES (2, 20)"); err != nil {
					return err
				}
				var all []account
				if err := unit.SelectContext(ctx, &all, "SELECT * FROM accounts ORDER BY id"); err != nil || len(all) != 2 || all[1] != (account{2, 20}) {
					t.Errorf("in the unit: %v, %v", all, err)
				}
				if _, err := unit.NamedExecContext(ctx, "UPDATE accounts SET balance = :balance WHERE id = :id", account{2, 21}); err != nil {
					t.Error(err)
				}
				var one account
				if err := unit.GetContext(ctx, &one, "SELECT * FROM accounts WHERE id = $1", 2); err != nil || one != (account{2, 21}) {
					t.Errorf("one of the unit: %v, %v", one, err)
				}
				if err := unit.GetContext(ctx, &one, "SELECT * FROM accounts WHERE id = $1", 3); !errors.Is(err, sql.ErrNoRows) {
					t.Errorf("none: %v", err)
				}
				return undone
			})
			if !errors.Is(err, undone) {
				t.Error(err)
			}
			var all []account
			if err := x.Select(&all, "SELECT * FROM accounts"); err != nil || len(all) != 1 {
				t.Errorf("after it: %v, %v", all, err)
			}
			if s := db.Gate().Stats(); s.InFlight != 0 || s.Waiting != 0 {
				t.Errorf("left behind: %+v", s)
			}
		})
	}
}
