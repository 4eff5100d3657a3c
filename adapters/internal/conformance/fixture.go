package conformance

import (
	"context"
	"database/sql"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/internal/sqlstate"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// patience is how long the suite waits for something that should happen soon.
// It is long, for the machine may be busy, and nothing waits for it to pass.
const patience = 20 * time.Second

// fixture is one test's gated pool, in a database of its own.
type fixture struct {
	*poolgate.DB
	driver   Driver
	dsn      string
	observer *sql.DB // a bare pool that passes no gate, to look from outside
}

// open opens a gated pool for t. When t ends it makes sure that nothing is
// left: no permit, no waiter, no connection in use and, after Close, none on the
// server, and no goroutine.
func open(t *testing.T, d Driver, limit int) *fixture {
	t.Helper()
	return openConfig(t, d, poolgate.Config{Gate: gate.Config{Limit: limit}})
}

func openConfig(t *testing.T, d Driver, config poolgate.Config) *fixture {
	t.Helper()
	dsn := database(t)
	db, err := d.Open(withOption(dsn, "application_name", "gated"), config)
	if err != nil {
		t.Fatal(err)
	}
	return watch(t, d, dsn, db)
}

// Close closes the pool.
func (f *fixture) Close() error {
	if c, ok := f.driver.(interface{ Close(*poolgate.DB) error }); ok {
		return c.Close(f.DB)
	}
	return f.DB.Close()
}

// database creates a database, and has goroutines looked for at the end of t.
func database(t *testing.T) (dsn string) {
	t.Helper()
	dsn = withOption(pgserver.ForTest(t).CreateDatabase(t), "timezone", "UTC")
	ignored := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignored) })
	return dsn
}

// watch makes a fixture of db, and has it looked over at the end of t.
func watch(t *testing.T, d Driver, dsn string, db *poolgate.DB) *fixture {
	t.Helper()
	connector, err := d.Connector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{DB: db, driver: d, dsn: dsn, observer: sql.OpenDB(connector)}
	t.Cleanup(func() {
		defer f.observer.Close()
		defer f.Close() // also if something is found
		f.settled(t)
		if err := f.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
		eventually(t, "the server has no connection of the pool any more", func() bool {
			return f.count(t, "application_name = 'gated'") == 0
		})
	})
	return f
}

// settled checks that nobody holds or waits for anything. It looks for a while:
// database/sql gives the connection of a cancelled transaction back in the
// background.
func (f *fixture) settled(t *testing.T) {
	t.Helper()
	eventually(t, "no permit is held, nobody waits and no connection is in use", func() bool {
		s := f.Gate().Stats()
		return s.InFlight == 0 && s.Waiting == 0 && f.Stats().InUse == 0
	})
}

// count returns how many backends of this database are as where says.
func (f *fixture) count(t *testing.T, where string) (n int) {
	t.Helper()
	query := "select count(*) from pg_stat_activity where datname = current_database() and " + where
	if err := f.observer.QueryRow(query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// must runs statements on the gated pool.
func (f *fixture) must(t *testing.T, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := f.ExecContext(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// usable checks that the pool works, with all its permits.
func (f *fixture) usable(t *testing.T) {
	t.Helper()
	f.settled(t)
	n := f.Gate().Stats().Limit
	conns := f.hold(t, n)
	for _, c := range conns {
		backend(t, c)
		c.Close()
	}
	f.settled(t)
}

// hold takes n connections at once, for no longer than t lasts.
func (f *fixture) hold(t *testing.T, n int) []*sql.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var conns []*sql.Conn
	for range n {
		c, err := f.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		conns = append(conns, c)
	}
	return conns
}

type rowQueryer interface {
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// backend returns the process that serves q.
func backend(t *testing.T, q rowQueryer) int {
	t.Helper()
	return scalar[int](t, q, "select pg_backend_pid()")
}

// scalar returns the one value of the one row of query.
func scalar[T any](t *testing.T, q rowQueryer, query string, args ...any) (v T) {
	t.Helper()
	if err := q.QueryRowContext(t.Context(), query, args...).Scan(&v); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
	return v
}

// kill ends backends and returns when they are gone.
func (f *fixture) kill(t *testing.T, pids ...int) {
	t.Helper()
	for _, pid := range pids {
		if _, err := f.observer.Exec("select pg_terminate_backend($1)", pid); err != nil {
			t.Fatal(err)
		}
	}
	f.gone(t, pids...)
}

// gone waits until these backends are.
func (f *fixture) gone(t *testing.T, pids ...int) {
	t.Helper()
	eventually(t, "the backends are gone", func() bool {
		rows, err := f.observer.Query("select pid from pg_stat_activity")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			var pid int
			if err := rows.Scan(&pid); err != nil {
				t.Fatal(err)
			}
			if slices.Contains(pids, pid) {
				return false
			}
		}
		return rows.Err() == nil
	})
}

// eventually waits until done says so.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// state returns the SQLSTATE of err, or "".
func state(err error) string { return sqlstate.Of(err) }

// withOption adds a setting to dsn.
func withOption(dsn, name, value string) string {
	if !strings.Contains(dsn, "://") {
		return dsn + " " + name + "='" + value + "'"
	}
	u, err := url.Parse(dsn)
	if err != nil {
		panic("conformance: a DSN of pgserver that is no URL")
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}
