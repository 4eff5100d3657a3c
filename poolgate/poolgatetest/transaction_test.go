package poolgatetest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/poolgatetest"
	"github.com/poolgate/poolgate/poolgate/rows"
	"github.com/poolgate/poolgate/poolgate/session"
)

func begin(t testing.TB, db *poolgate.DB, readOnly bool) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(context.Background(), &sql.TxOptions{ReadOnly: readOnly, Isolation: sql.LevelSerializable})
	must(t, err)
	return tx
}

func TestTransactions(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *poolgate.DB))) {
		run("one is committed, another rolled back", func(t *testing.T, db *poolgate.DB) {
			tx := begin(t, db, false)
			must(t, insert(t.Context(), tx, "a"))
			must(t, tx.Commit())
			tx = begin(t, db, false)
			must(t, insert(t.Context(), tx, "b"))
			has(t, tx, "a", "b")
			must(t, tx.Rollback())
			has(t, db, "a")
		})

		run("after an error it takes no statements, and is not committed", func(t *testing.T, db *poolgate.DB) {
			tx := begin(t, db, false)
			must(t, insert(t.Context(), tx, "a"))
			_, err := tx.Exec("SELECT 1/0")
			equal(t, state(err), "22012")
			equal(t, state(insert(t.Context(), tx, "b")), "25P02")
			has(t, db, "a") // beside it
			if err := tx.Commit(); err == nil {
				t.Error("it was committed")
			}
			has(t, db)
		})

		run("an argument that the driver refuses does not abort it", func(t *testing.T, db *poolgate.DB) {
			tx := begin(t, db, false)
			if err := insert(t.Context(), tx, ""); err != nil {
				t.Error(err)
			}
			if _, err := tx.Exec("INSERT INTO texts VALUES ($1)", struct{}{}); err == nil {
				t.Error("no error")
			}
			must(t, insert(t.Context(), tx, "a"))
			must(t, tx.Commit())
			has(t, db, "", "a")
		})

		run("COMMIT checks deferred constraints", func(t *testing.T, db *poolgate.DB) {
			tx := begin(t, db, false)
			exec(t, tx, "INSERT INTO children VALUES (1)")
			equal(t, state(tx.Commit()), "23503")
			tx = begin(t, db, false)
			exec(t, tx, "INSERT INTO children VALUES (2)")
			exec(t, tx, "INSERT INTO parents VALUES (2)")
			must(t, tx.Commit())
			n, err := rows.Collect[int](t.Context(), db, "SELECT parent FROM children")
			must(t, err)
			equal(t, n, []int{2})
		})

		run("a read-only one refuses writes, and others beside it do not", func(t *testing.T, db *poolgate.DB) {
			reading, writing := begin(t, db, true), begin(t, db, false)
			must(t, insert(t.Context(), writing, "a"))
			equal(t, state(insert(t.Context(), reading, "b")), "25006")
			must(t, insert(t.Context(), writing, "c"))
			must(t, reading.Rollback())
			must(t, insert(t.Context(), writing, "d"))
			must(t, writing.Commit())
			has(t, db, "a", "c", "d")
		})

		run("several may end in any order", func(t *testing.T, db *poolgate.DB) {
			a, b, c := begin(t, db, false), begin(t, db, false), begin(t, db, false)
			must(t, insert(t.Context(), a, "a"))
			must(t, a.Commit())
			must(t, insert(t.Context(), b, "b"))
			must(t, insert(t.Context(), c, "c"))
			must(t, c.Rollback())
			must(t, insert(t.Context(), b, "d"))
			must(t, b.Commit())
			has(t, db, "a", "b", "d")
		})

		run("one that began before others can be rolled back while they have only read", func(t *testing.T, db *poolgate.DB) {
			a := begin(t, db, false)
			must(t, insert(t.Context(), a, "a"))
			b := begin(t, db, false)
			has(t, b, "a")
			has(t, db, "a")
			must(t, a.Rollback())
			must(t, insert(t.Context(), b, "b"))
			must(t, b.Commit())
			has(t, db, "b")
		})

		run("it can be begun, saved and ended by hand", func(t *testing.T, db *poolgate.DB) {
			conn, err := db.Conn(t.Context())
			must(t, err)
			exec(t, conn, "BEGIN ISOLATION LEVEL REPEATABLE READ")
			must(t, insert(t.Context(), conn, "a"))
			exec(t, conn, "savepoint s;")
			must(t, insert(t.Context(), conn, "b"))
			if _, err := conn.ExecContext(t.Context(), "SELECT 1/0"); err == nil {
				t.Error("no error")
			}
			_, err = conn.ExecContext(t.Context(), "SAVEPOINT u")
			equal(t, state(err), "25P02")
			exec(t, conn, "ROLLBACK TO SAVEPOINT s")
			must(t, insert(t.Context(), conn, "c"))
			exec(t, conn, "RELEASE SAVEPOINT s; SAVEPOINT s")
			exec(t, conn, "COMMIT")
			exec(t, conn, "start transaction read only")
			equal(t, state(insert(t.Context(), conn, "d")), "25006")
			exec(t, conn, "ABORT")
			for _, query := range []string{"COMMIT", "ROLLBACK", "SAVEPOINT s", "BEGIN; INSERT INTO texts VALUES ('x')"} {
				if _, err := conn.ExecContext(t.Context(), query); err == nil {
					t.Errorf("no error of %s", query)
				}
			}
			exec(t, conn, "BEGIN")
			if _, err := conn.ExecContext(t.Context(), "BEGIN"); err == nil {
				t.Error("a second BEGIN did not fail")
			}
			must(t, insert(t.Context(), conn, "e"))
			must(t, conn.Raw(func(any) error { return nil }))
			exec(t, conn, "END")
			must(t, conn.Close())
			has(t, db, "a", "c", "e")
		})
	})
}

