package conformance

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"

	"github.com/poolgate/poolgate/poolgate"
)

// testSentOnce loses the connections of statements after some of their bytes
// were sent, and counts how often the server has executed them.
func testSentOnce(t *testing.T, d Driver) {
	const limit = 4
	f, p := openThrough(t, d, limit)
	f.must(t, "create table t (id int)")
	ctx := context.Background()
	stmt, err := f.PrepareContext(ctx, "insert into t values ($1)")
	if err != nil {
		t.Fatal(err)
	}
	defer stmt.Close()

	// fill has all connections idle in the pool, and good.
	fill := func() {
		conns := f.hold(t, limit)
		for _, c := range conns {
			backend(t, c)
		}
		for _, c := range conns {
			c.Close()
		}
		f.settled(t)
	}

	for name, insert := range map[string]func(id int) error{
		"Exec": func(id int) error {
			_, err := f.ExecContext(ctx, fmt.Sprintf("insert into t values (%d)", id))
			return err
		},
		"Exec with an argument": func(id int) error {
			_, err := f.ExecContext(ctx, "insert into t values ($1)", id)
			return err
		},
		"Query": func(id int) error {
			rows, err := f.QueryContext(ctx, fmt.Sprintf("insert into t values (%d) returning id", id))
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
			}
			return rows.Err()
		},
		"QueryRow with an argument": func(id int) error {
			return f.QueryRowContext(ctx, "insert into t values ($1) returning id", id).Scan(&id)
		},
		"a statement": func(id int) error {
			_, err := stmt.ExecContext(ctx, id)
			return err
		},
		"a Conn": func(id int) error {
			conn, err := f.Conn(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.ExecContext(ctx, fmt.Sprintf("insert into t values (%d)", id))
			return err
		},
		"a transaction": func(id int) error {
			tx, err := f.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			if _, err := tx.ExecContext(ctx, "insert into t values ($1)", id); err != nil {
				return err
			}
			return tx.Commit()
		},
	} {
		t.Run(name+" is executed at most once, wherever the connection is cut", func(t *testing.T) {
			f.must(t, "truncate t")
			errs := map[int]error{}
			id := 0
			for _, affected := range []int{1, 3, 1000} {
				for bytes := 0; bytes <= 400; bytes += 10 {
					fill()
					id++
					p.CutAfter(bytes, affected)
					errs[id] = insert(id)
					p.Resume()
				}
			}
			f.settled(t)
			p.Resume()
			times := map[int]int{}
			rows, err := f.observer.Query("select id, count(*) from t group by id")
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			for rows.Next() {
				var id, n int
				if err := rows.Scan(&id, &n); err != nil {
					t.Fatal(err)
				}
				times[id] = n
			}
			if err := rows.Err(); err != nil {
				t.Fatal(err)
			}
			unknown := 0
			for i := 1; i <= id; i++ {
				switch err, n := errs[i], times[i]; {
				case n > 1:
					t.Errorf("%d is there %d times", i, n)
				case err == nil && n != 1:
					t.Errorf("%d was inserted, and is there %d times", i, n)
				case err != nil && n != 0 && !errors.Is(err, poolgate.ErrOutcomeUnknown):
					t.Errorf("%d was inserted, but the error is %v", i, err)
				case err != nil && errors.Is(err, driver.ErrBadConn) && errors.Is(err, poolgate.ErrOutcomeUnknown):
					t.Errorf("the error is both: %v", err)
				case errors.Is(err, poolgate.ErrOutcomeUnknown):
					unknown++
				}
			}
			if unknown == 0 || len(times) == 0 {
				t.Errorf("%d outcomes are unknown, and %d rows are there", unknown, len(times))
			}
			f.usable(t)
		})
	}

	t.Run("a COMMIT whose answer is lost says so", func(t *testing.T) {
		tx, err := f.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if _, err := tx.Exec("insert into t values (-1)"); err != nil {
			t.Fatal(err)
		}
		p.CutAfter(len("Q....commit."), 1)
		if err := tx.Commit(); !errors.Is(err, poolgate.ErrOutcomeUnknown) || errors.Is(err, driver.ErrBadConn) {
			t.Errorf("got %v", err)
		}
		f.usable(t)
	})

	t.Run("a Conn whose statement was sent gets no other session", func(t *testing.T) {
		conn := f.hold(t, 1)[0]
		backend(t, conn)
		p.CutAfter(0, 1)
		if _, err := conn.ExecContext(ctx, "select 1"); err == nil || errors.Is(err, driver.ErrBadConn) {
			t.Errorf("got %v", err)
		}
		if _, err := conn.ExecContext(ctx, "select 1"); err == nil {
			t.Error("a later statement has no error")
		}
		conn.Close()
		f.usable(t)
	})
}
