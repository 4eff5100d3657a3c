package conformance

import (
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// trap is a statement that no request to cancel ends.
const trap = `do $$ begin
	loop
		begin perform pg_sleep(60);
		exception when query_canceled then null;
		end;
	end loop;
end $$`

// testLimitIsFelt ends the contexts of many statements, and watches that the
// server never works for more of them than the limit says.
func testLimitIsFelt(t *testing.T, d Driver) {
	for _, limit := range []int{4, 8} {
		t.Run(fmt.Sprintf("a limit of %d, by statements that are cancelled", limit), func(t *testing.T) {
			f, faulty := openCounted(t, d, limit, limit == 8)
			f.usable(t)
			before := faulty.connects.Load()
			const n = 300
			f.cancelMany(t, limit, n, func(ctx context.Context, conn *sql.Conn) error {
				_, err := conn.ExecContext(ctx, "select pg_sleep(60)")
				return err
			})
			opened := float64(faulty.connects.Load()-before) / n
			openedAtMost(t, d, opened)
		})

		t.Run(fmt.Sprintf("a limit of %d, by statements that cannot be cancelled", limit), func(t *testing.T) {
			f, _ := openCounted(t, d, limit, limit == 8)
			if f.version(t) < 140000 {
				t.Skip("this server does not notice that its client has gone")
			}
			f.cancelMany(t, limit, 3*limit, func(ctx context.Context, conn *sql.Conn) error {
				_, err := conn.ExecContext(ctx, trap)
				return err
			})
		})
	}

	t.Run("in transactions", func(t *testing.T) {
		const limit = 4
		f, faulty := openCounted(t, d, limit, false)
		f.usable(t)
		before := faulty.connects.Load()
		const n = 100
		f.cancelMany(t, limit, n, func(ctx context.Context, conn *sql.Conn) error {
			tx, err := conn.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			_, err = tx.ExecContext(ctx, "select pg_sleep(60)")
			return err
		})
		opened := float64(faulty.connects.Load()-before) / n
		openedAtMost(t, d, opened)
	})

	t.Run("a statement that cannot be cancelled keeps its permit, but not its caller", func(t *testing.T) {
		f := open(t, d, 1)
		if f.version(t) < 140000 {
			t.Skip("this server does not notice that its client has gone")
		}
		ctx, cancel := context.WithCancel(t.Context())
		endsWithContext(t, func() error { _, err := f.ExecContext(ctx, trap); return err }, cancel)
		for f.Gate().Stats().InFlight > 0 {
			time.Sleep(time.Millisecond)
		}
		if n := f.count(t, "application_name = 'gated' and state = 'active'"); n != 0 {
			t.Errorf("the permit is free, and %d backends are active", n)
		}
		f.usable(t)
	})

	t.Run("the setting of the DSN wins over ours", func(t *testing.T) {
		dsn := database(t)
		db, err := d.Open(withOption(dsn, "client_connection_check_interval", "1234"), poolgate.Config{Gate: gate.Config{Limit: 1}})
		if err != nil {
			t.Fatal(err)
		}
		f := watch(t, d, dsn, db)
		if f.version(t) < 140000 {
			t.Skip("this server does not have it")
		}
		if got := scalar[string](t, f, "show client_connection_check_interval"); got != "1234ms" {
			t.Errorf("it is %s", got)
		}
		other := open(t, d, 1)
		if got := scalar[string](t, other, "show client_connection_check_interval"); got != "500ms" {
			t.Errorf("without one it is %s", got)
		}
	})

	t.Run("a role with a limit of two connections more is never out of them", func(t *testing.T) {
		const limit = 4
		dsn := database(t)
		role := "limited_" + strings.ToLower(rand.Text())
		connector, err := d.Connector(dsn)
		if err != nil {
			t.Fatal(err)
		}
		admin := sql.OpenDB(connector)
		if _, err := admin.Exec(fmt.Sprintf("create role %s login password 'secret' connection limit %d", role, limit+2)); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if _, err := admin.Exec("drop role " + role); err != nil {
				t.Error(err)
			}
			admin.Close()
		})
		u, err := url.Parse(dsn)
		if err != nil {
			t.Fatal(err)
		}
		u.User = url.UserPassword(role, "secret")
		db, err := d.Open(withOption(u.String(), "application_name", "gated"), poolgate.Config{Gate: gate.Config{Limit: limit}})
		if err != nil {
			t.Fatal(err)
		}
		f := watch(t, d, dsn, db)
		f.cancelMany(t, limit, 200, func(ctx context.Context, conn *sql.Conn) error {
			_, err := conn.ExecContext(ctx, "select pg_sleep(60)")
			return err
		})
	})
}

// openedAtMost checks how many connections were opened for each statement that
// was cancelled. It allows for a machine that is so busy that the server answers
// some of the requests to cancel too late.
func openedAtMost(t *testing.T, d Driver, opened float64) {
	t.Helper()
	t.Logf("%.2f connections were opened for each statement", opened)
	if most := differencesOf(t, d).OpenedPerCancel; opened > most+0.4 {
		t.Errorf("%.2f connections were opened for each statement, want %v at most", opened, most)
	}
}

// openCounted opens a pool whose connections are counted, by Wrap or by OpenDB.
func openCounted(t *testing.T, d Driver, limit int, wrap bool) (*fixture, *faults) {
	t.Helper()
	dsn := database(t)
	connector, err := d.Connector(withOption(dsn, "application_name", "gated"))
	if err != nil {
		t.Fatal(err)
	}
	faulty := &faults{Connector: connector}
	config := poolgate.Config{Gate: gate.Config{Limit: limit}}
	open := func() (*poolgate.DB, error) { return poolgate.OpenDB(faulty, config) }
	if wrap {
		config.CloseInner = true
		open = func() (*poolgate.DB, error) { return poolgate.Wrap(sql.OpenDB(faulty), config) }
	}
	db, err := open()
	if err != nil {
		t.Fatal(err)
	}
	return watch(t, d, dsn, db), faulty
}

// cancelMany has three callers for each permit run n statements in all, and
// cancels each a moment after it has begun. It watches that no more than limit
// backends are active, and that nothing but the context ends the statements.
func (f *fixture) cancelMany(t *testing.T, limit, n int, run func(context.Context, *sql.Conn) error) {
	t.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	var callers sync.WaitGroup
	for range 3 * limit {
		callers.Go(func() {
			for left.Add(-1) >= 0 {
				conn, err := f.Conn(context.Background())
				if err != nil {
					t.Error(err)
					return
				}
				ctx, cancel := context.WithCancel(context.Background())
				time.AfterFunc(10*time.Millisecond, cancel)
				if err := run(ctx, conn); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
				conn.Close()
				cancel()
			}
		})
	}
	done := make(chan struct{})
	go func() { callers.Wait(); close(done) }()
	seen := 0
	for working := true; working; {
		select {
		case <-done:
			working = false
		default:
		}
		if n := f.count(t, "application_name = 'gated' and state = 'active'"); n > seen {
			seen = n
		}
	}
	if seen > limit {
		t.Errorf("%d backends were active at once, the limit is %d", seen, limit)
	}
	f.settled(t)
	if n := f.count(t, "application_name = 'gated' and state = 'active'"); n > 0 {
		t.Errorf("all permits are free, and %d backends are active", n)
	}
	f.usable(t)
}

// version returns the server's server_version_num.
func (f *fixture) version(t *testing.T) int {
	t.Helper()
	return scalar[int](t, f.observer, "select current_setting('server_version_num')::int")
}
