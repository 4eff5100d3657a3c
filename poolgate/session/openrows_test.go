package session_test

import (
	"context"
	"database/sql"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate/session"
)

const manyRows = "SELECT generate_series(1, 1000000000)"

// Nothing is committed while rows are open, by whatever means.
func TestRowsLeftOpen(t *testing.T) {
	background := context.Background()
	onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
		// leave writes a row, and leaves those of query open.
		leave := func(ctx context.Context, db *fixture, query string) error {
			if err := insert(ctx, session.DB(ctx, db.DB.DB), "a"); err != nil {
				return err
			}
			_, err := session.DB(ctx, db.DB.DB).QueryContext(background, query)
			return err
		}
		refused := func(t *testing.T, err error) {
			t.Helper()
			if busy := as[*session.BusyError](t, err); !busy.Rows || busy.HolderCall != "QueryContext" {
				t.Errorf("got %v", err)
			}
		}
		for _, query := range []string{"SELECT generate_series(1, 3)", manyRows} {
			ways := map[string]func(*testing.T, *fixture) error{
				"Run": func(t *testing.T, db *fixture) error {
					return session.Run(background, func(ctx context.Context) error { return leave(ctx, db, query) })
				},
				"RunNew": func(t *testing.T, db *fixture) error {
					return session.RunNew(background, func(ctx context.Context) error { return leave(ctx, db, query) })
				},
				"Commit": func(t *testing.T, db *fixture) (err error) {
					session.Run(background, func(ctx context.Context) error {
						must(t, leave(ctx, db, query))
						err = session.From(ctx).Commit()
						return err
					})
					return err
				},
				"the end of a nested Run": func(t *testing.T, db *fixture) error {
					return session.Run(background, func(ctx context.Context) error {
						return session.Run(ctx, func(ctx context.Context) error { return leave(ctx, db, query) })
					})
				},
			}
			for name, way := range ways {
				run(name+" refuses to commit: "+query, func(t *testing.T, db *fixture) {
					refused(t, way(t, db))
					nothingHeld(t, db.DB)
					has(t, db.DB)
				})
			}
			for name, answer := range map[string]string{"the header": "text", "the end of the handler": ""} {
				run(name+" makes a 500: "+query, func(t *testing.T, db *fixture) {
					s := serve(t, false, session.HandlerConfig{}, func(w http.ResponseWriter, r *http.Request) {
						if err := leave(r.Context(), db, query); err != nil {
							t.Error(err)
						}
						if answer != "" {
							io.WriteString(w, answer)
						}
					})
					s.get(t).is(t, 500, "Internal Server Error\n")
					s.Close()
					refused(t, errors.Join(s.errors()...))
					nothingHeld(t, db.DB)
					has(t, db.DB)
				})
			}
			run("a unit that fails does not wait for them: "+query, func(t *testing.T, db *fixture) {
				mine := errors.New("mine")
				is(t, session.Run(background, func(ctx context.Context) error {
					must(t, leave(ctx, db, query))
					return mine
				}), mine)
				has(t, db.DB)
			})
			run("nor does one whose context ends: "+query, func(t *testing.T, db *fixture) {
				ctx, cancel := context.WithCancel(background)
				is(t, session.Run(ctx, func(ctx context.Context) error {
					must(t, leave(ctx, db, query))
					cancel()
					return nil
				}), context.Canceled)
				has(t, db.DB)
			})
		}
		run("raw bytes of a row that is left hold nothing up", func(t *testing.T, db *fixture) {
			mine := errors.New("mine")
			for _, err := range []error{nil, mine} {
				got := session.Run(background, func(ctx context.Context) error {
					rows, e := session.DB(ctx, db.DB.DB).QueryContext(ctx, manyRows)
					must(t, e)
					rows.Next()
					var raw sql.RawBytes
					must(t, rows.Scan(&raw))
					return err
				})
				if err == nil {
					refused(t, got)
				} else {
					is(t, got, mine)
				}
				nothingHeld(t, db.DB)
			}
		})
		run("a nested Run is undone alone", func(t *testing.T, db *fixture) {
			must(t, session.Run(background, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "b"))
				refused(t, session.Run(ctx, func(ctx context.Context) error { return leave(ctx, db, "SELECT generate_series(1, 3)") }))
				return insert(ctx, session.DB(ctx, db.DB.DB), "c")
			}))
			has(t, db.DB, "b", "c")
		})
		run("rows from before a nested Run that does not use the database are not its own", func(t *testing.T, db *fixture) {
			must(t, session.Run(background, func(ctx context.Context) error {
				rows, err := session.DB(ctx, db.DB.DB).QueryContext(ctx, "SELECT generate_series(1, 5000)")
				must(t, err)
				n := 0
				for rows.Next() {
					if n++; n == 10 {
						must(t, session.Run(ctx, func(ctx context.Context) error {
							return insert(ctx, session.DB(ctx, db.other.DB), "a")
						}))
					}
				}
				if n != 5000 {
					t.Errorf("%d rows", n)
				}
				return rows.Err()
			}))
			has(t, db.other, "a")
		})
	})
}

