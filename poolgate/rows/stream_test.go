package rows_test

import (
	"context"
	"errors"
	"iter"
	"runtime"
	"testing"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/rows"
)

// large is more than all buffers between server and client hold: 30 MB.
const large = "SELECT n AS id, repeat('x', 100000) AS name FROM generate_series(1, 300) n"

func TestStream(t *testing.T) {
	onBoth(t, "", func(run func(string, func(*testing.T, *poolgate.DB))) {
		run("returns every row in order, each time it is looped over", func(t *testing.T, db *poolgate.DB) {
			seq := rows.Stream[*pair](t.Context(), db, three)
			for range 2 {
				got, err := collected(seq)
				must(t, err)
				equal(t, got, []*pair{{1, "a"}, {2, "b"}, {3, "c"}})
			}
		})
		run("the loop has its first row while the server is still at work", func(t *testing.T, db *poolgate.DB) {
			n := 0
			for row, err := range rows.Stream[pair](t.Context(), db, large) {
				must(t, err)
				if n++; row.ID != 1 {
					continue
				}
				busy, err := rows.One[int](t.Context(), db, `SELECT count(*) FROM pg_stat_activity
					WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid()`)
				must(t, err)
				if busy != 1 {
					t.Error("the server was done before the loop had seen a row")
				}
			}
			equal(t, n, 300)
		})
		run("does not query before it is looped over", func(t *testing.T, db *poolgate.DB) {
			rows.Stream[pair](t.Context(), db, three)
			equal(t, db.Gate().Stats().Acquired, 0)
		})
		run("break and return give everything back", func(t *testing.T, db *poolgate.DB) {
			for row, err := range rows.Stream[pair](t.Context(), db, large) {
				must(t, err)
				equal(t, row.ID, 1)
				equal(t, db.Gate().Stats().InFlight, 1)
				break
			}
			nothingHeld(t, db)
			equal(t, db.Stats().OpenConnections, 1) // it was kept
		})
		run("break leaves a transaction usable", func(t *testing.T, db *poolgate.DB) {
			tx, err := db.BeginTx(t.Context(), nil)
			must(t, err)
			defer tx.Rollback()
			for range rows.Stream[pair](t.Context(), tx, large) {
				break
			}
			n, err := rows.One[int](t.Context(), tx, "SELECT 1")
			must(t, err)
			equal(t, n, 1)
			must(t, tx.Commit())
		})
		run("a panic in the loop goes on, after everything was given back", func(t *testing.T, db *poolgate.DB) {
			defer func() {
				equal(t, recover(), any("mine"))
				nothingHeld(t, db)
			}()
			for range rows.Stream[pair](t.Context(), db, three) {
				panic("mine")
			}
		})
		run("so does the end of the goroutine", func(t *testing.T, db *poolgate.DB) {
			ended := make(chan struct{})
			go func() {
				defer close(ended)
				for range rows.Stream[pair](t.Context(), db, three) {
					runtime.Goexit()
				}
			}()
			<-ended
		})
		run("the end of the context ends the loop with its error, at once", func(t *testing.T, db *poolgate.DB) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			n := 0
			var last error
			for _, err := range rows.Stream[pair](ctx, db, "SELECT n AS id, repeat('x', 10000) AS name FROM generate_series(1, 10000000) n") {
				if last != nil {
					t.Fatal("something came after the error")
				}
				if last = err; err == nil {
					if n++; n == 3 {
						cancel()
					}
				}
			}
			is(t, last, context.Canceled)
			settled(t, db)
		})
		run("an error of the query, or of a later row, is the last that comes", func(t *testing.T, db *poolgate.DB) {
			for query, want := range map[string]int{"SELEKT": 0, "SELECT 1/(3-n) AS n FROM generate_series(1, 5) n": 2} {
				n, failed := 0, 0
				for _, err := range rows.Stream[int](t.Context(), db, query) {
					if err != nil {
						failed++
						if state(err) == "" {
							t.Errorf("not the server's: %v", err)
						}
						continue
					}
					n++
				}
				equal(t, []int{n, failed}, []int{want, 1})
			}
		})
		run("an error of the mapping gives everything back", func(t *testing.T, db *poolgate.DB) {
			_, err := collected(rows.Stream[author](t.Context(), db, three[:len(three)-len(" ORDER BY id")]+" UNION ALL SELECT 4, NULL"))
			is(t, err, rows.ErrNull)
			_, err = collected(rows.Stream[int](t.Context(), db, three))
			if err == nil {
				t.Error("two columns into an int")
			}
		})
	})
}

func TestAll(t *testing.T) {
	onBoth(t, "", func(run func(string, func(*testing.T, *poolgate.DB))) {
		run("reads rows from anywhere and closes them", func(t *testing.T, db *poolgate.DB) {
			stmt, err := db.PrepareContext(t.Context(), three)
			must(t, err)
			defer stmt.Close()
			rs, err := stmt.QueryContext(t.Context())
			must(t, err)
			got, err := collected(rows.All[pair](rs))
			must(t, err)
			equal(t, got, []pair{{1, "a"}, {2, "b"}, {3, "c"}})
			nothingHeld(t, db)

			_, err = collected(rows.All[pair](rs))
			if err == nil {
				t.Error("closed rows were read")
			}
		})
		run("continues after rows that were read already", func(t *testing.T, db *poolgate.DB) {
			rs, err := db.QueryContext(t.Context(), three)
			must(t, err)
			defer rs.Close()
			rs.Next()
			got, err := collected(rows.All[pair](rs))
			must(t, err)
			equal(t, got, []pair{{2, "b"}, {3, "c"}})
		})
	})
}

func TestPartitions(t *testing.T) {
	onBoth(t, "", func(run func(string, func(*testing.T, *poolgate.DB))) {
		const query = "SELECT n FROM generate_series(1, $1) n"
		run("returns slices of n, the last with what is left", func(t *testing.T, db *poolgate.DB) {
			for _, test := range []struct {
				rows, n int
				want    [][]int
			}{
				{0, 3, nil},
				{2, 3, [][]int{{1, 2}}},
				{3, 3, [][]int{{1, 2, 3}}},
				{7, 3, [][]int{{1, 2, 3}, {4, 5, 6}, {7}}},
				{2, 1, [][]int{{1}, {2}}},
			} {
				got, err := collected(rows.Partitions[int](t.Context(), db, test.n, query, test.rows))
				must(t, err)
				equal(t, got, test.want)
			}
		})
		run("break gives everything back", func(t *testing.T, db *poolgate.DB) {
			for part, err := range rows.Partitions[int](t.Context(), db, 2, query, 10000) {
				must(t, err)
				equal(t, part, []int{1, 2})
				break
			}
		})
		run("an error ends it", func(t *testing.T, db *poolgate.DB) {
			got, err := collected(rows.Partitions[int](t.Context(), db, 2, "SELECT 1/(4-n) FROM generate_series(1, 9) n"))
			equal(t, got, [][]int{{0, 0}}) // the third row is dropped with its slice
			equal(t, state(err), "22012")
		})
		run("n must be at least 1", func(t *testing.T, db *poolgate.DB) {
			_, err := collected(rows.Partitions[int](t.Context(), db, 0, query, 1))
			says(t, err, "rows: Partitions of 0 rows; n must be at least 1")
			equal(t, db.Gate().Stats().Acquired, 0)
		})
	})
}

// collected returns what came before the error, and the error.
func collected[T any](seq iter.Seq2[T, error]) (all []T, failed error) {
	for v, err := range seq {
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		all = append(all, v)
	}
	return all, failed
}
