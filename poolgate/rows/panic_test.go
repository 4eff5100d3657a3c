package rows_test

import (
	"context"
	"runtime"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/rows"
)

// These do what no Scan, UnmarshalJSON or Value should.
type (
	panics struct{}
	exits  struct{}
	unjson struct{}
)

func (*panics) Scan(any) error             { panic("mine") }
func (*exits) Scan(any) error              { runtime.Goexit(); return nil }
func (*unjson) UnmarshalJSON([]byte) error { panic("mine") }

// TestPanics has everything given back where a type of the program's own
// panics, or ends its goroutine, while a row is read. database/sql itself does
// not come back if that happens inside of sql.Rows.Scan.
func TestPanics(t *testing.T) {
	const query = "SELECT n FROM generate_series(1, 3) n"
	onBoth(t, "CREATE TABLE t (n int PRIMARY KEY)", func(run func(string, func(*testing.T, *poolgate.DB))) {
		for name, read := range map[string]func(ctx context.Context, q rows.Queryer){
			"Collect":             func(ctx context.Context, q rows.Queryer) { rows.Collect[panics](ctx, q, query) },
			"Collect, a field":    func(ctx context.Context, q rows.Queryer) { rows.Collect[struct{ N panics }](ctx, q, query) },
			"Collect, a pointer":  func(ctx context.Context, q rows.Queryer) { rows.Collect[struct{ N **panics }](ctx, q, query) },
			"Collect, a map":      func(ctx context.Context, q rows.Queryer) { rows.Collect[map[string]panics](ctx, q, query) },
			"Collect, an element": func(ctx context.Context, q rows.Queryer) { rows.Collect[[]panics](ctx, q, "SELECT '{1}'::int[] AS n") },
			"Collect, JSON":       func(ctx context.Context, q rows.Queryer) { rows.Collect[[]unjson](ctx, q, "SELECT '[1]'::json AS n") },
			"Collect, Goexit":     func(ctx context.Context, q rows.Queryer) { rows.Collect[exits](ctx, q, query) },
			"One":                 func(ctx context.Context, q rows.Queryer) { rows.One[panics](ctx, q, query) },
			"First":               func(ctx context.Context, q rows.Queryer) { rows.First[*panics](ctx, q, query) },
			"Stream": func(ctx context.Context, q rows.Queryer) {
				for range rows.Stream[panics](ctx, q, query) {
				}
			},
			"Partitions": func(ctx context.Context, q rows.Queryer) {
				for range rows.Partitions[panics](ctx, q, 2, query) {
				}
			},
			"All": func(ctx context.Context, q rows.Queryer) {
				if rs, err := q.QueryContext(ctx, query); err == nil {
					for range rows.All[panics](rs) {
					}
				}
			},
			"LoadMany": func(ctx context.Context, q rows.Queryer) {
				rows.LoadMany(ctx, q, []int{1}, func(n int) int { return n }, func(panics) int { return 0 }, "SELECT 1 AS n FROM generate_series(1, 3) WHERE 1 = ANY($1::int[])")
			},
			"InsertMany": func(ctx context.Context, q rows.Queryer) {
				rows.InsertMany[struct{ N panics }](ctx, q, "t", []int{1}, "n")
			},
		} {
			run(name, func(t *testing.T, db *poolgate.DB) {
				exec(t, db, "TRUNCATE t")
				gone(t, func() { read(t.Context(), db) })
				nothingHeld(t, db)
				if _, err := rows.One[int](t.Context(), db, "SELECT 1"); err != nil {
					t.Error(err)
				}
			})
			run(name+" in a transaction", func(t *testing.T, db *poolgate.DB) {
				exec(t, db, "TRUNCATE t")
				gone(t, func() {
					tx, err := db.BeginTx(t.Context(), nil)
					if err != nil {
						return
					}
					defer tx.Rollback()
					read(t.Context(), tx)
				})
				nothingHeld(t, db)
			})
		}
	})
}

// gone wants f to panic, or to end its goroutine, and to be gone soon.
func gone(t *testing.T, f func()) {
	t.Helper()
	ended := make(chan bool, 1)
	go func() {
		returned := false
		defer func() {
			recover()
			ended <- returned
		}()
		f()
		returned = true
	}()
	select {
	case returned := <-ended:
		if returned {
			t.Error("it neither panicked nor ended its goroutine")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it hangs")
	}
}
