package pgserver

import (
	"testing"

	"github.com/jackc/pgx/v5"
)

func TestStandby(t *testing.T) {
	ctx := t.Context()
	primary := OwnForTest(t)
	if err := execute(primary.DSN(), "CREATE TABLE t (id int)"); err != nil {
		t.Fatal(err)
	}
	standby := primary.StandbyForTest(t)
	if err := execute(standby.DSN(), "INSERT INTO t VALUES (0)"); err == nil {
		t.Error("a standby takes writes")
	}
	if err := execute(primary.DSN(), "INSERT INTO t VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	count := func() (n int) {
		t.Helper()
		conn, err := pgx.Connect(ctx, standby.DSN())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close(ctx)
		if err := conn.QueryRow(ctx, "SELECT count(*) FROM t").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	if err := standby.Received(ctx, primary); err != nil {
		t.Fatal(err)
	}
	if n := count(); n != 1 {
		t.Errorf("the standby has %d rows, want 1", n)
	}
	if err := execute(primary.DSN(), "INSERT INTO t VALUES (2)"); err != nil {
		t.Fatal(err)
	}
	if err := primary.Close(); err != nil { // which hands everything over first
		t.Fatal(err)
	}
	if err := standby.Promote(ctx); err != nil {
		t.Fatal(err)
	}
	if err := execute(standby.DSN(), "INSERT INTO t VALUES (3)"); err != nil {
		t.Error(err)
	}
	if n := count(); n != 3 {
		t.Errorf("there are %d rows, want 3", n)
	}
}
