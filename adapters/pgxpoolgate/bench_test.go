package pgxpoolgate_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolgate/poolgate/adapters/pgxpoolgate"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// BenchmarkSelect1 compares pgxpool with the same behind a gate, on 8 connections.
func BenchmarkSelect1(b *testing.B) {
	dsn := pgserver.ForTest(b).CreateDatabase(b)
	bare, err := pgxpool.New(b.Context(), dsn+" pool_max_conns=8")
	if err != nil {
		b.Fatal(err)
	}
	defer bare.Close()
	gated, err := pgxpoolgate.Open(dsn, pgxpoolgate.Config{Gate: gate.Config{Limit: 8}})
	if err != nil {
		b.Fatal(err)
	}
	defer gated.Close()
	for _, callers := range []int{1, 8, 64} {
		for name, pool := range map[string]interface {
			QueryRow(context.Context, string, ...any) pgx.Row
		}{"bare": bare, "gated": gated} {
			b.Run(fmt.Sprintf("pool=%s/callers=%d", name, callers), func(b *testing.B) {
				b.ReportAllocs()
				var left atomic.Int64
				left.Store(int64(b.N))
				var done sync.WaitGroup
				for range callers {
					done.Go(func() {
						for left.Add(-1) >= 0 {
							var n int
							if err := pool.QueryRow(context.Background(), "select 1").Scan(&n); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				done.Wait()
			})
		}
	}
}
