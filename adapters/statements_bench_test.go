// Package adapters_test compares the adapters with their drivers.
package adapters_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

// BenchmarkStatement compares small statements on one connection of the bare
// driver with those of a gated pool, in alternating turns of 20. It reports how
// many times as fast the gated one is: the median of all pairs of turns.
func BenchmarkStatement(b *testing.B) {
	const turn = 20
	dsn := pgserver.ForTest(b).CreateDatabase(b)
	ctx := context.Background()
	query := func(db *sql.DB) (func(i int) error, error) {
		return func(i int) error { return db.QueryRowContext(ctx, "select $1::int", i).Scan(&i) }, nil
	}
	stmt := func(db *sql.DB) (func(i int) error, error) {
		s, err := db.PrepareContext(ctx, "select $1::int")
		return func(i int) error { return s.QueryRowContext(ctx, i).Scan(&i) }, err
	}
	conn := func(db *sql.DB) (func(i int) error, error) {
		return func(i int) error {
			conn, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			return conn.QueryRowContext(ctx, "select 1").Scan(&i)
		}, nil
	}
	for _, driver := range bothdrivers.All {
		for _, test := range []struct {
			name   string
			config poolgate.Config
			call   func(*sql.DB) (func(int) error, error)
		}{
			{"call=query/pool=gated", poolgate.Config{}, query},
			{"call=query/pool=PrepareQueries", poolgate.Config{PrepareQueries: true}, query},
			{"call=stmt/pool=gated", poolgate.Config{}, stmt},
			{"call=conn/pool=gated", poolgate.Config{}, conn},
			{"call=conn/pool=ResetConns", poolgate.Config{Reset: poolgate.ResetConns}, conn},
		} {
			b.Run(fmt.Sprintf("driver=%s/%s", driver.Name, test.name), func(b *testing.B) {
				bare, err := sql.Open(map[string]string{"pgx": "pgx", "pq": "postgres"}[driver.Name], dsn)
				if err != nil {
					b.Fatal(err)
				}
				defer bare.Close()
				test.config.Gate = gate.Config{Limit: 1}
				gated, err := driver.Open(dsn, test.config)
				if err != nil {
					b.Fatal(err)
				}
				defer gated.Close()
				var calls [2]func(int) error
				for i, db := range []*sql.DB{bare, gated.DB} {
					if calls[i], err = test.call(db); err != nil {
						b.Fatal(err)
					}
				}
				var ratios, took []float64
				for b.Loop() {
					var turns [2]time.Duration
					for i, call := range calls {
						began := time.Now()
						for n := range turn {
							if err := call(n); err != nil {
								b.Fatal(err)
							}
						}
						turns[i] = time.Since(began)
					}
					ratios = append(ratios, turns[0].Seconds()/turns[1].Seconds())
					took = append(took, turns[1].Seconds()/turn*1e6)
				}
				slices.Sort(ratios)
				slices.Sort(took)
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(ratios[len(ratios)/2], "×bare")
				b.ReportMetric(took[len(took)/2], "µs/call")
			})
		}
	}
}
