package conformance

import (
	"context"
	"database/sql"
	"fmt"
	"testing"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// testResets leaves things behind on a connection, and looks what the next
// caller finds of them. docs/connections.md has the table.
func testResets(t *testing.T, d Driver) {
	dirt := []struct{ name, leave, found string }{
		{"SET", "set work_mem = '7MB'", "select current_setting('work_mem') = '7MB'"},
		{"SET search_path", "set search_path = pg_catalog", "select current_setting('search_path') = 'pg_catalog'"},
		{"SET ROLE", "set role pg_monitor", "select current_user = 'pg_monitor'"},
		{"SET SESSION AUTHORIZATION", "set session authorization pg_monitor", "select session_user = 'pg_monitor'"},
		{"a temporary table", "create temporary table left_behind (v int)", "select to_regclass('pg_temp.left_behind') is not null"},
		{"LISTEN", "listen left_behind", "select count(*) > 0 from pg_listening_channels()"},
		{"an advisory lock", "select pg_advisory_lock(7)", "select count(*) > 0 from pg_locks where locktype = 'advisory' and pid = pg_backend_pid()"},
		{"PREPARE", "prepare \"left behind\" as select 1", "select count(*) > 0 from pg_prepared_statements where from_sql"},
		{"a cursor WITH HOLD", "declare left_behind cursor with hold for select 1", "select count(*) > 0 from pg_cursors where name = 'left_behind'"},
	}
	for _, test := range []struct {
		mode                 poolgate.Reset
		afterPool, afterConn bool // what is found
	}{
		{poolgate.ResetNever, true, true},
		{poolgate.ResetConns, true, false},
		{poolgate.ResetAlways, false, false},
	} {
		f := openConfig(t, d, poolgate.Config{Gate: gate.Config{Limit: 1}, Reset: test.mode})
		for _, one := range dirt {
			t.Run(fmt.Sprintf("%v: %s", test.mode, one.name), func(t *testing.T) {
				f.SetMaxIdleConns(0) // a new connection
				f.SetMaxIdleConns(1)
				pid := backend(t, f)
				prepared := "select $1::int /* stays prepared */"
				stmt, err := f.Prepare(prepared)
				if err != nil {
					t.Fatal(err)
				}
				defer stmt.Close()
				f.must(t, one.leave)
				if found := scalar[bool](t, f, one.found); found != test.afterPool {
					t.Errorf("after the pool's Exec it is found: %v", found)
				}
				conn := f.hold(t, 1)[0]
				leaveAndLook(t, conn, one.leave, one.found)
				conn.Close()
				if found := scalar[bool](t, f, one.found); found != test.afterConn {
					t.Errorf("after a Conn it is found: %v", found)
				}
				conn = f.hold(t, 1)[0]
				if err := d.Raw(conn, func(int) error { return nil }); err != nil {
					t.Fatal(err)
				}
				conn.Close()

				// It is the same connection, with what it was opened with.
				if now := backend(t, f); now != pid {
					t.Errorf("another backend")
				}
				if test.afterConn {
					return
				}
				if got := scalar[string](t, f, "select current_setting('application_name') || ' ' || current_setting('timezone')"); got != "gated UTC" {
					t.Errorf("the settings of the DSN are %q", got)
				}
				var n int
				if err := stmt.QueryRow(7).Scan(&n); err != nil || n != 7 {
					t.Errorf("the prepared statement returns %d, %v", n, err)
				}
				if n := scalar[int](t, f, "select count(*) from pg_prepared_statements where statement = '"+prepared+"'"); n != 1 {
					t.Errorf("it is prepared %d times", n)
				}
			})
		}
	}

	t.Run("a connection that cannot be reset is closed", func(t *testing.T) {
		f := openConfig(t, d, poolgate.Config{Gate: gate.Config{Limit: 1}, Reset: poolgate.ResetConns})
		conn := f.hold(t, 1)[0]
		pid := backend(t, conn)
		if _, err := conn.ExecContext(t.Context(), "begin"); err != nil {
			t.Fatal(err)
		}
		conn.ExecContext(t.Context(), "select 1/0") // the transaction has failed, and every statement in it does
		conn.Close()
		f.settled(t)
		f.gone(t, pid)
		f.usable(t)
	})

	t.Run("what is read only is reset too", func(t *testing.T) {
		f := openConfig(t, d, poolgate.Config{Gate: gate.Config{Limit: 1}, Reset: poolgate.ResetAlways})
		view := f.OutOfBandReadOnly()
		pid := backend(t, view)
		if _, err := view.Exec("set work_mem = '7MB'"); err != nil {
			t.Fatal(err)
		}
		if scalar[bool](t, view, "select current_setting('work_mem') = '7MB'") {
			t.Error("it was not")
		}
		if now := backend(t, view); now != pid {
			t.Error("another backend")
		}
	})

	t.Run("the end of a context does not wait for it", func(t *testing.T) {
		f := openConfig(t, d, poolgate.Config{Gate: gate.Config{Limit: 1}, Reset: poolgate.ResetAlways})
		ctx, cancel := context.WithCancel(t.Context())
		tx, err := f.BeginTx(ctx, &sql.TxOptions{})
		if err != nil {
			t.Fatal(err)
		}
		backend(t, tx)
		cancel()
		f.settled(t)
		f.usable(t)
	})
}

func leaveAndLook(t *testing.T, conn *sql.Conn, leave, found string) {
	t.Helper()
	ctx := t.Context()
	// What is left of the pool's Exec would be in the way of some.
	for _, s := range []string{"reset session authorization", "drop table if exists pg_temp.left_behind", "close all"} {
		if _, err := conn.ExecContext(ctx, s); err != nil {
			t.Fatal(err)
		}
	}
	if scalar[int](t, conn, "select count(*) from pg_prepared_statements where from_sql") > 0 {
		if _, err := conn.ExecContext(ctx, `deallocate "left behind"`); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := conn.ExecContext(ctx, leave); err != nil {
		t.Fatal(err)
	}
	if !scalar[bool](t, conn, found) {
		t.Errorf("%s leaves nothing", leave)
	}
}
