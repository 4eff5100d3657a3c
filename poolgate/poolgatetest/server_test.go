package poolgatetest_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/poolgate/poolgate/internal/sqlstate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/poolgatetest"
	"github.com/poolgate/poolgate/poolgate/rows"
	"github.com/poolgate/poolgate/poolgate/session"
)

// A test meets the server as it is: what a simulation of it would get wrong.
func TestServer(t *testing.T) {
	onBoth(t, func(t *testing.T, config poolgatetest.Config) {
		run := func(name string, test func(t *testing.T, db *poolgate.DB)) {
			t.Run(name, func(t *testing.T) { test(t, poolgatetest.New(t, config)) })
		}

		run("a rollback leaves alone what others have committed", func(t *testing.T, db *poolgate.DB) {
			tx := begin(t, db, nil)
			insert(t, tx, "undone")
			exec(t, db, "SELECT nextval('numbers')")
			insert(t, db, "kept")
			must(t, tx.Rollback())
			has(t, db, "kept")
		})

		run("a row lock keeps others out", func(t *testing.T, db *poolgate.DB) {
			insert(t, db, "a")
			tx := begin(t, db, nil)
			exec(t, tx, "SELECT * FROM texts FOR UPDATE")
			_, err := db.ExecContext(t.Context(), "SELECT * FROM texts FOR UPDATE NOWAIT")
			equal(t, sqlstate.Of(err), "55P03")
			must(t, tx.Rollback())
			exec(t, db, "SELECT * FROM texts FOR UPDATE NOWAIT")
		})

		run("what is not committed is not seen", func(t *testing.T, db *poolgate.DB) {
			tx := begin(t, db, nil)
			insert(t, tx, "a")
			has(t, db)
			must(t, tx.Commit())
			has(t, db, "a")
		})

		run("isolation levels count", func(t *testing.T, db *poolgate.DB) {
			tx := begin(t, db, &sql.TxOptions{Isolation: sql.LevelRepeatableRead})
			has(t, tx)
			insert(t, db, "a")
			has(t, tx)
			must(t, tx.Commit())
			tx = begin(t, db, nil)
			exec(t, tx, "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE")
			level, err := rows.One[string](t.Context(), tx, "SHOW transaction_isolation")
			must(t, err)
			equal(t, level, "serializable")
			must(t, tx.Commit())
		})

		run("transactions by hand", func(t *testing.T, db *poolgate.DB) {
			conn, err := db.Conn(t.Context())
			must(t, err)
			for _, statement := range []string{
				"BEGIN", "INSERT INTO texts VALUES ('a')", "/* x */ COMMIT",
				"BEGIN", "INSERT INTO texts VALUES ('b')", "COMMIT AND CHAIN", "INSERT INTO texts VALUES ('c')", "ROLLBACK",
				"BEGIN", `SAVEPOINT "Mixed Case"`, "INSERT INTO texts VALUES ('d')", `ROLLBACK TO "Mixed Case"`, "COMMIT",
			} {
				exec(t, conn, statement)
			}
			must(t, conn.Close())
			has(t, db, "a", "b")
		})

		run("COMMIT checks deferred constraints", func(t *testing.T, db *poolgate.DB) {
			tx := begin(t, db, nil)
			exec(t, tx, "INSERT INTO children VALUES (1)")
			equal(t, sqlstate.Of(tx.Commit()), "23503")
		})

		run("a unit of RunNew stays when the unit around it is undone", func(t *testing.T, db *poolgate.DB) {
			undo := errors.New("undo")
			err := session.Run(t.Context(), func(ctx context.Context) error {
				insert(t, session.DB(ctx, db.DB), "undone")
				must(t, session.RunNew(ctx, func(ctx context.Context) error {
					insert(t, session.DB(ctx, db.DB), "kept")
					return nil
				}))
				return undo
			})
			equal(t, err, undo)
			has(t, db, "kept")
		})

		run("the statements of a snapshot gather meet on several connections", func(t *testing.T, db *poolgate.DB) {
			pids := make([]int, 3)
			var meeting sync.WaitGroup
			meeting.Add(len(pids))
			var statements []gather.Statement
			for i := range pids {
				statements = append(statements, func(ctx context.Context, conn session.DBTX) error {
					err := gather.One(&pids[i], "SELECT pg_backend_pid()")(ctx, conn)
					meeting.Done()
					meeting.Wait()
					return err
				})
			}
			must(t, gather.Run(t.Context(), db, gather.Options{Consistency: gather.Snapshot}, statements...))
			slices.Sort(pids)
			equal(t, len(slices.Compact(pids)), 3)
		})

		run("prepared statements work on every connection", func(t *testing.T, db *poolgate.DB) {
			stmt, err := db.PrepareContext(t.Context(), "INSERT INTO texts VALUES ($1)")
			must(t, err)
			defer stmt.Close()
			conn, err := db.Conn(t.Context()) // takes the one it was prepared on
			must(t, err)
			_, err = stmt.ExecContext(t.Context(), "a")
			must(t, err)
			must(t, conn.Close())
			has(t, db, "a")
		})

		run("what cannot run in a transaction works", func(t *testing.T, db *poolgate.DB) {
			exec(t, db, "VACUUM texts")
			exec(t, db, "CREATE INDEX CONCURRENTLY ON texts (text)")
		})
	})
}

func begin(t testing.TB, db *poolgate.DB, options *sql.TxOptions) *sql.Tx {
	t.Helper()
	tx, err := db.BeginTx(context.Background(), options)
	must(t, err)
	return tx
}
