package pqgate

import (
	"context"
	"database/sql/driver"
	"errors"
	"testing"
	"time"

	"github.com/lib/pq"
	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func open(t *testing.T) *poolgate.DB {
	t.Helper()
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	ignored := goleak.IgnoreCurrent()
	db, err := Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 2}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if s := db.Gate().Stats(); s.InFlight != 0 || s.Waiting != 0 || db.Stats().InUse != 0 {
			t.Errorf("something is held: %+v, %+v", s, db.Stats())
		}
		if err := db.Close(); err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t, ignored)
	})
	return db
}

func TestErrorIsTheDriversOwn(t *testing.T) {
	db := open(t)
	if _, err := db.Exec("create table t (id int constraint positive check (id > 0))"); err != nil {
		t.Fatal(err)
	}
	_, err := db.Exec("insert into t values (0)")
	own, ok := errors.AsType[*pq.Error](err)
	if !ok || own.Code != "23514" || own.Constraint != "positive" || own.Table != "t" || own.Severity != "ERROR" {
		t.Errorf("got %#v", err)
	}
	if own != err {
		t.Errorf("it is wrapped: %#v", err)
	}
}

func TestNoticeHandler(t *testing.T) {
	db := open(t)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var got string
	err = poolgate.Raw(conn, func(c *Conn) error {
		pq.SetNoticeHandler(c.Raw(), func(notice *pq.Error) { got = notice.Message })
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "do $$ begin raise notice 'hello'; end $$"); err != nil {
		t.Fatal(err)
	}
	if got != "hello" {
		t.Errorf("the notice was %q", got)
	}
}

// connect returns one connection, without a pool.
func connect(t testing.TB) *Conn {
	t.Helper()
	connector, err := NewConnector(pgserver.ForTest(t).DSN())
	if err != nil {
		t.Fatal(err)
	}
	c, err := connector.Connect(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c.(*Conn)
}

func (c *Conn) exec(t testing.TB, statement string) {
	t.Helper()
	if _, err := c.ExecContext(context.Background(), statement, nil); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

func TestIsValid(t *testing.T) {
	t.Run("outside a transaction it is, and the server is not asked", func(t *testing.T) {
		c, observer := connect(t), open(t)
		c.exec(t, "select 'the last one'")
		if !c.IsValid() {
			t.Error("it is not valid")
		}
		rows, err := c.QueryContext(context.Background(), "select pg_backend_pid()", nil)
		if err != nil {
			t.Fatal(err)
		}
		pid := make([]driver.Value, 1)
		if err := rows.Next(pid); err != nil {
			t.Fatal(err)
		}
		rows.Close()
		for range 3 {
			if !c.IsValid() {
				t.Error("it is not valid")
			}
		}
		var last string
		if err := observer.QueryRow("select query from pg_stat_activity where pid = $1", pid[0]).Scan(&last); err != nil {
			t.Fatal(err)
		}
		if last != "select pg_backend_pid()" {
			t.Errorf("the server was asked %q", last)
		}
	})

	for name, statements := range map[string][]string{
		"inside a transaction":        {"begin"},
		"inside one that has written": {"begin", "create temp table t ()"},
		"inside one in a savepoint":   {"begin", "savepoint s"},
	} {
		t.Run(name+" it is not", func(t *testing.T) {
			c := connect(t)
			for _, s := range statements {
				c.exec(t, s)
			}
			if c.IsValid() {
				t.Error("it is valid")
			}
		})
	}

	t.Run("inside a transaction that has failed it is not", func(t *testing.T) {
		c := connect(t)
		c.exec(t, "begin")
		if _, err := c.ExecContext(context.Background(), "select 1 / 0", nil); err == nil {
			t.Error("no error")
		}
		if c.IsValid() {
			t.Error("it is valid")
		}
	})

	t.Run("after a transaction it is", func(t *testing.T) {
		c := connect(t)
		for _, s := range []string{"begin", "select 1", "commit", "begin", "rollback"} {
			c.exec(t, s)
		}
		if !c.IsValid() {
			t.Error("it is not valid")
		}
	})

	t.Run("after it was closed it is not", func(t *testing.T) {
		c := connect(t)
		c.exec(t, "begin")
		c.socket.Close()
		if c.IsValid() {
			t.Error("it is valid")
		}
	})
}

func BenchmarkIsValid(b *testing.B) {
	c := connect(b)
	b.ReportAllocs()
	for b.Loop() {
		if !c.IsValid() {
			b.Fatal("it is not valid")
		}
	}
}

func TestConnectTimeout(t *testing.T) {
	for name, want := range map[string]time.Duration{
		"host=a":                   DefaultConnectTimeout,
		"host=a connect_timeout=0": DefaultConnectTimeout,
		"host=a connect_timeout=7": 7 * time.Second,
	} {
		config, err := parse(name)
		if err != nil {
			t.Fatal(err)
		}
		if config.ConnectTimeout != want {
			t.Errorf("%s: the timeout is %v, want %v", name, config.ConnectTimeout, want)
		}
	}
	t.Setenv("PGCONNECT_TIMEOUT", "9")
	if config, err := parse("host=a"); err != nil || config.ConnectTimeout != 9*time.Second {
		t.Errorf("from the environment: %v, %v", config.ConnectTimeout, err)
	}
}

// A prepared statement that is canceled leaves its connection good, for lib/pq's
// own too, and for longer than it had to answer.
func TestRawAfterACanceledStatement(t *testing.T) {
	c := connect(t)
	stmt, err := c.PrepareContext(t.Context(), "select pg_sleep(60)")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(10*time.Millisecond, cancel)
	if _, err := stmt.(driver.StmtExecContext).ExecContext(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if c.dead() {
		t.Skip("the server has answered too late to keep the connection")
	}
	if _, err := c.Raw().(driver.ExecerContext).ExecContext(t.Context(), "select pg_sleep(0.3)", nil); err != nil {
		t.Error(err)
	}
	if !c.IsValid() {
		t.Error("the connection is not valid")
	}
}
