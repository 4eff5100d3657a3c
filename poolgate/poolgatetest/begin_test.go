package poolgatetest_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/poolgatetest"
	"github.com/poolgate/poolgate/poolgate/rows"
)

func TestBegin(t *testing.T) {
	onPool(t, func(run func(string, func(*testing.T, *poolgate.DB))) {
		run("what a test writes is gone after it, and no other test sees it", func(t *testing.T, pool *poolgate.DB) {
			t.Run("group", func(t *testing.T) {
				for i := range 4 {
					t.Run(fmt.Sprint(i), func(t *testing.T) {
						t.Parallel()
						db := poolgatetest.Begin(t, pool.DB, poolgate.Config{})
						text := fmt.Sprint(i)
						must(t, insert(t.Context(), db, text))
						has(t, db, text)
						has(t, pool)
						must(t, db.Close())
					})
				}
			})
			has(t, pool)
		})

		run("a pool without a gate will do", func(t *testing.T, pool *poolgate.DB) {
			db := poolgatetest.Begin(t, pool.Inner(), poolgate.Config{Gate: gate.Config{Limit: 1}})
			must(t, insert(t.Context(), db, "a"))
			equal(t, db.Gate().Stats().Limit, 1)
		})

		run("a configuration that is not valid fails the test", func(t *testing.T, pool *poolgate.DB) {
			failsWith(t, "Config.Gate: gate: Config.Limit must be at least 1", func(t testing.TB) {
				poolgatetest.Begin(t, pool.DB, poolgate.Config{Gate: gate.Config{Limit: -1}})
			})
		})

		run("without a connection the test fails", func(t *testing.T, pool *poolgate.DB) {
			closed := sql.OpenDB(unreachable{})
			defer closed.Close()
			failsWith(t, "Begin: no server", func(t testing.TB) { poolgatetest.Begin(t, closed, poolgate.Config{}) })
		})

		run("a statement that ends the test's transaction fails the test", func(t *testing.T, pool *poolgate.DB) {
			failsWith(t, "a statement has ended the transaction of the test", func(tb testing.TB) {
				db := poolgatetest.Begin(tb, pool.DB, poolgate.Config{})
				_, err := db.ExecContext(context.Background(), "SELECT 1; COMMIT")
				equal(t, state(err), "25P01")
			})
		})

		run("classes, views and the driver are as in production", func(t *testing.T, pool *poolgate.DB) {
			config := gate.Config{Limit: 2, Classes: []gate.Class{{Name: "reports", Max: 1}}}
			db := poolgatetest.Begin(t, pool.DB, poolgate.Config{Gate: config})
			must(t, insert(t.Context(), db.Class("reports"), "a"))
			must(t, insert(t.Context(), db.OutOfBand(), "b"))
			has(t, db, "a", "b")
			equal(t, db.Gate().Stats().Classes[1].Acquired, 1)
			equal(t, fmt.Sprintf("%T", db.Driver()), fmt.Sprintf("%T", pool.Driver()))
			conn, err := db.Conn(t.Context())
			must(t, err)
			var innermost string
			must(t, poolgate.Raw(conn, func(c driver.Conn) error { innermost = fmt.Sprintf("%T", c); return nil }))
			equal(t, innermost, "*poolgatetest.conn")
			must(t, poolgate.Raw(conn, func(interface{ ResetSession(context.Context) error }) error { return nil })) // the driver's
			must(t, conn.Close())
		})
	})
}

func TestNothingHeld(t *testing.T) {
	onPool(t, func(run func(string, func(*testing.T, *poolgate.DB))) {
		run("a transaction that is left open fails the test and is named", func(t *testing.T, pool *poolgate.DB) {
			var tx *sql.Tx
			failsWith(t, "still held: 1 permits, by 1 connections in use; and 0 wait for one", func(tb testing.TB) {
				db := poolgatetest.Begin(tb, pool.DB, poolgate.Config{})
				var err error
				tx, err = db.BeginTx(context.Background(), nil)
				must(t, err)
				must(t, insert(t.Context(), tx, "a"))
			})
			if err := insert(t.Context(), tx, "b"); err == nil {
				t.Error("it works after the end of the test")
			}
			tx.Rollback()
		})

		run("a statement that goes on after the test is cancelled", func(t *testing.T, pool *poolgate.DB) {
			done := make(chan error)
			failsWith(t, ", which last did: SELECT pg_sleep(?)", func(tb testing.TB) {
				db := poolgatetest.Begin(tb, pool.DB, poolgate.Config{})
				go func() {
					_, err := db.ExecContext(context.Background(), "SELECT pg_sleep(60)")
					done <- err
				}()
				for db.Stats().InUse == 0 {
					time.Sleep(time.Millisecond)
				}
			})
			equal(t, state(<-done), "57014")
		})

		run("it names the goroutine and the statement", func(t *testing.T, pool *poolgate.DB) {
			failsWith(t, ", which last did: INSERT INTO texts VALUES ($1)", func(tb testing.TB) {
				conn, err := pool.Conn(t.Context())
				must(t, err)
				tx, err := conn.BeginTx(t.Context(), nil)
				must(t, err)
				must(t, insert(t.Context(), tx, "a"))
				poolgatetest.NothingHeld(tb, pool)
				must(t, tx.Rollback())
				must(t, conn.Close())
			})
		})

		run("what is given back in a moment is no failure", func(t *testing.T, pool *poolgate.DB) {
			conn, err := pool.Conn(t.Context())
			must(t, err)
			time.AfterFunc(20*time.Millisecond, func() { conn.Close() })
			poolgatetest.NothingHeld(t, pool)
		})
	})
}

