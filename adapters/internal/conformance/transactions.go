package conformance

import (
	"context"
	"database/sql"
	"errors"
	"testing"
)

func testTransactions(t *testing.T, d Driver) {
	f, diff := open(t, d, 2), differencesOf(t, d)
	ctx := t.Context()
	f.must(t, "create table t (id int primary key)")
	has := func(t *testing.T, id int) bool {
		t.Helper()
		return scalar[bool](t, f, "select exists (select from t where id = $1)", id)
	}

	for level, name := range map[sql.IsolationLevel]string{
		sql.LevelDefault:         "read committed",
		sql.LevelReadUncommitted: "read uncommitted",
		sql.LevelReadCommitted:   "read committed",
		sql.LevelRepeatableRead:  "repeatable read",
		sql.LevelSerializable:    "serializable",
	} {
		t.Run(level.String()+" is set on the server", func(t *testing.T) {
			tx, err := f.BeginTx(ctx, &sql.TxOptions{Isolation: level})
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			if got := scalar[string](t, tx, "show transaction_isolation"); got != name {
				t.Errorf("it is %s, want %s", got, name)
			}
			if got := scalar[string](t, tx, "show transaction_read_only"); got != "off" {
				t.Errorf("read only is %s", got)
			}
		})
	}

	t.Run("snapshot is repeatable read, or refused", func(t *testing.T) {
		tx, err := f.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelSnapshot})
		if !diff.Snapshot {
			if err == nil {
				t.Error("it is not refused")
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if got := scalar[string](t, tx, "show transaction_isolation"); got != "repeatable read" {
			t.Errorf("it is %s", got)
		}
	})

	t.Run("a level that PostgreSQL lacks is refused, and the pool goes on", func(t *testing.T) {
		for _, level := range []sql.IsolationLevel{sql.LevelLinearizable, sql.LevelWriteCommitted, 99} {
			if _, err := f.BeginTx(ctx, &sql.TxOptions{Isolation: level}); err == nil {
				t.Errorf("%v is not refused", level)
			}
		}
		f.usable(t)
	})

	t.Run("read only refuses a write", func(t *testing.T) {
		tx, err := f.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		if _, err := tx.Exec("insert into t values (1)"); state(err) != "25006" {
			t.Errorf("got %v", err)
		}
	})

	t.Run("commit keeps, rollback does not", func(t *testing.T) {
		for id, end := range map[int]func(*sql.Tx) error{10: (*sql.Tx).Commit, 11: (*sql.Tx).Rollback} {
			tx, err := f.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec("insert into t values ($1)", id); err != nil {
				t.Fatal(err)
			}
			if has(t, id) {
				t.Error("the row is seen from outside before the end")
			}
			if err := end(tx); err != nil {
				t.Fatal(err)
			}
			if has(t, id) != (id == 10) {
				t.Errorf("row %d is there: %v", id, has(t, id))
			}
			if err := tx.Commit(); !errors.Is(err, sql.ErrTxDone) {
				t.Errorf("a second end: %v", err)
			}
		}
	})

	t.Run("commit after an error is an error, and keeps nothing", func(t *testing.T) {
		tx, err := f.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec("insert into t values (20)"); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec("select 1 / 0"); state(err) != "22012" {
			t.Errorf("got %v", err)
		}
		if _, err := tx.Exec("select 1"); state(err) != "25P02" {
			t.Errorf("got %v", err)
		}
		if err := tx.Commit(); err == nil {
			t.Error("the commit has no error")
		}
		if has(t, 20) {
			t.Error("the row is there")
		}
	})

	t.Run("savepoints", func(t *testing.T) {
		tx, err := f.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		for _, s := range []string{
			"insert into t values (30)", "savepoint s", "insert into t values (31)", "rollback to s", "insert into t values (32)",
		} {
			if _, err := tx.Exec(s); err != nil {
				t.Fatal(err)
			}
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		if !has(t, 30) || has(t, 31) || !has(t, 32) {
			t.Error("other rows are there than 30 and 32")
		}
	})

	t.Run("a transaction whose context ends is rolled back, and its permit comes back", func(t *testing.T) {
		f.settled(t)
		cancelled, cancel := context.WithCancel(ctx)
		tx, err := f.BeginTx(cancelled, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec("insert into t values (40)"); err != nil {
			t.Fatal(err)
		}
		if got := f.Gate().Stats().InFlight; got != 1 {
			t.Errorf("%d permits in flight", got)
		}
		cancel()
		f.settled(t)
		if err := tx.Commit(); !errors.Is(err, context.Canceled) && !errors.Is(err, sql.ErrTxDone) {
			t.Errorf("Commit: %v", err)
		}
		eventually(t, "nobody is in a transaction", func() bool {
			return f.count(t, "application_name = 'gated' and xact_start is not null") == 0
		})
		if has(t, 40) {
			t.Error("the row is there")
		}
		f.usable(t)
	})

	t.Run("a BEGIN by hand does not reach the next borrower", func(t *testing.T) {
		one := open(t, d, 1)
		one.must(t, "create table t (id int)", "begin", "insert into t values (1)", "begin")
		one.must(t, "insert into t values (2)")
		eventually(t, "no connection in a transaction lies in the pool", func() bool {
			return one.count(t, "application_name = 'gated' and xact_start is not null") == 0
		})
		if n := scalar[int](t, one.observer, "select count(*) from t"); n != 2 {
			t.Errorf("%d rows are there, want 2", n)
		}
		conn, err := one.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range []string{"begin", "insert into t values (3)"} {
			if _, err := conn.ExecContext(ctx, s); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := conn.ExecContext(ctx, "select 1 / 0"); state(err) != "22012" {
			t.Errorf("got %v", err)
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		one.must(t, "insert into t values (4)")
		if n := scalar[int](t, one.observer, "select count(*) from t"); n != 3 {
			t.Errorf("%d rows are there, want 3", n)
		}
	})
}

// testConflicts has transactions fail by what others do, which programs
// recognise by the SQLSTATE to try again.
func testConflicts(t *testing.T, d Driver) {
	f := open(t, d, 2)
	ctx := t.Context()
	f.must(t, "create table t (id int primary key, n int)", "insert into t values (1, 0), (2, 0)")
	begin := func(level sql.IsolationLevel) *sql.Tx {
		tx, err := f.BeginTx(ctx, &sql.TxOptions{Isolation: level})
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	must := func(tx *sql.Tx, statement string) {
		t.Helper()
		if _, err := tx.Exec(statement); err != nil {
			t.Fatal(err)
		}
	}

	t.Run("an update of what another has updated is 40001", func(t *testing.T) {
		a, b := begin(sql.LevelRepeatableRead), begin(sql.LevelRepeatableRead)
		defer b.Rollback()
		must(a, "update t set n = n + 1 where id = 1")
		must(b, "select n from t")
		if err := a.Commit(); err != nil {
			t.Fatal(err)
		}
		if _, err := b.Exec("update t set n = n + 1 where id = 1"); state(err) != "40001" {
			t.Errorf("got %v", err)
		}
	})

	t.Run("write skew is 40001, by the statement or by the commit", func(t *testing.T) {
		a, b := begin(sql.LevelSerializable), begin(sql.LevelSerializable)
		defer b.Rollback()
		for _, tx := range []*sql.Tx{a, b} {
			must(tx, "select sum(n) from t")
		}
		must(a, "update t set n = n + 1 where id = 1")
		must(b, "update t set n = n + 1 where id = 2")
		if err := a.Commit(); err != nil {
			t.Fatal(err)
		}
		if err := b.Commit(); state(err) != "40001" {
			t.Errorf("got %v", err)
		}
	})

	t.Run("one of two that wait for each other gets 40P01, the other goes on", func(t *testing.T) {
		a, b := begin(sql.LevelDefault), begin(sql.LevelDefault)
		defer a.Rollback()
		defer b.Rollback()
		for _, tx := range []*sql.Tx{a, b} {
			must(tx, "set local deadlock_timeout = '20ms'")
		}
		must(a, "update t set n = 5 where id = 1")
		must(b, "update t set n = 6 where id = 2")
		other := make(chan error, 1)
		go func() {
			_, err := a.Exec("update t set n = 5 where id = 2")
			if err != nil {
				a.Rollback()
			}
			other <- err
		}()
		_, err := b.Exec("update t set n = 6 where id = 1")
		if err != nil {
			b.Rollback()
		}
		first, second := state(err), state(<-other)
		if first+second != "40P01" {
			t.Errorf("got %q and %q", first, second)
		}
	})
	f.usable(t)
}
