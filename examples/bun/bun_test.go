package bun

import (
	"context"
	"errors"
	"testing"

	"github.com/uptrace/bun"
	"github.com/uptrace/bun/dialect/pgdialect"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/session"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

type Account struct {
	ID      int `bun:",pk"`
	Balance int
}

func TestBun(t *testing.T) {
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			db, err := driver.Open(pgserver.ForTest(t).CreateDatabase(t), poolgate.Config{Gate: gate.Config{Limit: 1}})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			orm := bun.NewDB(db.DB, pgdialect.New())
			if _, err := orm.NewCreateTable().Model((*Account)(nil)).Exec(t.Context()); err != nil {
				t.Fatal(err)
			}
			err = orm.RunInTx(t.Context(), nil, func(ctx context.Context, tx bun.Tx) error {
				_, err := tx.NewInsert().Model(&Account{1, 10}).Exec(ctx)
				return err
			})
			if err != nil {
				t.Error(err)
			}
			undone := errors.New("undone")
			err = session.Run(t.Context(), func(ctx context.Context) error {
				unit := session.DB(ctx, db.DB)
				if _, err := orm.NewInsert().Conn(unit).Model(&Account{2, 20}).Exec(ctx); err != nil {
					return err
				}
				if n, err := orm.NewSelect().Conn(unit).Model((*Account)(nil)).Count(ctx); err != nil || n != 2 {
					t.Errorf("in the unit: %d, %v", n, err)
				}
				return undone
			})
			if !errors.Is(err, undone) {
				t.Error(err)
			}
			if n, err := orm.NewSelect().Model((*Account)(nil)).Count(t.Context()); err != nil || n != 1 {
				t.Errorf("after it: %d, %v", n, err)
			}
			if s := db.Gate().Stats(); s.InFlight != 0 || s.Waiting != 0 {
				t.Errorf("left behind: %+v", s)
			}
		})
	}
}
