package conformance

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// testPermits checks how long a permit is held, and what the server sees of it.
func testPermits(t *testing.T, d Driver) {
	t.Run("the server never sees more at work than the limit", func(t *testing.T) {
		f := open(t, d, 2)
		f.crowd(t, 2)
		if s := f.Gate().Stats(); s.Waited == 0 || s.Acquired < 40 {
			t.Errorf("nobody had to wait: %+v", s)
		}
	})

	t.Run("settings of the embedded *sql.DB do no harm", func(t *testing.T) {
		f := open(t, d, 2)
		facade := f.DB.DB
		facade.SetMaxIdleConns(1)
		facade.SetConnMaxLifetime(time.Millisecond)
		f.crowd(t, 2)
		facade.SetMaxOpenConns(1)
		f.crowd(t, 2)
		facade.SetMaxIdleConns(5)
		facade.SetConnMaxIdleTime(time.Millisecond)
		f.crowd(t, 2)
	})

	t.Run("settings of the DB are those of the connections", func(t *testing.T) {
		f := open(t, d, 6)
		f.usable(t)
		connections := func(n int) {
			t.Helper()
			eventually(t, fmt.Sprintf("%d connections are open", n), func() bool {
				return f.count(t, "application_name = 'gated'") == n && f.Stats().OpenConnections == n
			})
		}
		connections(6)
		f.SetMaxIdleConns(4)
		connections(4)
		f.SetMaxOpenConns(3)
		if n := f.Gate().Limit(); n != 2 {
			t.Errorf("the limit is %d, besides one out of band", n)
		}
		f.crowd(t, 2)
		f.SetConnMaxIdleTime(time.Millisecond)
		connections(0)
		f.SetConnMaxIdleTime(0)
		f.usable(t)
		f.SetConnMaxLifetime(time.Millisecond)
		connections(0)
	})

	t.Run("a permit is held as long as the connection", func(t *testing.T) {
		f := open(t, d, 3)
		ctx := t.Context()
		held := func(want int, when string) {
			t.Helper()
			if got := f.Gate().Stats().InFlight; got != want {
				t.Errorf("%s: %d permits are held, want %d", when, got, want)
			}
		}
		rows, err := f.QueryContext(ctx, "select generate_series(1, 3)")
		if err != nil {
			t.Fatal(err)
		}
		held(1, "rows that are open")
		rows.Next()
		held(1, "rows that are read")
		if err := rows.Close(); err != nil {
			t.Error(err)
		}
		held(0, "rows that are closed")

		if rows, err = f.QueryContext(ctx, "select generate_series(1, 3)"); err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			held(1, "rows that are read")
		}
		held(0, "rows that were read to their end")

		row := f.QueryRowContext(ctx, "select 1")
		held(1, "a row before Scan")
		var n int
		if err := row.Scan(&n); err != nil {
			t.Error(err)
		}
		held(0, "a row after Scan")

		tx, err := f.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := f.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		held(2, "a transaction and a Conn")
		backend(t, tx)
		backend(t, conn)
		held(2, "a transaction and a Conn that were used")
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
		held(1, "a Conn")
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		held(0, "nothing")
		if err := f.PingContext(ctx); err != nil {
			t.Error(err)
		}
		held(0, "after Ping")
	})

	t.Run("a refusal arrives as it is", func(t *testing.T) {
		full := openConfig(t, d, poolgate.Config{Gate: gate.Config{Limit: 1, MaxWaiting: gate.NoWaiting}})
		slow := openConfig(t, d, poolgate.Config{Gate: gate.Config{Limit: 1, MaxWait: 20 * time.Millisecond}})
		for f, reason := range map[*fixture]error{full: gate.ErrQueueFull, slow: gate.ErrWaitTimeout} {
			conn := f.hold(t, 1)[0]
			for name, run := range map[string]func() error{
				"Exec":  func() error { _, err := f.Exec("select 1"); return err },
				"Query": func() error { _, err := f.Query("select 1"); return err },
				"Begin": func() error { _, err := f.Begin(); return err },
				"Ping":  f.Ping,
			} {
				err := run()
				refused, ok := errors.AsType[*gate.RejectedError](err)
				if !ok || !errors.Is(err, gate.ErrRejected) || !errors.Is(err, reason) || refused.Limit != 1 {
					t.Errorf("%s: got %v, want %v", name, err, reason)
				}
			}
			conn.Close()
			f.usable(t)
		}
	})

	t.Run("the driver is the driver's", func(t *testing.T) {
		f := open(t, d, 1)
		connector, err := d.Connector(f.dsn)
		if err != nil {
			t.Fatal(err)
		}
		if got, want := reflect.TypeOf(f.Driver()), reflect.TypeOf(connector.Driver()); got != want {
			t.Errorf("it is a %v, want %v", got, want)
		}
	})
}

// crowd has 20 callers want the pool at once, until the server was seen at work
// several times, and watches from its side that most at most are at work, and
// are connected if that is the limit.
func (f *fixture) crowd(t *testing.T, most int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	var wg sync.WaitGroup
	var enough atomic.Bool
	for range 20 {
		wg.Go(func() {
			for i := 0; i < 2 || !enough.Load() && ctx.Err() == nil; i++ {
				if _, err := f.ExecContext(ctx, "select pg_sleep(0.01)"); err != nil {
					t.Error(err)
				}
			}
		})
	}
	done := make(chan struct{})
	go func() { wg.Wait(); close(done) }()
	seen, times := 0, 0
	for working := true; working; {
		select {
		case <-done:
			working = false
		default:
			n := f.count(t, "application_name = 'gated' and state = 'active'")
			if seen = max(seen, n); n > most {
				t.Errorf("%d statements run at once, the limit is %d", n, most)
			}
			if n > 0 {
				times++
			}
			enough.Store(times >= 5)
		}
	}
	if seen == 0 {
		t.Error("none was seen at work")
	}
	s := f.Gate().Stats()
	if n, limit := f.Stats().OpenConnections, s.Limit+s.OutOfBand.Max; n > limit {
		t.Errorf("%d connections are open, the limit is %d", n, limit)
	}
	f.usable(t)
}

// testClosing closes a pool that is in use.
func testClosing(t *testing.T, d Driver) {
	f := open(t, d, 2)
	ctx := context.Background()
	f.usable(t)
	conns := f.hold(t, 2)
	tx, err := conns[1].BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	waiting := make(chan error, 1)
	go func() {
		_, err := f.ExecContext(ctx, "select 1")
		waiting <- err
	}()
	eventually(t, "it waits", func() bool { return f.Gate().Stats().Waiting == 1 })

	if err := f.Close(); err != nil {
		t.Errorf("Close: %v", err)
	}
	if err := <-waiting; !errors.Is(err, gate.ErrClosed) {
		t.Errorf("who waited got %v", err)
	}
	if _, err := f.ExecContext(ctx, "select 1"); err == nil {
		t.Error("a call after Close has no error")
	}
	// What holds a connection goes on to its end.
	backend(t, conns[0])
	backend(t, tx)
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
	for _, c := range conns {
		if err := c.Close(); err != nil && !errors.Is(err, sql.ErrConnDone) {
			t.Error(err)
		}
	}
	f.settled(t)
	if err := f.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
}
