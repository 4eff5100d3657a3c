package rows_test

import (
	"context"
	"database/sql"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/rows"
)

type pair struct {
	ID   int64
	Name string
}

const three = "SELECT * FROM (VALUES (1, 'a'), (2, 'b'), (3, 'c')) v (id, name) ORDER BY id"

func TestCollect(t *testing.T) {
	onBoth(t, "", func(run func(string, func(*testing.T, *poolgate.DB))) {
		run("returns every row in order", func(t *testing.T, db *poolgate.DB) {
			got, err := rows.Collect[pair](t.Context(), db, three)
			must(t, err)
			equal(t, got, []pair{{1, "a"}, {2, "b"}, {3, "c"}})
		})
		run("passes arguments on", func(t *testing.T, db *poolgate.DB) {
			got, err := rows.Collect[int](t.Context(), db, "SELECT n FROM generate_series($1::int, $2::int) n", 5, 7)
			must(t, err)
			equal(t, got, []int{5, 6, 7})
		})
		run("returns pointers that are each their own", func(t *testing.T, db *poolgate.DB) {
			got, err := rows.Collect[*pair](t.Context(), db, three)
			must(t, err)
			equal(t, got, []*pair{{1, "a"}, {2, "b"}, {3, "c"}})
		})
		run("returns an empty slice for no rows", func(t *testing.T, db *poolgate.DB) {
			got, err := rows.Collect[pair](t.Context(), db, "SELECT 1 AS id, '' AS name WHERE false")
			must(t, err)
			equal(t, got, []pair{})
		})
		run("returns the server's error unchanged", func(t *testing.T, db *poolgate.DB) {
			for query, want := range map[string]string{
				"SELEKT": "42601",
				"SELECT 1/(3-n) AS n FROM generate_series(1, 5) n": "22012", // at the third row
			} {
				got, err := rows.Collect[int](t.Context(), db, query)
				if got != nil || state(err) != want {
					t.Errorf("%s: %v, %v", query, got, err)
				}
			}
		})
		run("returns the error of a context that ends", func(t *testing.T, db *poolgate.DB) {
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			_, err := rows.Collect[string](ctx, db, "SELECT pg_sleep(0.02)::text FROM generate_series(1, 10000)")
			if err == nil || ctx.Err() == nil {
				t.Errorf("got error %v", err)
			}
			settled(t, db)
		})
		run("reads from a transaction and from a connection", func(t *testing.T, db *poolgate.DB) {
			tx, err := db.BeginTx(t.Context(), nil)
			must(t, err)
			defer tx.Rollback()
			conn, err := db.Conn(t.Context())
			must(t, err)
			defer conn.Close()
			for _, q := range []rows.Queryer{tx, conn} {
				for range 2 { // the first has left it free for the second
					got, err := rows.Collect[int](t.Context(), q, "SELECT 1")
					must(t, err)
					equal(t, got, []int{1})
				}
			}
			must(t, conn.Close())
			must(t, tx.Rollback())
		})
		run("keeps what it returned when it is called again", func(t *testing.T, db *poolgate.DB) {
			const query = "SELECT $1::text AS name, $1::bytea AS data, $1::text AS pointer"
			type row struct {
				Name    string
				Data    []byte
				Pointer *string
			}
			first, err := rows.Collect[row](t.Context(), db, query, "first")
			must(t, err)
			_, err = rows.Collect[row](t.Context(), db, query, "other")
			must(t, err)
			equal(t, first, []row{{"first", []byte("first"), new("first")}})
		})
		run("may be called by many, for many lists of columns", func(t *testing.T, db *poolgate.DB) {
			type row struct {
				rows.AllowUnknown
				A, B, C int
			}
			var wg sync.WaitGroup
			for g := range 8 {
				wg.Go(func() {
					random := rand.New(rand.NewPCG(1, uint64(g)))
					for range 40 {
						want := row{A: random.IntN(100), B: random.IntN(100), C: random.IntN(100)}
						columns := []string{
							fmt.Sprintf("%d AS a", want.A), fmt.Sprintf("%d AS b", want.B), fmt.Sprintf("%d AS c", want.C),
							fmt.Sprintf("1 AS x%d", random.IntN(100)),
						}
						random.Shuffle(len(columns), func(i, j int) { columns[i], columns[j] = columns[j], columns[i] })
						got, err := rows.One[row](t.Context(), db, "SELECT "+strings.Join(columns, ", "))
						if err != nil || got != want {
							t.Errorf("got %v, %v, want %v", got, err, want)
						}
					}
				})
			}
			wg.Wait()
		})
	})
}

func TestSingleRows(t *testing.T) {
	const none, one, two = "SELECT 1 WHERE false", "SELECT 1", "VALUES (1), (2)"
	onBoth(t, "", func(run func(string, func(*testing.T, *poolgate.DB))) {
		run("One and First differ in what they refuse", func(t *testing.T, db *poolgate.DB) {
			type call func(context.Context, rows.Queryer, string, ...any) (int, error)
			for _, test := range []struct {
				name  string
				call  call
				query string
				want  int
				err   error
			}{
				{"One", rows.One[int], none, 0, sql.ErrNoRows},
				{"One", rows.One[int], one, 1, nil},
				{"One", rows.One[int], two, 0, rows.ErrTooManyRows},
				{"First", rows.First[int], none, 0, sql.ErrNoRows},
				{"First", rows.First[int], one, 1, nil},
				{"First", rows.First[int], two, 1, nil},
			} {
				got, err := test.call(t.Context(), db, test.query)
				if got != test.want || err != test.err {
					t.Errorf("%s(%s): %d, %v, want %d, %v", test.name, test.query, got, err, test.want, test.err)
				}
			}
		})
		run("an error in a later row is not lost", func(t *testing.T, db *poolgate.DB) {
			const query = "SELECT 1/(2-n) AS n FROM generate_series(1, 2) n"
			if got, err := rows.One[int](t.Context(), db, query); got != 0 || state(err) != "22012" {
				t.Errorf("%d, %v", got, err)
			}
		})
		run("One fills a struct", func(t *testing.T, db *poolgate.DB) {
			got, err := rows.One[*pair](t.Context(), db, three+" LIMIT 1")
			must(t, err)
			equal(t, got, &pair{1, "a"})
		})
		run("One has NULL as a nil pointer", func(t *testing.T, db *poolgate.DB) {
			got, err := rows.One[*int](t.Context(), db, "SELECT NULL::int")
			must(t, err)
			equal(t, got, nil)
			_, err = rows.One[int](t.Context(), db, "SELECT NULL::int AS n")
			is(t, err, rows.ErrNull)
			says(t, err, `rows: column "n" is NULL, which int cannot be: make it a *int or a sql.Null[int], or use COALESCE`)
		})
		run("an error of the query is returned as it is", func(t *testing.T, db *poolgate.DB) {
			_, err := rows.One[int](t.Context(), db, "SELEKT")
			equal(t, state(err), "42601")
			_, err = rows.First[int](t.Context(), db, "SELEKT")
			equal(t, state(err), "42601")
		})
	})
}

// settled waits until database/sql has closed what a context ended, which it
// does from a goroutine of its own.
func settled(t *testing.T, db *poolgate.DB) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		if db.Gate().Stats().InFlight == 0 && db.Stats().InUse == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("still in use after 5 s")
		}
	}
}
