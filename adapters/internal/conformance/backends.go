package conformance

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"strconv"
	"testing"

	"github.com/poolgate/poolgate/poolgate"
)

// testKilledBackends has the server end connections, as it does when it is
// restarted, by an administrator, or by a time limit on idleness.
func testKilledBackends(t *testing.T, d Driver) {
	const limit = 6
	f, diff := open(t, d, limit), differencesOf(t, d)
	ctx := t.Context()
	f.must(t, "create table t (id int)")

	// dead fills the pool with connections whose backends are killed while
	// they are idle.
	dead := func(t *testing.T) {
		t.Helper()
		var pids []int
		for range 2 { // the second time all have been used within the last second
			pids = pids[:0]
			conns := f.hold(t, limit)
			for _, c := range conns {
				pids = append(pids, backend(t, c))
			}
			for _, c := range conns {
				c.Close()
			}
			f.settled(t)
		}
		f.kill(t, pids...)
	}

	for name, run := range map[string]func() error{
		"Exec": func() error {
			_, err := f.ExecContext(ctx, "select 1")
			return err
		},
		"Exec with an argument": func() error {
			_, err := f.ExecContext(ctx, "select $1::int", 1)
			return err
		},
		"Query": func() error {
			var n int
			return f.QueryRowContext(ctx, "select 1").Scan(&n)
		},
		"Prepare": func() error {
			stmt, err := f.PrepareContext(ctx, "select 1")
			if err != nil {
				return err
			}
			return stmt.Close()
		},
		"a transaction": func() error {
			tx, err := f.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			_, err = tx.Exec("select 1")
			return err
		},
		"a Conn": func() error {
			conn, err := f.Conn(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.ExecContext(ctx, "select 1")
			return err
		},
	} {
		t.Run(name+" does not notice that all idle connections are dead", func(t *testing.T) {
			dead(t)
			for i := range 2 * limit {
				if err := run(); err != nil {
					t.Errorf("call %d: %v", i+1, err)
				}
			}
			f.usable(t)
		})
	}

	t.Run("nor do as many callers at once as there are connections", func(t *testing.T) {
		dead(t)
		failed := make(chan error)
		for range limit {
			go func() {
				_, err := f.ExecContext(ctx, "select pg_sleep(0.05)")
				failed <- err
			}()
		}
		for range limit {
			if err := <-failed; err != nil {
				t.Error(err)
			}
		}
		f.usable(t)
	})

	t.Run("a transaction that loses its backend fails, keeps nothing, and the pool goes on", func(t *testing.T) {
		tx, err := f.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if _, err := tx.Exec("insert into t values (1)"); err != nil {
			t.Fatal(err)
		}
		f.kill(t, backend(t, tx))
		if _, err := tx.Exec("insert into t values (1)"); err == nil {
			t.Error("a statement has no error")
		}
		if err := tx.Commit(); err == nil {
			t.Error("the commit has no error")
		}
		if n := scalar[int](t, f, "select count(*) from t"); n != 0 {
			t.Errorf("%d rows are there", n)
		}
		f.usable(t)
	})

	t.Run("a Conn that loses its backend fails, and the pool goes on", func(t *testing.T) {
		conn := f.hold(t, 1)[0]
		f.kill(t, backend(t, conn))
		if _, err := conn.ExecContext(ctx, "select 1"); err == nil {
			t.Error("no error: its session is another one now")
		}
		conn.Close()
		f.usable(t)
	})

	t.Run("a statement that loses its backend while it runs fails, and is not run again", func(t *testing.T) {
		failed := make(chan error, 1)
		go func() {
			_, err := f.ExecContext(ctx, "select pg_sleep(1)")
			failed <- err
		}()
		const asleep = "application_name = 'gated' and wait_event = 'PgSleep'"
		eventually(t, "it runs", func() bool { return f.count(t, asleep) == 1 })
		f.kill(t, scalar[int](t, f.observer, "select pid from pg_stat_activity where datname = current_database() and "+asleep))
		err := <-failed
		if diff.Killed == "" && !errors.Is(err, poolgate.ErrOutcomeUnknown) || state(err) != diff.Killed ||
			errors.Is(err, driver.ErrBadConn) {
			t.Errorf("got %v", err)
		}
		f.usable(t)
	})

	t.Run("rows that lose their backend end with an error", func(t *testing.T) {
		conn := f.hold(t, 1)[0]
		pid := backend(t, conn)
		rows, err := conn.QueryContext(ctx, "select n, repeat('x', 100) from generate_series(1, 1000000) n")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		f.kill(t, pid)
		n := 1
		for rows.Next() {
			n++
		}
		if rows.Err() == nil || n == 1_000_000 {
			t.Errorf("%d rows, then %v", n, rows.Err())
		}
		rows.Close()
		conn.Close()
		f.usable(t)
	})

	t.Run("a statement outlives the connections that it was prepared on", func(t *testing.T) {
		stmt, err := f.PrepareContext(ctx, "select $1::int")
		if err != nil {
			t.Fatal(err)
		}
		defer stmt.Close()
		for i := range 3 {
			dead(t)
			for range limit {
				var n int
				if err := stmt.QueryRow(i).Scan(&n); err != nil || n != i {
					t.Errorf("got %d, %v", n, err)
				}
			}
		}
	})
}

// testSessions has a Conn keep its session, and others not see it.
func testSessions(t *testing.T, d Driver) {
	f := open(t, d, 2)
	ctx := context.Background() // whose end cannot close anything
	conn := f.hold(t, 1)[0]
	pid := backend(t, conn)
	for _, s := range []string{"create temp table mine (v int)", "insert into mine values (1), (2)", "set application_name = 'gated by name'"} {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	for range 10 {
		if other := backend(t, f); other == pid {
			t.Error("the pool gives the session to others")
		}
		if _, err := f.ExecContext(ctx, "select * from mine"); state(err) != "42P01" {
			t.Errorf("others see its table: %v", err)
		}
		if n := scalar[int](t, conn, "select count(*) from mine"); n != 2 {
			t.Errorf("its table has %d rows", n)
		}
	}
	if n := f.count(t, "application_name = 'gated by name' and pid = "+strconv.Itoa(pid)); n != 1 {
		t.Error("its setting has gone")
	}
	tx, err := conn.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSerializable})
	if err != nil {
		t.Fatal(err)
	}
	if got := backend(t, tx); got != pid {
		t.Error("its transaction is on another backend")
	}
	if err := tx.Rollback(); err != nil {
		t.Error(err)
	}
	if _, err := conn.ExecContext(ctx, "reset application_name"); err != nil {
		t.Error(err)
	}
	if err := conn.Close(); err != nil {
		t.Error(err)
	}
	if _, err := conn.ExecContext(ctx, "select 1"); err != sql.ErrConnDone {
		t.Errorf("after Close: %v", err)
	}
	f.usable(t)
}
