package pgxpoolgate_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolgate/poolgate/internal/testing/faultproxy"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// The server, or the network before it, says nothing any more. Every call returns
// with its context all the same, and its permit comes back. A call that waits for
// the server fails the test by its timeout: the server hangs until it has returned.
func TestServerThatHangs(t *testing.T) {
	inTx := func(t *testing.T, ctx context.Context, f *fixture) pgx.Tx {
		t.Helper()
		tx, err := f.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return tx
	}
	for name, prepare := range map[string]func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error{
		"Exec": func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			p.Stop()
			return func() error { _, err := f.Exec(ctx, "select 1"); return err }
		},
		"Exec that is answered in part": func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			p.StopAfter(3, false)
			return func() error { _, err := f.Exec(ctx, "select 1"); return err }
		},
		"Exec of more than the network takes": func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			p.Stop()
			big := make([]byte, 32<<20)
			return func() error { _, err := f.Exec(ctx, "select $1::bytea", big); return err }
		},
		"rows that are read": func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			rows, err := f.Query(ctx, "select repeat('x', 1000) from generate_series(1, 100000)")
			if err != nil {
				t.Fatal(err)
			}
			p.Stop()
			return func() error {
				for rows.Next() {
				}
				return rows.Err()
			}
		},
		"rows that are closed": func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			rows, err := f.Query(ctx, "select repeat('x', 1000) from generate_series(1, 100000)")
			if err != nil {
				t.Fatal(err)
			}
			p.Stop()
			return func() error { rows.Close(); return rows.Err() }
		},
		"a batch": func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			p.Stop()
			return func() error { return f.SendBatch(ctx, batch("select 1", "select 2")).Close() }
		},
		"CopyFrom": func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			p.Stop()
			return func() error {
				_, err := f.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"n"}, pgx.CopyFromRows([][]any{{1}}))
				return err
			}
		},
		"Ping": func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			p.Stop()
			return func() error { return f.Ping(ctx) }
		},
		"Begin": func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			p.Stop()
			return func() error { _, err := f.Begin(ctx); return err }
		},
		"Commit": func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			tx := inTx(t, ctx, f)
			p.Stop()
			return func() error { return tx.Commit(ctx) }
		},
		"Rollback": func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			tx := inTx(t, ctx, f)
			p.Stop()
			return func() error { return tx.Rollback(ctx) }
		},
		"Rollback after the end of the context": func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			tx := inTx(t, ctx, f)
			p.Stop()
			return func() error { <-ctx.Done(); return tx.Rollback(ctx) }
		},
		"Commit after the end of the context": func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			tx := inTx(t, ctx, f)
			p.Stop()
			return func() error { <-ctx.Done(); return tx.Commit(ctx) }
		},
		"BeginFunc": func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			return func() error {
				return pgx.BeginFunc(ctx, f, func(tx pgx.Tx) error {
					p.Stop()
					_, err := tx.Exec(ctx, "select 1")
					return err
				})
			}
		},
		"connecting": func(t *testing.T, ctx context.Context, f *fixture, p *faultproxy.Proxy) func() error {
			f.Reset()
			p.Stop()
			return func() error { return f.Ping(ctx) }
		},
	} {
		t.Run(name, func(t *testing.T) {
			dsn := pgserver.ForTest(t).CreateDatabase(t)
			proxy, through := faultproxy.Start(t, dsn)
			f := watchThrough(t, dsn, through, ways["Open"], gate.Config{Limit: 1})
			t.Cleanup(proxy.Resume) // before f is looked over
			if _, err := f.Exec(t.Context(), "create table t (n int)"); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			call := prepare(t, ctx, f, proxy)
			failed := make(chan error, 1)
			var ended time.Time
			go func() {
				err := call()
				ended = time.Now()
				failed <- err
			}()
			eventually(t, "the server hangs", proxy.Stopped)
			time.Sleep(50 * time.Millisecond) // most calls wait for it by then
			start := time.Now()
			cancel()
			select {
			case err := <-failed:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
				t.Logf("it returned after %v", ended.Sub(start))
			case <-time.After(patience):
				t.Fatal("it still runs")
			}
			eventually(t, "the permit is back", func() bool { return f.Gate().Stats().InFlight == 0 })
			proxy.Resume()
			f.usable(t)
		})
	}
}
