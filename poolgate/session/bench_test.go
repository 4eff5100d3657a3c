package session_test

import (
	"context"
	"database/sql"
	"testing"

	"github.com/poolgate/poolgate/poolgate/session"
)

// What a unit of work adds to a transaction by hand, on a driver that does
// nothing:
//
//	go test -run '^$' -bench Unit -benchmem ./poolgate/session
func BenchmarkUnit(b *testing.B) {
	ended := ""
	nothing := func(context.Context) error { return nil }
	db := sql.OpenDB(scripted{begin: nothing, commit: nothing, ended: &ended})
	defer db.Close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	statements := func(dbtx session.DBTX, n int) error {
		for range n {
			if _, err := dbtx.ExecContext(ctx, "x"); err != nil {
				return err
			}
		}
		return nil
	}
	for _, n := range []int{1, 10} {
		name := map[int]string{1: "/statements=1", 10: "/statements=10"}[n]
		b.Run("way=hand"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tx, err := db.BeginTx(ctx, nil)
				must(b, err)
				must(b, statements(tx, n))
				must(b, tx.Commit())
			}
		})
		b.Run("way=run"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				must(b, session.Run(ctx, func(ctx context.Context) error {
					return statements(session.DB(ctx, db), n)
				}))
			}
		})
	}
}
