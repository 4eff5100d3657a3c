package pgxpoolgate_test

import (
	"context"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// A gate costs each call two allocations at most.
func TestAllocations(t *testing.T) {
	type pool interface {
		Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
		Query(context.Context, string, ...any) (pgx.Rows, error)
		QueryRow(context.Context, string, ...any) pgx.Row
		SendBatch(context.Context, *pgx.Batch) pgx.BatchResults
		Begin(context.Context) (pgx.Tx, error)
		Ping(context.Context) error
	}
	f := watch(t, ways["Open"], gate.Config{Limit: 1})
	ctx := context.Background()
	for name, call := range map[string]func(p pool) error{
		"Exec":     func(p pool) error { _, err := p.Exec(ctx, "select 1"); return err },
		"QueryRow": func(p pool) error { return p.QueryRow(ctx, "select 1").Scan(nil) },
		"Query": func(p pool) error {
			rows, err := p.Query(ctx, "select 1")
			rows.Close()
			return err
		},
		"SendBatch": func(p pool) error { return p.SendBatch(ctx, batch("select 1")).Close() },
		"Begin": func(p pool) error {
			tx, err := p.Begin(ctx)
			if err != nil {
				return err
			}
			return tx.Rollback(ctx)
		},
		"Ping": func(p pool) error { return p.Ping(ctx) },
	} {
		count := func(p pool) float64 {
			return testing.AllocsPerRun(100, func() {
				if err := call(p); err != nil {
					t.Error(err)
				}
			})
		}
		bare, gated := count(f.Inner()), count(f)
		t.Logf("%s: %v bare, %v gated", name, bare, gated)
		if gated > bare+2 {
			t.Errorf("%s: %v bare, %v gated", name, bare, gated)
		}
	}
}