func TestWhatCannotBeShown(t *testing.T) {
	const message = "a rollback has undone what others had written since"
	onPool(t, func(run func(string, func(*testing.T, *poolgate.DB))) {
		for name, writer := range map[string]func(ctx context.Context, db *poolgate.DB) error{
			"a statement": func(ctx context.Context, db *poolgate.DB) error { return insert(ctx, db, "b") },
			"a query": func(ctx context.Context, db *poolgate.DB) error {
				_, err := rows.Collect[string](ctx, db, "INSERT INTO texts VALUES ('b') RETURNING text")
				return err
			},
			"a unit of its own": func(ctx context.Context, db *poolgate.DB) error {
				return session.RunNew(ctx, func(ctx context.Context) error { return insert(ctx, session.DB(ctx, db.DB), "b") })
			},
		} {
			failed := errors.New("failed")
			run("a unit that undoes "+name+" of another fails the test", func(t *testing.T, pool *poolgate.DB) {
				failsWith(t, message, func(tb testing.TB) {
					db := poolgatetest.Begin(tb, pool.DB, poolgate.Config{})
					is(t, session.Run(t.Context(), func(ctx context.Context) error {
						must(t, insert(ctx, session.DB(ctx, db.DB), "a"))
						must(t, writer(ctx, db))
						return failed
					}), failed)
				})
			})
			run("so does a nested Run that undoes "+name, func(t *testing.T, pool *poolgate.DB) {
				failsWith(t, message, func(tb testing.TB) {
					db := poolgatetest.Begin(tb, pool.DB, poolgate.Config{})
					must(t, session.Run(t.Context(), func(ctx context.Context) error {
						must(t, insert(ctx, session.DB(ctx, db.DB), "a"))
						is(t, session.Run(ctx, func(ctx context.Context) error {
							must(t, insert(ctx, session.DB(ctx, db.DB), "c"))
							must(t, writer(ctx, db))
							return failed
						}), failed)
						return nil
					}))
				})
			})
			run("one that keeps "+name+" does not", func(t *testing.T, pool *poolgate.DB) {
				db := poolgatetest.Begin(t, pool.DB, poolgate.Config{})
				must(t, writer(t.Context(), db))
				is(t, session.Run(t.Context(), func(ctx context.Context) error {
					must(t, insert(ctx, session.DB(ctx, db.DB), "a"))
					return failed
				}), failed)
				must(t, session.Run(t.Context(), func(ctx context.Context) error {
					must(t, insert(ctx, session.DB(ctx, db.DB), "c"))
					return writer(ctx, db)
				}))
				has(t, db, "b", "b", "c")
			})
			run("nor one that undoes "+name+" which was undone before", func(t *testing.T, pool *poolgate.DB) {
				db := poolgatetest.Begin(t, pool.DB, poolgate.Config{})
				is(t, session.Run(t.Context(), func(ctx context.Context) error {
					must(t, insert(ctx, session.DB(ctx, db.DB), "a"))
					is(t, session.RunNew(ctx, func(ctx context.Context) error {
						must(t, insert(ctx, session.DB(ctx, db.DB), "c"))
						return failed
					}), failed)
					return failed
				}), failed)
				has(t, db)
			})
		}
	})
}