// With several databases, no failure of a statement is found only after the
// first COMMIT.
func TestHiddenFailures(t *testing.T) {
	background := context.Background()
	const failing = "SELECT 10 / (2 - i) FROM generate_series(1, 5) i"
	onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
		for name, hide := range map[string]func(context.Context, session.DBTX) error{
			"a row whose Scan fails": func(ctx context.Context, db session.DBTX) error {
				var n int
				db.QueryRowContext(ctx, "SELECT 10 / (SELECT max(i - 5) FROM generate_series(1, 5) i)").Scan(&n)
				return nil
			},
			"a row of several, whose reading fails": func(ctx context.Context, db session.DBTX) error {
				var n int
				db.QueryRowContext(ctx, failing).Scan(&n)
				return nil
			},
			"rows that another goroutine reads": func(ctx context.Context, db session.DBTX) error {
				failed := make(chan error)
				go func() {
					rows, err := db.QueryContext(ctx, failing)
					for err == nil && rows.Next() {
					}
					failed <- err
				}()
				return <-failed
			},
			"rows that are closed before their failure": func(ctx context.Context, db session.DBTX) error {
				rows, err := db.QueryContext(ctx, failing)
				if err != nil {
					return err
				}
				rows.Next()
				rows.Close()
				return nil
			},
			"a prepared statement": func(ctx context.Context, db session.DBTX) error {
				stmt, err := db.PrepareContext(ctx, "SELECT 1 / $1::int")
				if err != nil {
					return err
				}
				_, err = db.ExecContext(ctx, "SELECT 1")
				if err != nil {
					return err
				}
				stmt.ExecContext(ctx, 0)
				return nil
			},
		} {
			run(name+" rolls back on all databases", func(t *testing.T, db *fixture) {
				err := session.Run(background, func(ctx context.Context) error {
					must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
					must(t, insert(ctx, session.DB(ctx, db.other.DB), "b"))
					return hide(ctx, session.DB(ctx, db.other.DB))
				})
				failed := as[*session.CommitError](t, err)
				for _, o := range failed.Outcomes {
					if o.State != session.RolledBack {
						t.Errorf("got %v", err)
					}
				}
				has(t, db.DB)
				has(t, db.other)
			})
		}
		run("rows and prepared statements without a failure are committed", func(t *testing.T, db *fixture) {
			must(t, session.Run(background, func(ctx context.Context) error {
				for _, dbtx := range []session.DBTX{session.DB(ctx, db.DB.DB), session.DB(ctx, db.other.DB)} {
					must(t, insert(ctx, dbtx, "a"))
					var n int
					must(t, dbtx.QueryRowContext(ctx, "SELECT 1").Scan(&n))
				}
				return nil
			}))
			has(t, db.DB, "a")
			has(t, db.other, "a")
		})
	})
}

// A COMMIT that waits in the server is cut off some seconds after the deadline,
// with the deadline as its error.
func TestStalledCommit(t *testing.T) {
	if testing.Short() {
		t.Skip("takes five seconds for each driver")
	}
	onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
		run("by its deadline", func(t *testing.T, db *fixture) {
			exec(t, db, `CREATE FUNCTION sleep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(60); RETURN NULL; END';
				CREATE CONSTRAINT TRIGGER sleep AFTER INSERT ON texts DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION sleep()`)
			defer exec(t, db, "DROP TRIGGER sleep ON texts; DROP FUNCTION sleep")
			ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
			defer cancel()
			err := session.Run(ctx, func(ctx context.Context) error {
				return insert(context.Background(), session.DB(ctx, db.DB.DB), "a")
			})
			as[*session.CommitError](t, err)
			is(t, err, context.DeadlineExceeded)
			if errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		})
	})
}
