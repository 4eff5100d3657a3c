//go:build unix

package adapters_test

import (
	"fmt"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/poolgate/poolgate/adapters/pgxpoolgate"
	"github.com/poolgate/poolgate/internal/testing/pgbouncer"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// TestPgBouncerPgxpool checks the answers of queries and batches that go through
// pgx's own interface.
func TestPgBouncerPgxpool(t *testing.T) {
	b := pgbouncer.ForTest(t, pgserver.ForTest(t).CreateDatabase(t), pgbouncer.Config{PoolSize: 10})
	pool, err := pgxpoolgate.Open(b.DSN(), pgxpoolgate.Config{Gate: gate.Config{Limit: 40}, PgBouncer: true})
	must(t, err)
	defer pool.Close()
	queries := int(checkedQueries(t))
	var working sync.WaitGroup
	for i := range 400 {
		working.Go(func() {
			for n := i; n < queries; n += 400 {
				rows, err := pool.Query(t.Context(), texts[n%len(texts)], n, fmt.Sprint("t", n))
				if err == nil {
					err = checkRows(n, rows)
				}
				if err != nil {
					t.Error(err)
					return
				}
				var batch pgx.Batch
				for k := range 3 {
					batch.Queue(texts[(n+k)%len(texts)], n+k, fmt.Sprint("t", n+k))
				}
				results := pool.SendBatch(t.Context(), &batch)
				for k := range 3 {
					rows, err := results.Query()
					if err == nil {
						err = checkRows(n+k, rows)
					}
					if err != nil {
						t.Errorf("in a batch: %v", err)
					}
				}
				if err := results.Close(); err != nil {
					t.Errorf("a batch: %v", err)
				}
			}
		})
	}
	working.Wait()
}

func checkRows(n int, rows pgx.Rows) error {
	got, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (a answer, err error) {
		return a, row.Scan(&a.n, &a.text, &a.i)
	})
	if err != nil {
		return err
	}
	return checkAnswers(n, got)
}
