package poolgatetest_test

import (
	"context"
	"database/sql"
	"slices"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/poolgatetest"
)

func TestAssertIdle(t *testing.T) {
	onBoth(t, func(t *testing.T, config poolgatetest.Config) {
		t.Run("a transaction that is left open fails the test", func(t *testing.T) {
			poolgatetest.Impatient(t)
			var tx *sql.Tx
			failsWith(t, "permits held 1, connections in use 1, callers waiting 0", func(tb testing.TB) {
				db := poolgatetest.New(tb, config)
				var err error
				tx, err = db.BeginTx(context.Background(), nil)
				must(t, err)
				insert(t, tx, "a")
			})
			if _, err := tx.Exec("INSERT INTO texts VALUES ('b')"); err == nil {
				t.Error("the transaction works after the end of its test")
			}
			tx.Rollback()
		})

		t.Run("a statement that runs beyond the test is stopped", func(t *testing.T) {
			poolgatetest.Impatient(t)
			done := make(chan error, 1)
			failsWith(t, ", last statement: SELECT pg_sleep(?)", func(tb testing.TB) {
				db := poolgatetest.New(tb, config)
				go func() {
					_, err := db.ExecContext(context.Background(), "SELECT pg_sleep(600)")
					done <- err
				}()
				for !running(db, "SELECT pg_sleep(?)") {
					time.Sleep(time.Millisecond)
				}
			})
			if err := <-done; err == nil {
				t.Error("the statement has succeeded")
			}
		})

		t.Run("it names the goroutine and the statement", func(t *testing.T) {
			poolgatetest.Impatient(t)
			db := poolgatetest.New(t, config)
			failsWith(t, ", last statement: INSERT INTO texts VALUES ($1)", func(tb testing.TB) {
				conn, err := db.Conn(t.Context())
				must(t, err)
				tx, err := conn.BeginTx(t.Context(), nil)
				must(t, err)
				insert(t, tx, "a")
				poolgatetest.AssertIdle(tb, db)
				must(t, tx.Rollback())
				must(t, conn.Close())
			})
		})

		t.Run("what is returned in a moment is no failure", func(t *testing.T) {
			db := poolgatetest.New(t, config)
			conn, err := db.Conn(t.Context())
			must(t, err)
			closed := make(chan struct{})
			time.AfterFunc(20*time.Millisecond, func() { conn.Close(); close(closed) })
			poolgatetest.AssertIdle(t, db)
			<-closed
		})
	})
}

// running reports whether a permit is held for this statement.
func running(db *poolgate.DB, statement string) bool {
	return slices.ContainsFunc(db.Gate().Holders(), func(h gate.HolderInfo) bool { return h.Statement == statement })
}