func TestStatements(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *poolgate.DB))) {
		run("one that fails leaves the next alone", func(t *testing.T, db *poolgate.DB) {
			must(t, insert(t.Context(), db, "a"))
			_, err := db.ExecContext(t.Context(), "INSERT INTO texts SELECT 1/0")
			equal(t, state(err), "22012")
			_, err = rows.Collect[int](t.Context(), db, "SELECT 10 / (3 - n) FROM generate_series(1, 5) n")
			equal(t, state(err), "22012")
			must(t, insert(t.Context(), db, "b"))
			has(t, db, "a", "b")
		})

		run("rows come as without a test, before an error in their middle too", func(t *testing.T, db *poolgate.DB) {
			rs, err := db.QueryContext(t.Context(), "SELECT n, 10 / (3 - n) AS q, n::text || 'x' AS s, '\\x0102'::bytea AS b, NULL::int AS z, now() AS t, 1.5::numeric(10, 2) AS d FROM generate_series(1, 2) n")
			must(t, err)
			types, err := rs.ColumnTypes()
			must(t, err)
			equal(t, types[2].DatabaseTypeName(), "TEXT")
			precision, scale, ok := types[6].DecimalSize()
			equal(t, []any{precision, scale, ok}, []any{int64(10), int64(2), true})
			type row struct {
				N, Q int
				S    string
				B    []byte
				Z    *int
				T    time.Time
				D    float64
			}
			n := 0
			for r, err := range rows.All[row](rs) {
				must(t, err)
				n++
				if r.N != n || r.S != fmt.Sprint(n, "x") && r.S != fmt.Sprintf("%dx", n) || string(r.B) != "\x01\x02" || r.Z != nil || r.T.IsZero() || r.D != 1.5 {
					t.Errorf("row %d is %+v", n, r)
				}
			}
			equal(t, n, 2)
		})

		run("a prepared one is executed again and again", func(t *testing.T, db *poolgate.DB) {
			stmt, err := db.PrepareContext(t.Context(), "INSERT INTO texts VALUES ($1)")
			must(t, err)
			for _, text := range []string{"a", "b"} {
				_, err := stmt.ExecContext(t.Context(), text)
				must(t, err)
			}
			must(t, stmt.Close())
			query, err := db.PrepareContext(t.Context(), "SELECT text FROM texts WHERE text > $1")
			must(t, err)
			var text string
			must(t, query.QueryRowContext(t.Context(), "a").Scan(&text))
			equal(t, text, "b")
			must(t, query.Close())
			_, err = db.PrepareContext(t.Context(), "SELECT nonsense")
			equal(t, state(err), "42703")
			has(t, db, "a", "b")
			must(t, db.PingContext(t.Context()))
		})

		run("open rows are in nobody's way", func(t *testing.T, db *poolgate.DB) {
			rs, err := db.QueryContext(t.Context(), "SELECT generate_series(1, 1000)")
			must(t, err)
			for rs.Next() {
				must(t, insert(t.Context(), db, "a"))
				if n, err := rows.One[int](t.Context(), db, "SELECT count(*) FROM texts"); err != nil || n == 3 {
					break
				}
			}
			must(t, rs.Close())
			has(t, db, "a", "a", "a")
		})

		run("one whose context ends is cancelled, and the connection stays", func(t *testing.T, db *poolgate.DB) {
			must(t, insert(t.Context(), db, "a"))
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			began := time.Now()
			_, err := db.ExecContext(ctx, "SELECT pg_sleep(60)")
			is(t, err, context.DeadlineExceeded)
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("it took %v", took)
			}
			has(t, db, "a")
		})

		run("they wait for one another, no longer than their contexts", func(t *testing.T, db *poolgate.DB) {
			var slow sync.WaitGroup
			ctx, cancel := context.WithCancel(t.Context())
			slow.Go(func() { db.ExecContext(ctx, "SELECT pg_sleep(60)") })
			for db.Gate().Stats().InFlight == 0 {
				time.Sleep(time.Millisecond)
			}
			time.Sleep(20 * time.Millisecond) // if it is slower than that, the other goes first, and succeeds
			short, cancelShort := context.WithTimeout(t.Context(), 10*time.Millisecond)
			defer cancelShort()
			if err := insert(short, db, "a"); err != nil {
				is(t, err, context.DeadlineExceeded)
			}
			cancel()
			slow.Wait()
			must(t, insert(t.Context(), db, "b"))
		})

		run("many goroutines work at once", func(t *testing.T, db *poolgate.DB) {
			var all sync.WaitGroup
			for i := range 16 {
				all.Go(func() {
					for j := range 10 {
						if err := insert(t.Context(), db, fmt.Sprintf("%02d %d", i, j)); err != nil {
							t.Error(err)
						}
					}
				})
			}
			all.Wait()
			n, err := rows.One[int](t.Context(), db, "SELECT count(*) FROM texts")
			must(t, err)
			equal(t, n, 160)
		})

		run("rows, children and generated keys are as ever", func(t *testing.T, db *poolgate.DB) {
			exec(t, db, "CREATE TABLE people (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text)")
			ids, err := rows.InsertMany[int](t.Context(), db, "people", []string{"Ada", "Alan"}, "name")
			must(t, err)
			equal(t, ids, []int{1, 2})
			for name, err := range rows.Stream[string](t.Context(), db, "SELECT name FROM people ORDER BY id") {
				must(t, err)
				equal(t, name, "Ada")
				break
			}
		})
	})
}

// unreachable is a driver that has no server.
type unreachable struct{}

func (unreachable) Connect(context.Context) (driver.Conn, error) { return nil, fmt.Errorf("no server") }
func (unreachable) Driver() driver.Driver                        { return nil }
