package conformance

import (
	"context"
	"database/sql"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/testing/faultproxy"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// openThrough opens a gated pool whose connections lead through a proxy. What
// the fixture observes with does not.
func openThrough(t *testing.T, d Driver, limit int) (*fixture, *faultproxy.Proxy) {
	t.Helper()
	dsn := database(t)
	proxy, through := faultproxy.Start(t, dsn)
	db, err := d.Open(withOption(through, "application_name", "gated"), poolgate.Config{Gate: gate.Config{Limit: limit}})
	if err != nil {
		t.Fatal(err)
	}
	f := watch(t, d, dsn, db)
	t.Cleanup(func() { // before f is looked over
		proxy.Resume()
		proxy.Bury()
	})
	return f, proxy
}

// testHungServer has the server, or the network before it, say nothing any more
// at each stage of a connection. It lasts until the call has returned, so that
// a call that waits for the server fails the test by its timeout alone.
func testHungServer(t *testing.T, d Driver) {
	// inTx is a transaction that has done something.
	inTx := func(t *testing.T, ctx context.Context, f *fixture) *sql.Tx {
		t.Helper()
		tx, err := f.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(ctx, "insert into t values (1)"); err != nil {
			t.Fatal(err)
		}
		return tx
	}
	for _, test := range []struct {
		name string
		// prepare returns the call, whose server has hung when it is called.
		prepare func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error
	}{
		{"Exec", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			p.Stop()
			return func() error { _, err := f.ExecContext(ctx, "select 1"); return err }
		}},
		{"Exec with an argument", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			p.Stop()
			return func() error { _, err := f.ExecContext(ctx, "select $1::int", 1); return err }
		}},
		{"Exec that is answered in part", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			p.StopAfter(3, false)
			return func() error { _, err := f.ExecContext(ctx, "select 1"); return err }
		}},
		{"Exec of more than the network takes", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			p.Stop()
			big := make([]byte, 32<<20)
			return func() error { _, err := f.ExecContext(ctx, "select $1::bytea", big); return err }
		}},
		{"QueryRow", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			p.Stop()
			return func() error { var n int; return f.QueryRowContext(ctx, "select 1").Scan(&n) }
		}},
		{"rows that are read", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			rows, err := f.QueryContext(ctx, "select repeat('x', 1000) from generate_series(1, 100000)")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { rows.Close() })
			p.StopAfter(1<<20, false)
			return func() error {
				for rows.Next() {
				}
				return errors.Join(rows.Err(), rows.Close())
			}
		}},
		{"rows that are closed", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			rows, err := f.QueryContext(ctx, "select repeat('x', 1000) from generate_series(1, 100000)")
			if err != nil {
				t.Fatal(err)
			}
			p.Stop()
			return func() error {
				rows.Close()
				return ctx.Err()
			}
		}},
		{"Prepare", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			p.Stop()
			return func() error { _, err := f.PrepareContext(ctx, "select 1"); return err }
		}},
		{"a statement", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			stmt, err := f.PrepareContext(context.Background(), "select 1")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { p.Resume(); stmt.Close() })
			p.Stop()
			return func() error { _, err := stmt.ExecContext(ctx); return err }
		}},
		{"Ping", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			p.Stop()
			return func() error { return f.PingContext(ctx) }
		}},
		{"a Conn", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			c := f.hold(t, 1)[0]
			p.Stop()
			return func() error {
				_, err := c.ExecContext(ctx, "select 1")
				c.Close()
				return err
			}
		}},
		{"BEGIN", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			p.Stop()
			return func() error { _, err := f.BeginTx(ctx, nil); return err }
		}},
		{"a statement of a transaction", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			tx := inTx(t, ctx, f)
			p.Stop()
			return func() error { _, err := tx.ExecContext(ctx, "select 1"); return err }
		}},
		{"a statement that has only the transaction's context", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			tx := inTx(t, ctx, f)
			p.Stop()
			return func() error {
				if _, err := tx.Exec("select 1"); err == nil {
					return errors.New("no error")
				}
				return ctx.Err()
			}
		}},
		{"COMMIT", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			tx := inTx(t, ctx, f)
			p.Stop()
			return tx.Commit
		}},
		{"ROLLBACK", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			tx := inTx(t, ctx, f)
			p.Stop()
			return tx.Rollback
		}},
		{"a transaction that is left alone", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			inTx(t, ctx, f)
			p.Stop()
			return func() error { <-ctx.Done(); return ctx.Err() }
		}},
		{"COPY", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			var rows [][]any
			for i := range 30_000 {
				rows = append(rows, []any{i, strings.Repeat("x", 1000)})
			}
			p.StopAfter(1<<20, true)
			return func() error {
				if _, err := d.Copy(ctx, f.DB, "t", []string{"id", "v"}, rows); err == nil {
					return errors.New("no error")
				}
				return ctx.Err() // it may be database/sql that closes the statement
			}
		}},
		{"the end of a COPY", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			return func() error {
				p.StopAfter(20, true)
				_, err := d.Copy(ctx, f.DB, "t", []string{"id"}, [][]any{{1}})
				return err
			}
		}},
		{"connecting", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			p.CutAll()
			p.Stop()
			return func() error { return f.PingContext(ctx) }
		}},
		{"authentication", func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			p.CutAll()
			p.StopAfter(5, false)
			return func() error { return f.PingContext(ctx) }
		}},
	} {
		t.Run(test.name+" ends with its context", func(t *testing.T) {
			f, p := openThrough(t, d, 1)
			f.must(t, "create table t (id int, v text)")
			f.usable(t)
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			endsWithContext(t, test.prepare(t, ctx, f, p), func() {
				eventually(t, "the server has hung", p.Stopped)
				cancel()
			})
			f.settled(t) // while the server still says nothing
			p.Resume()
			f.usable(t)
		})
	}

	t.Run("TLS ends with its context", func(t *testing.T) {
		dsn := database(t)
		p, through := faultproxy.Start(t, dsn)
		db, err := d.Open(withOption(through, "sslmode", "require"), poolgate.Config{Gate: gate.Config{Limit: 1}})
		if err != nil {
			t.Fatal(err)
		}
		f := watch(t, d, dsn, db)
		p.StopTLS()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		endsWithContext(t, func() error { return f.PingContext(ctx) }, cancel)
		f.settled(t)
	})

	t.Run("neither Drain nor Close waits for it", func(t *testing.T) {
		f, p := openThrough(t, d, 2)
		conns := f.hold(t, 2)
		conns[1].Close()
		p.Stop()
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		endsWithContext(t, func() error { return f.Gate().Drain(ctx) }, cancel)
		start := time.Now()
		if err := f.DB.Close(); err != nil {
			t.Error(err)
		}
		if took := time.Since(start); took > hungPatience {
			t.Errorf("Close took %v", took)
		}
		ctx, cancel = context.WithCancel(context.Background())
		endsWithContext(t, func() error { _, err := conns[0].ExecContext(ctx, "select 1"); return err }, cancel)
		conns[0].Close()
		f.settled(t)
	})

	t.Run("all permits come back, and the pool recovers", func(t *testing.T) {
		const limit = 8
		f, p := openThrough(t, d, limit)
		f.must(t, "create table t (id int)")
		f.usable(t)
		p.Stop()
		ended := make(chan error)
		for range 3 * limit {
			go func() {
				ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
				defer cancel()
				_, err := f.ExecContext(ctx, "insert into t values (1)")
				ended <- err
			}()
		}
		for range 3 * limit {
			if err := <-ended; !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		}
		f.settled(t)
		p.Resume()
		f.usable(t)
	})
}

// hungPatience is far more than any call may take after its context has ended,
// and far less than a call that waits for a server that says nothing.
const hungPatience = 5 * time.Second

// endsWithContext starts call, ends its context by cancel when it is under way,
// and checks that it then ends too, with the context's error.
func endsWithContext(t *testing.T, call func() error, cancel func()) {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- call() }()
	select {
	case err := <-ended:
		t.Fatalf("it has not hung: %v", err)
	case <-time.After(50 * time.Millisecond):
	}
	cancel()
	start := time.Now()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		t.Logf("it ended %v after its context: %v", time.Since(start).Round(time.Millisecond), err)
	case <-time.After(hungPatience):
		t.Fatal("it goes on after its context has ended")
	}
}
