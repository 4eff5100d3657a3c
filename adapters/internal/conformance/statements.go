package conformance

import (
	"context"
	"database/sql"
	"strconv"
	"sync"
	"testing"
)

func testStatements(t *testing.T, d Driver) {
	f := open(t, d, 3)
	ctx := t.Context()
	f.must(t, "create table t (id int primary key, v text)")
	prepare := func(t *testing.T, p interface {
		PrepareContext(context.Context, string) (*sql.Stmt, error)
	}, query string) *sql.Stmt {
		t.Helper()
		stmt, err := p.PrepareContext(ctx, query)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stmt.Close() })
		return stmt
	}

	t.Run("a statement holds no permit between its uses", func(t *testing.T) {
		stmt := prepare(t, f, "select $1::int + 1")
		f.settled(t)
		for i := range 3 {
			var n int
			if err := stmt.QueryRowContext(ctx, i).Scan(&n); err != nil || n != i+1 {
				t.Errorf("got %d, %v", n, err)
			}
			f.settled(t)
		}
	})

	t.Run("one statement is used by many goroutines at once", func(t *testing.T) {
		insert := prepare(t, f, "insert into t values ($1, $2)")
		sel := prepare(t, f, "select v from t where id = $1")
		var wg sync.WaitGroup
		for g := range 12 {
			wg.Go(func() {
				for i := range 25 {
					id, v := 100*g+i, strconv.Itoa(i)
					if _, err := insert.ExecContext(ctx, id, v); err != nil {
						t.Error(err)
						return
					}
					var got string
					if err := sel.QueryRowContext(ctx, id).Scan(&got); err != nil || got != v {
						t.Errorf("%d: got %q, %v, want %q", id, got, err, v)
					}
				}
			})
		}
		wg.Wait()
		if n := scalar[int](t, f, "select count(*) from t"); n != 300 {
			t.Errorf("%d rows, want 300", n)
		}
	})

	t.Run("a transaction's statement, and a pool's in a transaction, see what it wrote", func(t *testing.T) {
		pooled := prepare(t, f, "select v from t where id = $1")
		tx, err := f.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		insert := prepare(t, tx, "insert into t values ($1, $2)")
		if _, err := insert.Exec(-1, "mine"); err != nil {
			t.Fatal(err)
		}
		for _, stmt := range []*sql.Stmt{prepare(t, tx, "select v from t where id = $1"), tx.StmtContext(ctx, pooled)} {
			var got string
			if err := stmt.QueryRow(-1).Scan(&got); err != nil || got != "mine" {
				t.Errorf("got %q, %v", got, err)
			}
		}
		var n int
		if err := pooled.QueryRow(-1).Scan(&n); err != sql.ErrNoRows {
			t.Errorf("outside of it: %v", err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if _, err := insert.Exec(-2, "late"); err == nil {
			t.Error("its statement works after its end")
		}
	})

	t.Run("a statement of a Conn stays on it", func(t *testing.T) {
		conn, err := f.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		pid := backend(t, conn)
		stmt := prepare(t, conn, "select pg_backend_pid()")
		for range 3 {
			var got int
			if err := stmt.QueryRow().Scan(&got); err != nil || got != pid {
				t.Errorf("got %d, %v, want %d", got, err, pid)
			}
		}
	})

	t.Run("a statement that cannot be prepared is an error with its SQLSTATE", func(t *testing.T) {
		if _, err := f.PrepareContext(ctx, "select nothing from nowhere"); state(err) != "42P01" {
			t.Errorf("got %v", err)
		}
	})

	t.Run("a wrong number of arguments is an error, and the pool goes on", func(t *testing.T) {
		stmt := prepare(t, f, "select $1::int + $2::int")
		for _, args := range [][]any{nil, {1}, {1, 2, 3}} {
			if _, err := stmt.ExecContext(ctx, args...); err == nil {
				t.Errorf("%d arguments: no error", len(args))
			}
			if _, err := f.ExecContext(ctx, "select $1::int + $2::int", args...); err == nil {
				t.Errorf("%d arguments: no error", len(args))
			}
		}
		f.usable(t)
	})
}
