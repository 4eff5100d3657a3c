package gather_test

import (
	"context"
	"database/sql"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/session"
)

func TestInsideAUnit(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *fixture))) {
		each := eachOf(run)
		each("a unit that gathers on a full gate finishes, and sees what is committed", func(t *testing.T, f *fixture, o gather.Options) {
			db := f.open(gate.Config{Limit: 1})
			count := gather.SQL{Query: "SELECT count(*) FROM numbers"}
			insert := func(ctx context.Context, n int) error {
				_, err := session.DB(ctx, db.DB).ExecContext(ctx, "INSERT INTO numbers VALUES ($1)", n)
				return err
			}
			before := db.Gate().Stats().OutOfBand.Acquired
			err := session.Run(patiently(t), func(ctx context.Context) error {
				if _, err := gather.Collect[int](ctx, db, o, count); err != nil {
					return err
				}
				equal(t, db.Gate().Stats().OutOfBand.Acquired, before) // nothing is open, so no need of the lane
				if err := insert(ctx, 1); err != nil {
					return err
				}
				results, err := gather.Collect[int](ctx, db, o, count, count, count)
				if err != nil {
					return err
				}
				for _, r := range results {
					equal(t, r.Rows(), []int{0})
				}
				return insert(ctx, 2)
			})
			must(t, err)
			if db.Gate().Stats().OutOfBand.Acquired == before {
				t.Error("nothing went out of band")
			}
			numbers(t, f, 1, 2)
		})

		each("as many units as permits gather at once", func(t *testing.T, db *fixture, o gather.Options) {
			var units errgroup.Group
			ctx := patiently(t)
			for i := range 16 {
				units.Go(func() error {
					return session.Run(ctx, func(ctx context.Context) error {
						if _, err := session.DB(ctx, db.DB.DB).ExecContext(ctx, "INSERT INTO numbers VALUES ($1)", i); err != nil {
							return err
						}
						return gather.Run(ctx, db.DB, o, gather.Discard("SELECT 1"), gather.Discard("SELECT 2"), gather.Discard("SELECT 3"))
					})
				})
			}
			must(t, units.Wait())
		})

		each("a transaction by hand is told, or gathers on the view out of band", func(t *testing.T, f *fixture, o gather.Options) {
			db := f.open(gate.Config{Limit: 1})
			tx, err := db.BeginTx(patiently(t), nil)
			must(t, err)
			_, err = tx.Exec("INSERT INTO numbers VALUES (1)")
			must(t, err)
			two := []gather.Statement{gather.Discard("SELECT 1"), gather.Discard("SELECT 2")}
			is(t, gather.Run(patiently(t), db, o, two...), gate.ErrDeadlock)
			must(t, gather.Run(patiently(t), db.OutOfBand(), o, two...))
			must(t, tx.Commit())
			numbers(t, f, 1)
		})
	})
}

func TestPermits(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *fixture))) {
		each := eachOf(run)
		each("a gate that has no lane out of band gives its own", func(t *testing.T, f *fixture, o gather.Options) {
			db := f.open(gate.Config{Limit: 2, OutOfBand: gate.NoOutOfBand})
			must(t, session.Run(patiently(t), func(ctx context.Context) error {
				if _, err := session.DB(ctx, db.DB).ExecContext(ctx, "SELECT 1"); err != nil {
					return err
				}
				return gather.Run(ctx, db, o, gather.Discard("SELECT 1"), gather.Discard("SELECT 2"))
			}))
		})

		each("they are of the class that the view or the context says", func(t *testing.T, f *fixture, o gather.Options) {
			db := f.open(gate.Config{Limit: 2, Classes: []gate.Class{{Name: "reports", Max: 1}}})
			acquired := func() uint64 { return db.Gate().Stats().Classes[1].Acquired }
			for i, way := range []struct {
				ctx context.Context
				db  gather.DB
			}{
				{patiently(t), db.Class("reports")},
				{gate.WithClass(patiently(t), "reports"), db},
			} {
				before := acquired()
				var n int
				must(t, gather.Run(way.ctx, way.db, o, gather.One(&n, "SELECT 1"), gather.Discard("SELECT 2")))
				if acquired() == before {
					t.Errorf("way %d took no permit of the class", i)
				}
			}
		})
	})
}

var (
	_ gather.DB = (*sql.DB)(nil)
	_ gather.DB = (*poolgate.DB)(nil)
)
