package rows_test

import (
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/rows"
)

type account struct {
	ID      int64
	Name    string
	Email   *string
	Balance float64
	Active  bool
}

const accounts = `SELECT n::bigint AS id, 'name' || n AS name, NULLIF('mail', 'x') AS email, n / 2.0::float8 AS balance, n % 2 = 0 AS active
	FROM generate_series(1, $1::int) n`

// byHand is the loop that one writes, and sqlc generates.
func byHand(ctx context.Context, q rows.Queryer, query string, args ...any) ([]account, error) {
	rs, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rs.Close()
	var all []account
	for rs.Next() {
		var a account
		if err := rs.Scan(&a.ID, &a.Name, &a.Email, &a.Balance, &a.Active); err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	if err := rs.Close(); err != nil {
		return nil, err
	}
	return all, rs.Err()
}

// byHandOnce has one account for all rows, which saves an allocation for each.
func byHandOnce(ctx context.Context, q rows.Queryer, query string, args ...any) ([]account, error) {
	rs, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, err
	}
	defer rs.Close()
	var all []account
	var a account
	for rs.Next() {
		a = account{}
		if err := rs.Scan(&a.ID, &a.Name, &a.Email, &a.Balance, &a.Active); err != nil {
			return nil, err
		}
		all = append(all, a)
	}
	if err := rs.Close(); err != nil {
		return nil, err
	}
	return all, rs.Err()
}

type collect func(context.Context, rows.Queryer, string, ...any) ([]account, error)

// TestCollectAllocates compares in one run, so that it holds on any machine.
func TestCollectAllocates(t *testing.T) {
	onBoth(t, "", func(run func(string, func(*testing.T, *poolgate.DB))) {
		for _, n := range []int{1, 100, 10_000} {
			run(fmt.Sprintf("no more than 5 %% above a loop by hand for %d rows", n), func(t *testing.T, db *poolgate.DB) {
				runs := max(10, 1000/n)
				if raceDetector {
					if n == 1 {
						t.Skip("the race detector counts into it")
					}
					runs = 5
				}
				conn, err := db.Conn(t.Context())
				must(t, err)
				defer conn.Close()
				allocs := func(f collect) float64 {
					return testing.AllocsPerRun(runs, func() {
						if got, err := f(t.Context(), conn, accounts, n); err != nil || len(got) != n {
							t.Fatal(len(got), err)
						}
					})
				}
				ours := allocs(rows.Collect[account])
				for name, f := range map[string]collect{"one variable per row": byHand, "one variable": byHandOnce} {
					if hand := allocs(f); ours > 1.05*hand {
						t.Errorf("%.0f allocations, and %.0f by hand with %s", ours, hand, name)
					}
				}
				must(t, conn.Close())
			})
		}
	})
}

func BenchmarkCollect(b *testing.B) {
	benchmarkBoth(b, "", func(b *testing.B, db *sql.DB) {
		for _, n := range []int{1, 100, 10_000} {
			for _, way := range []struct {
				name string
				f    collect
			}{{"hand", byHand}, {"hand-once", byHandOnce}, {"rows", rows.Collect[account]}} {
				b.Run(fmt.Sprintf("rows=%d/by=%s", n, way.name), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if got, err := way.f(b.Context(), db, accounts, n); err != nil || len(got) != n {
							b.Fatal(len(got), err)
						}
					}
				})
			}
		}
	})
}

// BenchmarkLoadMany loads two children for each of 5,000 parents, by one array
// and by lists of 500, which is what SQLAlchemy's selectinload does.
func BenchmarkLoadMany(b *testing.B) {
	const schema = `
		CREATE TABLE b (id bigint PRIMARY KEY, a_id bigint NOT NULL);
		INSERT INTO b SELECT n, n / 2 FROM generate_series(1, 100000) n;
		CREATE INDEX ON b (a_id);
		ANALYZE`
	parents := make([]int64, 5000)
	for i := range parents {
		parents[i] = int64(i)*10 + 1
	}
	self := func(n int64) int64 { return n }
	parent := func(c child) int64 { return c.AID }
	check := func(b *testing.B, children [][]child, err error) {
		if err != nil || len(children) != 5000 || len(children[4999]) != 2 {
			b.Fatal(len(children), err)
		}
	}
	benchmarkBoth(b, schema, func(b *testing.B, db *sql.DB) {
		b.Run("keys=5000/by=array", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				children, err := rows.LoadMany(b.Context(), db, parents, self, parent,
					"SELECT id, a_id FROM b WHERE a_id = ANY($1) ORDER BY id")
				check(b, children, err)
			}
		})
		b.Run("keys=5000/by=lists-of-500", func(b *testing.B) {
			b.ReportAllocs()
			marks := make([]string, 500)
			for i := range marks {
				marks[i] = fmt.Sprintf("$%d", i+1)
			}
			query := "SELECT id, a_id FROM b WHERE a_id IN (" + strings.Join(marks, ", ") + ") ORDER BY id"
			for b.Loop() {
				byID := make(map[int64][]child, len(parents))
				for keys := range slices.Chunk(parents, 500) {
					args := make([]any, len(keys))
					for i, k := range keys {
						args[i] = k
					}
					some, err := rows.Collect[child](b.Context(), db, query, args...)
					if err != nil {
						b.Fatal(err)
					}
					for _, c := range some {
						byID[c.AID] = append(byID[c.AID], c)
					}
				}
				children := make([][]child, len(parents))
				for i, id := range parents {
					children[i] = byID[id]
				}
				check(b, children, nil)
			}
		})
	})
}

// BenchmarkInsertMany stores 1,000 rows, by arrays and by one INSERT after
// another in a transaction.
func BenchmarkInsertMany(b *testing.B) {
	const schema = "CREATE TABLE a (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text NOT NULL)"
	in := make([]named, 1000)
	for i := range in {
		in[i].Name = fmt.Sprint("name", i)
	}
	benchmarkBoth(b, schema, func(b *testing.B, db *sql.DB) {
		b.Run("rows=1000/by=arrays", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := rows.InsertMany[full](b.Context(), db, "a", in); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run("rows=1000/by=single-inserts", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tx, err := db.BeginTx(b.Context(), nil)
				if err != nil {
					b.Fatal(err)
				}
				for _, v := range in {
					if _, err := rows.One[full](b.Context(), tx, "INSERT INTO a (name) VALUES ($1) RETURNING id, name", v.Name); err != nil {
						tx.Rollback()
						b.Fatal(err)
					}
				}
				if err := tx.Commit(); err != nil {
					b.Fatal(err)
				}
			}
		})
	})
}

func benchmarkBoth(b *testing.B, schema string, f func(*testing.B, *sql.DB)) {
	server := pgserver.ForTest(b)
	for _, driver := range bothdrivers.All {
		b.Run("driver="+driver.Name, func(b *testing.B) {
			db, err := driver.Open(server.CreateDatabase(b), poolgate.Config{Gate: gate.Config{Limit: 2}})
			must(b, err)
			if schema != "" {
				exec(b, db, schema)
			}
			f(b, db.DB)
			nothingHeld(b, db)
			must(b, db.Close())
		})
	}
}
