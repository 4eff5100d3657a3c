package pgxgate_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/internal/operation"
	"github.com/poolgate/poolgate/internal/testing/network"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

// A BEGIN that is deferred travels with the first statement, whatever that is,
// and the transaction is what it would be otherwise.
func TestDeferredBegin(t *testing.T) {
	direct := pgserver.ForTest(t).CreateDatabase(t)
	net, dsn := network.Between(t, direct, 0)
	query := func(conn *pgxgate.Conn, query string, args ...any) ([]any, error) {
		rows, err := conn.QueryContext(t.Context(), query, named(args...))
		if err != nil {
			return nil, err
		}
		return readAll(t, rows), nil
	}
	exec := func(conn *pgxgate.Conn, query string, args ...any) error {
		_, err := conn.ExecContext(t.Context(), query, named(args...))
		return err
	}
	insert := func(conn *pgxgate.Conn) error { return exec(conn, "INSERT INTO numbers VALUES ($1)", 1) }
	inTx := func(conn *pgxgate.Conn) error {
		n, err := query(conn, "SELECT count(*) FROM pg_stat_activity WHERE pid = pg_backend_pid() AND xact_start < now() + interval '1 hour'")
		if err == nil && fmt.Sprint(n) != "[1]" {
			err = fmt.Errorf("%v transactions", n)
		}
		return err
	}
	firsts := []struct {
		name  string
		first func(*pgxgate.Conn) error
		alone bool // BEGIN takes a round trip of its own
	}{
		{"Exec", insert, false},
		{"Query", func(conn *pgxgate.Conn) error { _, err := query(conn, "SELECT $1::int", 1); return err }, false},
		{"Query without arguments", inTx, false},
		{"Query that is empty", func(conn *pgxgate.Conn) error { _, err := query(conn, ""); return err }, true},
		{"Exec of several", func(conn *pgxgate.Conn) error { return exec(conn, "SELECT 1; SELECT 2") }, true},
		{"Exec in another mode", func(conn *pgxgate.Conn) error {
			return exec(conn, "SELECT $1::int", pgx.QueryExecModeSimpleProtocol, 1)
		}, true},
		{"Ping", func(conn *pgxgate.Conn) error { return conn.Ping(t.Context()) }, true},
		{"Prepare", func(conn *pgxgate.Conn) error {
			stmt, err := conn.PrepareContext(t.Context(), "SELECT 1 AS prepared")
			if err != nil {
				return err
			}
			return stmt.Close()
		}, false},
	}
	for _, mode := range append(pipelineModes, "simple_protocol") {
		t.Run(mode, func(t *testing.T) {
			conn := connect(t, dsn+"&default_query_exec_mode="+mode)
			if err := exec(conn, "CREATE TABLE IF NOT EXISTS numbers (n int); TRUNCATE numbers"); err != nil {
				t.Fatal(err)
			}
			count := func() int64 {
				t.Helper()
				n, err := query(conn, "SELECT count(*) FROM numbers")
				if err != nil {
					t.Fatal(err)
				}
				return n[0].(int64)
			}
			begin := func(ctx context.Context, opts driver.TxOptions) driver.Tx {
				t.Helper()
				tx, err := conn.BeginTx(ctx, opts)
				if err != nil {
					t.Fatal(err)
				}
				return tx
			}
			late := operation.Deferred(t.Context(), operation.Begin)

			for _, f := range firsts {
				// whole returns the round trips of a transaction with f first.
				whole := func(ctx context.Context) int {
					t.Helper()
					before := net.RoundTrips()
					tx := begin(ctx, driver.TxOptions{})
					if err := f.first(conn); err != nil {
						t.Errorf("%s: %v", f.name, err)
					}
					if err := insert(conn); err != nil {
						t.Errorf("%s: afterwards: %v", f.name, err)
					}
					if err := tx.Rollback(); err != nil {
						t.Error(err)
					}
					return net.RoundTrips() - before
				}
				whole(t.Context()) // connects and prepares
				want := whole(t.Context())
				if !f.alone && mode != "simple_protocol" {
					want--
				}
				for range 2 {
					if got := whole(late); got != want {
						t.Errorf("%s: %d round trips, want %d", f.name, got, want)
					}
				}
				if n := count(); n != 0 {
					t.Fatalf("%s: %d rows after ROLLBACK", f.name, n)
				}
			}

			t.Run("a transaction without a statement is nothing", func(t *testing.T) {
				before := net.RoundTrips()
				if err := begin(late, driver.TxOptions{}).Commit(); err != nil {
					t.Error(err)
				}
				if err := begin(late, driver.TxOptions{}).Rollback(); err != nil {
					t.Error(err)
				}
				if n := net.RoundTrips() - before; n != 0 && mode != "simple_protocol" {
					t.Errorf("%d round trips", n)
				}
			})

			t.Run("it has its options", func(t *testing.T) {
				for isolation, want := range map[int]string{0: "read committed", 1: "read uncommitted", 2: "read committed", 4: "repeatable read", 6: "serializable"} {
					tx := begin(late, driver.TxOptions{Isolation: driver.IsolationLevel(isolation), ReadOnly: true})
					got, err := query(conn, "SELECT current_setting('transaction_isolation'), current_setting('transaction_read_only')")
					if fmt.Sprint(got) != fmt.Sprintf("[%s on]", want) || err != nil {
						t.Errorf("got %v, %v", got, err)
					}
					if err := tx.Commit(); err != nil {
						t.Error(err)
					}
				}
				if _, err := conn.BeginTx(late, driver.TxOptions{Isolation: 7}); err == nil {
					t.Error("it took an isolation level that there is not")
				}
			})

			t.Run("a first statement that fails ends it", func(t *testing.T) {
				for name, first := range map[string]func() error{
					"at the server":      func() error { return exec(conn, "INSERT INTO numbers VALUES (1 / $1::int)", 0) },
					"when it is parsed":  func() error { return exec(conn, "INSERT INTO none VALUES ($1::int)", 0) },
					"without arguments":  func() error { return exec(conn, "INSERT INTO none VALUES (1)") },
					"with an early stop": func() error { _, err := query(conn, "SELECT 1 / (SELECT 0)"); return err },
				} {
					want := begin(t.Context(), driver.TxOptions{})
					failed := first()
					want.Rollback()
					tx := begin(late, driver.TxOptions{})
					if err := first(); fmt.Sprint(err) != fmt.Sprint(failed) || err == nil {
						t.Errorf("%s: error %v, want %v", name, err, failed)
					}
					if err := insert(conn); state(err) != "25P02" {
						t.Errorf("%s: error %v", name, err)
					}
					if err := tx.Commit(); !errors.Is(err, pgx.ErrTxCommitRollback) {
						t.Errorf("%s: COMMIT returned %v", name, err)
					}
				}
			})

			t.Run("a first statement that is not sent does not", func(t *testing.T) {
				tx := begin(late, driver.TxOptions{})
				if err := exec(conn, "INSERT INTO numbers VALUES ($1::int)", make(chan int)); err == nil {
					t.Error("it has sent a channel")
				}
				ended, cancel := context.WithCancel(t.Context())
				cancel()
				if _, err := conn.ExecContext(ended, "INSERT INTO numbers VALUES ($1)", named(1)); !errors.Is(err, context.Canceled) {
					t.Errorf("error %v", err)
				}
				if err := insert(conn); err != nil {
					t.Error(err)
				}
				if err := tx.Commit(); err != nil {
					t.Error(err)
				}
				for _, end := range []func(driver.Tx) error{driver.Tx.Commit, driver.Tx.Rollback} {
					tx := begin(late, driver.TxOptions{})
					exec(conn, "INSERT INTO numbers VALUES ($1::int)", make(chan int))
					if err := end(tx); err != nil {
						t.Error(err)
					}
				}
				if n := count(); n != 1 || !conn.IsValid() {
					t.Errorf("%d rows, and the connection is valid: %v", n, conn.IsValid())
				}
			})

			t.Run("a context that defers BEGIN defers nothing else", func(t *testing.T) {
				tx := begin(late, driver.TxOptions{})
				if _, err := conn.ExecContext(late, "nonsense", nil); state(err) != "42601" {
					t.Errorf("error %v", err)
				}
				if err := tx.Rollback(); err != nil {
					t.Error(err)
				}
			})

			if mode == "simple_protocol" { // nothing is deferred
				return
			}
			t.Run("a deferred statement that fails, fails the next, which is not executed", func(t *testing.T) {
				tx := begin(late, driver.TxOptions{})
				if _, err := conn.ExecContext(operation.Deferred(t.Context(), "nonsense"), "nonsense", nil); err != nil {
					t.Fatal(err)
				}
				if err := insert(conn); state(err) != "42601" {
					t.Errorf("error %v", err)
				}
				if err := insert(conn); state(err) != "25P02" {
					t.Errorf("error %v", err)
				}
				if err := tx.Rollback(); err != nil {
					t.Error(err)
				}
			})

			t.Run("if BEGIN fails, nothing is executed", func(t *testing.T) {
				for _, first := range []func() error{func() error { return insert(conn) }, func() error { return exec(conn, "INSERT INTO numbers VALUES (1)") }} {
					for _, end := range []func(driver.Tx) error{driver.Tx.Commit, driver.Tx.Rollback} {
						before := count()
						if _, err := conn.ExecContext(operation.Deferred(t.Context(), "nonsense"), "nonsense", nil); err != nil { // in the way of BEGIN
							t.Fatal(err)
						}
						tx := begin(late, driver.TxOptions{})
						if err := first(); state(err) != "42601" {
							t.Errorf("error %v", err)
						}
						if err := insert(conn); err == nil {
							t.Error("a statement was executed outside of the transaction")
						}
						end(tx)
						if n := count(); n != before {
							t.Errorf("%d rows were added", n-before)
						}
						if !conn.IsValid() {
							t.Error("the connection is not valid")
						}
					}
				}
			})

			t.Run("notices are no answers", func(t *testing.T) {
				tx := begin(late, driver.TxOptions{})
				for range 3 { // each is a warning
					if _, err := conn.ExecContext(operation.Deferred(t.Context(), "begin"), "begin", nil); err != nil {
						t.Fatal(err)
					}
				}
				got, err := query(conn, "SELECT repeat($1, 20000) FROM generate_series(1, 3)", "x")
				if err != nil || len(got) != 3 || len(got[2].(string)) != 20_000 {
					t.Errorf("%d rows, %v", len(got), err)
				}
				if err := tx.Commit(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

func state(err error) string {
	if said, ok := errors.AsType[*pgconn.PgError](err); ok {
		return said.Code
	}
	return ""
}
