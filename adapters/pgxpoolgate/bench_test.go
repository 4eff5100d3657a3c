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
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		b.Fatal(err)
	}
	config.MaxConns = 8
	bare, err := pgxpool.NewWithConfig(b.Context(), config)
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
		for _, pool := range []struct {
			name string
			querier
		}{{"bare", bare}, {"gated", gated}} {
			b.Run(fmt.Sprintf("pool=%s/callers=%d", pool.name, callers), func(b *testing.B) {
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

type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// BenchmarkAcquire is what a gate adds to a checkout, without a server's time.
func BenchmarkAcquire(b *testing.B) {
	dsn := pgserver.ForTest(b).CreateDatabase(b)
	gated, err := pgxpoolgate.Open(dsn, pgxpoolgate.Config{Gate: gate.Config{Limit: 8}})
	if err != nil {
		b.Fatal(err)
	}
	defer gated.Close()
	ctx := context.Background()
	b.Run("pool=bare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			conn, err := gated.Inner().Acquire(ctx)
			if err != nil {
				b.Fatal(err)
			}
			conn.Release()
		}
	})
	b.Run("pool=gated", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			conn, err := gated.Acquire(ctx)
			if err != nil {
				b.Fatal(err)
			}
			conn.Release()
		}
	})
}