func TestUnits(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *poolgate.DB))) {
		run("five kinds of session side by side, in any order", func(t *testing.T, db *poolgate.DB) {
			for range 20 {
				must(t, session.Run(t.Context(), func(ctx context.Context) error { return fiveWays(ctx, db) }))
			}
			var want []string
			for _, way := range []string{"1 context", "2 new", "3 new, by hand", "4 detached", "5 detached, by hand"} {
				for range 20 {
					want = append(want, way)
				}
			}
			has(t, db, want...)
		})

		run("a nested Run is undone by itself", func(t *testing.T, db *poolgate.DB) {
			failed := errors.New("failed")
			must(t, session.Run(t.Context(), func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB), "a"))
				is(t, session.Run(ctx, func(ctx context.Context) error {
					must(t, insert(ctx, session.DB(ctx, db.DB), "b"))
					return failed
				}), failed)
				return session.Run(ctx, func(ctx context.Context) error { return insert(ctx, session.DB(ctx, db.DB), "c") })
			}))
			has(t, db, "a", "c")
		})

		run("the end of its context rolls a unit back", func(t *testing.T, db *poolgate.DB) {
			ctx, cancel := context.WithCancel(t.Context())
			err := session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB), "a"))
				cancel()
				return nil
			})
			is(t, err, context.Canceled)
			must(t, insert(t.Context(), db, "b"))
			has(t, db, "b")
		})
	})
}

func fiveWays(ctx context.Context, db *poolgate.DB) error {
	g, ctx2 := errgroup.WithContext(ctx)
	g.Go(func() error { return insert(ctx2, session.DB(ctx, db.DB), "1 context") })
	g.Go(func() error {
		return session.RunNew(ctx2, func(ctx context.Context) error { return insert(ctx, session.DB(ctx, db.DB), "2 new") })
	})
	g.Go(func() error {
		return session.RunNew(ctx2, func(ctx context.Context) error {
			if err := insert(ctx, session.DB(ctx, db.DB), "3 new, by hand"); err != nil {
				return err
			}
			if err := session.From(ctx).Commit(); err != nil {
				return err
			}
			return session.From(ctx).Close()
		})
	})
	g.Go(func() error {
		return session.Atomic(ctx2, func(s *session.Session) error { return insert(ctx2, s.DB(db.DB), "4 detached") })
	})
	g.Go(func() error {
		s, err := session.New(ctx2, session.Config{})
		if err != nil {
			return err
		}
		defer s.Close()
		if err := insert(ctx2, s.DB(db.DB), "5 detached, by hand"); err != nil {
			return err
		}
		return s.Commit()
	})
	return g.Wait()
}

func TestGathers(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *poolgate.DB))) {
		for _, c := range []gather.Consistency{gather.Independent, gather.Snapshot, gather.Serial} {
			for _, all := range []bool{false, true} {
				o := gather.Options{Consistency: c, AllErrors: all}
				statements := make([]gather.SQL, 20)
				for i := range statements {
					statements[i] = gather.SQL{Query: "SELECT text || $1::text FROM texts", Args: []any{fmt.Sprint(i)}}
				}
				run(fmt.Sprintf("results are in order, and see what the test has written: %v, all errors: %v", c, all), func(t *testing.T, db *poolgate.DB) {
					must(t, insert(t.Context(), db, "a"))
					results, err := gather.Collect[string](t.Context(), db, o, statements...)
					must(t, err)
					for i, r := range results {
						equal(t, r.Rows(), []string{fmt.Sprint("a", i)})
					}
				})
				run(fmt.Sprintf("inside a unit, which is then undone: %v, all errors: %v", c, all), func(t *testing.T, db *poolgate.DB) {
					failed := errors.New("failed")
					is(t, session.Run(t.Context(), func(ctx context.Context) error {
						must(t, insert(ctx, session.DB(ctx, db.DB), "a"))
						results, err := gather.Collect[string](ctx, db, o, statements...)
						must(t, err)
						equal(t, results[19].Len(), 1)
						return failed
					}), failed)
					has(t, db)
				})
				run(fmt.Sprintf("an error is as ever: %v, all errors: %v", c, all), func(t *testing.T, db *poolgate.DB) {
					err := gather.Run(t.Context(), db, o, gather.Discard("SELECT 1"), gather.Discard("SELECT 1/0"), gather.Discard("SELECT 2"))
					equal(t, state(err), "22012")
					must(t, insert(t.Context(), db, "a"))
				})
			}
		}
		run("a panic leaves nothing behind", func(t *testing.T, db *poolgate.DB) {
			for _, c := range []gather.Consistency{gather.Independent, gather.Snapshot, gather.Serial} {
				func() {
					defer func() { _ = recover().(*gather.PanicError) }()
					gather.Run(t.Context(), db, gather.Options{Consistency: c},
						func(ctx context.Context, db session.DBTX) error { panic("boom") }, gather.Discard("SELECT 1"))
				}()
				must(t, insert(t.Context(), db, c.String()))
			}
			has(t, db, "independent", "serial", "snapshot")
		})
	})
}
