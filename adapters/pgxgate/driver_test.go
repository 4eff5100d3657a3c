package pgxgate

import (
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
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
	own, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || own.Code != "23514" || own.ConstraintName != "positive" || own.TableName != "t" || own.Severity != "ERROR" {
		t.Errorf("got %#v", err)
	}
	if own != err {
		t.Errorf("it is wrapped: %#v", err)
	}
}

// What the package documentation says about a table that is altered: each
// connection fails once, and only by itself.
func TestAlteredTableFailsOnceForEachConnection(t *testing.T) {
	db := open(t)
	if _, err := db.Exec("create table t (a int); insert into t values (1)"); err != nil {
		t.Fatal(err)
	}
	query := func() error {
		rows, err := db.Query("select * from t")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
		}
		return rows.Err()
	}
	if err := query(); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Exec("alter table t add b text"); err != nil {
		t.Fatal(err)
	}
	own, _ := errors.AsType[*pgconn.PgError](query())
	if own == nil || own.Code != "0A000" {
		t.Errorf("got %v", own)
	}
	if err := query(); err != nil {
		t.Errorf("a second time: %v", err)
	}
}

func TestConnectTimeout(t *testing.T) {
	t.Setenv("PGCONNECT_TIMEOUT", "")
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
		t.Errorf("from the environment: %v, %v", config, err)
	}
}

func TestHostWithAnAtSign(t *testing.T) {
	for _, name := range []string{
		"postgres://user:pass@word@host/db",
		"postgres://user:password@host,word@other/db",
		"host=pass@word",
	} {
		if _, err := Open(name, poolgate.Config{Gate: gate.Config{Limit: 1}}); err == nil {
			t.Errorf("%s is not refused", name)
		}
	}
}
