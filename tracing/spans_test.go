package tracing_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/tracing"
)

func TestSpans(t *testing.T) {
	onBoth(t, gate.Config{Limit: 1, MaxWaiting: 1, Classes: []gate.Class{{Name: "web"}}}, func(t *testing.T, f *fixture) {
		f.MustExec(context.Background(), "CREATE TABLE t (id int PRIMARY KEY)")

		t.Run("a statement that did not wait has a lease, and no wait", func(t *testing.T) {
			v := f.In("request", func(ctx context.Context) {
				f.MustExec(gate.WithClass(ctx, "web"), "INSERT INTO t VALUES ($1)", 1)
			})
			if want := []string{"poolgate.lease", "request", "sql.conn.exec"}; !slices.Equal(slices.Sorted(slices.Values(v.Names())), want) {
				t.Fatalf("spans are %v, want %v", v.Names(), want)
			}
			request, lease, exec := v.One(t, "request"), v.One(t, "poolgate.lease"), v.One(t, "sql.conn.exec")
			for _, s := range []seen{lease, exec} {
				if s.Parent != request.ID {
					t.Errorf("the parent of %s is not the caller's span", s.Name)
				}
				s.Want(t, map[string]any{"db.system.name": "postgresql", "poolgate.class": "web"})
			}
			exec.Want(t, map[string]any{"db.query.text": "INSERT INTO t VALUES ($1)"})
			lease.Want(t, map[string]any{"poolgate.lease.calls": int64(1), "poolgate.lease.discarded": false})
			if exec.Start.Before(lease.Start) || exec.End().After(lease.End()) {
				t.Error("the statement is not within the lease")
			}
		})

		t.Run("a wait is a span, between the call and the lease", func(t *testing.T) {
			v := f.In("request", func(ctx context.Context) { f.behindAnother(ctx, 20*time.Millisecond) })
			request, wait, lease, exec := v.One(t, "request"), v.One(t, "poolgate.wait"), v.One(t, "poolgate.lease"), v.One(t, "sql.conn.exec")
			if wait.Parent != request.ID || wait.Failed {
				t.Errorf("the wait is %+v", wait)
			}
			wait.Want(t, map[string]any{
				"poolgate.class":                 "default",
				"poolgate.gate.limit":            int64(1),
				"poolgate.gate.in_flight":        int64(1),
				"poolgate.gate.waiting":          int64(0),
				"server.port":                    f.port(),
				"db.client.connection.pool.name": f.poolName(),
			})
			waited := wait.Seconds(t, "poolgate.waited")
			if waited < 20*time.Millisecond || wait.Duration != waited {
				t.Errorf("waited %v, in a span of %v", waited, wait.Duration)
			}
			for _, s := range []seen{lease, exec} {
				if got := s.Seconds(t, "poolgate.waited"); got < waited {
					t.Errorf("%s says that it waited %v, the wait %v", s.Name, got, waited)
				}
			}
			adds(t, request, wait, lease)
		})

		t.Run("a refused caller has a span that says why, and no lease", func(t *testing.T) {
			holder := f.Hold()
			var waiter sync.WaitGroup
			ctx, cancel := context.WithCancel(context.Background())
			waiter.Go(func() { f.ExecContext(ctx, "SELECT 1") })
			f.Queued(1)
			v := f.In("request", func(ctx context.Context) {
				_, err := f.ExecContext(ctx, "SELECT 1")
				is(t, err, gate.ErrQueueFull)
			})
			if want := []string{"request", "poolgate.wait"}; !slices.Equal(v.Names(), want) {
				t.Fatalf("spans are %v, want %v", v.Names(), want)
			}
			refused := v.One(t, "poolgate.wait")
			refused.Want(t, map[string]any{
				"error.type":              "queue_full",
				"poolgate.gate.limit":     int64(1),
				"poolgate.gate.in_flight": int64(1),
				"poolgate.gate.waiting":   int64(1),
			})
			if !refused.Failed || refused.Duration != 0 {
				t.Errorf("the refusal is %+v", refused)
			}
			cancel()
			waiter.Wait()
			must(t, holder.Close())
			gone := f.View().All("poolgate.wait")
			last := gone[slices.IndexFunc(gone, func(s seen) bool { return s.Attributes["error.type"] == "context.Canceled" })]
			if !last.Failed || last.Parent != "" {
				t.Errorf("the wait that was given up is %+v", last)
			}
		})

		t.Run("a lease tells when it was held for nothing", func(t *testing.T) {
			v := f.In("request", func(ctx context.Context) {
				tx, err := f.BeginTx(ctx, nil)
				must(t, err)
				time.Sleep(20 * time.Millisecond)
				_, err = tx.ExecContext(ctx, "SELECT $1::int", 1)
				must(t, err)
				must(t, tx.Commit())
			})
			lease := v.One(t, "poolgate.lease")
			if idle := lease.Seconds(t, "poolgate.lease.between_calls"); idle < 20*time.Millisecond {
				t.Errorf("idle for %v, want 20ms at least", idle)
			}
			held, busy := lease.Seconds(t, "poolgate.lease.held"), lease.Seconds(t, "poolgate.lease.busy")
			if busy <= 0 || busy > held-20*time.Millisecond {
				t.Errorf("busy for %v of %v, in a span of %v", busy, held, lease.Duration)
			}
			begin, exec, commit := v.One(t, "sql.conn.begin_tx"), v.One(t, "sql.conn.exec"), v.One(t, "sql.tx.commit")
			if exec.Start.Sub(begin.End()) < 20*time.Millisecond || commit.Start.Before(exec.End()) {
				t.Error("the gap in the transaction is not to be seen")
			}
			if calls := lease.Attributes["poolgate.lease.calls"].(int64); calls < 3 {
				t.Errorf("%d calls, want 3 at least", calls)
			}
		})

		t.Run("an error of the server is its SQLSTATE, without its text", func(t *testing.T) {
			v := f.In("request", func(ctx context.Context) {
				_, err := f.ExecContext(ctx, "SELECT $1::text::int", "hunter2")
				if err == nil {
					t.Error("no error")
				}
			})
			failed := v.All("sql.conn.exec")[0]
			failed.Want(t, map[string]any{"error.type": "22P02", "db.response.status_code": "22P02"})
			if !failed.Failed || failed.Events > 0 {
				t.Errorf("the statement is %+v", failed)
			}
		})

		t.Run("rows make no spans", func(t *testing.T) {
			count := func(rows int) int {
				return len(f.In("request", func(ctx context.Context) {
					r, err := f.QueryContext(ctx, "SELECT generate_series(1, $1::int)", rows)
					must(t, err)
					for r.Next() {
					}
					must(t, r.Close())
				}))
			}
			if one, many := count(1), count(1000); one != many {
				t.Errorf("%d spans for one row, %d for a thousand", one, many)
			}
		})
	})
}

// behindAnother runs a statement that has to wait for d, at least.
func (f *fixture) behindAnother(ctx context.Context, d time.Duration) {
	f.T.Helper()
	holder := f.Hold()
	var waiter sync.WaitGroup
	waiter.Go(func() {
		if _, err := f.ExecContext(ctx, "SELECT 1"); err != nil {
			f.T.Error(err)
		}
	})
	f.Queued(1)
	time.Sleep(d)
	must(f.T, holder.Close())
	waiter.Wait()
}

func TestInstrument(t *testing.T) {
	dsn := pgserver.ForTest(t).DSN()
	for _, d := range drivers {
		t.Run(d.Name, func(t *testing.T) {
			leaks := goleak.IgnoreCurrent()
			spans := tracetest.NewSpanRecorder()
			provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))

			t.Run("a DB that is open is traced until stop", func(t *testing.T) {
				db, err := d.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1}}, tracing.WithTracerProvider(sdktrace.NewTracerProvider()))
				must(t, err)
				defer db.Close()
				stop, err := tracing.Instrument(db, tracing.WithTracerProvider(provider), tracing.WithPoolName("orders"))
				must(t, err)
				must(t, db.PingContext(context.Background()))
				stop()
				stop()
				must(t, db.PingContext(context.Background()))
				ended := spans.Ended()
				if len(ended) != 1 || ended[0].Name() != "poolgate.lease" {
					t.Fatalf("%d spans, want one lease", len(ended))
				}
				fromSDK(ended[0]).Want(t, map[string]any{"db.client.connection.pool.name": "orders"})
			})

			t.Run("a server that is not there fails the lease", func(t *testing.T) {
				f := newFixture(t, d, "postgres://me:secret@127.0.0.1:1/none?sslmode=disable", gate.Config{Limit: 1})
				defer f.Close()
				v := f.In("request", func(ctx context.Context) {
					if err := f.PingContext(ctx); err == nil {
						t.Error("no error")
					}
				})
				lease := v.One(t, "poolgate.lease")
				if !lease.Failed || lease.Attributes["error.type"] == nil || lease.Seconds(t, "poolgate.connecting") == 0 {
					t.Errorf("the lease is %+v", lease)
				}
			})
			goleak.VerifyNone(t, leaks)
		})
	}

	t.Run("without a provider it is refused", func(t *testing.T) {
		for _, d := range drivers {
			if _, err := d.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1}}); err == nil {
				t.Error("no error")
			}
		}
	})

	t.Run("what is global is used only if asked", func(t *testing.T) {
		before := otel.GetTracerProvider()
		defer otel.SetTracerProvider(before)
		global := tracetest.NewSpanRecorder()
		otel.SetTracerProvider(sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(global)))
		count := func(opt tracing.Option) int {
			db, err := drivers[0].Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1}}, opt)
			must(t, err)
			defer db.Close()
			_, err = db.ExecContext(context.Background(), "SELECT 1")
			must(t, err)
			defer global.Reset()
			return len(global.Ended())
		}
		if n := count(tracing.WithTracerProvider(sdktrace.NewTracerProvider())); n > 0 {
			t.Errorf("%d spans by the global provider", n)
		}
		if n := count(tracing.WithGlobalProviders()); n == 0 {
			t.Error("no spans by the global provider")
		}
	})

	t.Run("the errors of the data source name and of the gate come through", func(t *testing.T) {
		global := tracing.WithGlobalProviders()
		for _, d := range drivers {
			if _, err := d.Open("postgres://me:secret@host:port/", poolgate.Config{Gate: gate.Config{Limit: 1}}, global); err == nil {
				t.Error("no error for the name")
			}
			if _, err := d.Open(dsn, poolgate.Config{}, global); err == nil || errors.Is(err, gate.ErrRejected) {
				t.Errorf("the error for the gate is %v", err)
			}
		}
	})
}

// port and poolName are what the data source name says.
func (f *fixture) port() int64 {
	_, port := f.connector().Server()
	return int64(port)
}

func (f *fixture) poolName() string {
	c := f.connector()
	host, port := c.Server()
	return fmt.Sprintf("%s:%d/%s", host, port, c.Database())
}

func (f *fixture) connector() *pgxgate.Connector {
	f.T.Helper()
	c, err := pgxgate.NewConnector(f.DSN)
	must(f.T, err)
	return c
}

func TestLinks(t *testing.T) {
	onBoth(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		t.Run("a statement of a transaction that began elsewhere leads to its lease", func(t *testing.T) {
			ctx, began := f.Tracer.Start(context.Background(), "began")
			tx, err := f.BeginTx(ctx, nil)
			must(t, err)
			v := f.In("elsewhere", func(ctx context.Context) {
				_, err = tx.ExecContext(ctx, "SELECT 1")
				must(t, err)
			})
			must(t, tx.Commit())
			began.End()
			lease := f.View().One(t, "poolgate.lease")
			exec := v.One(t, "sql.conn.exec")
			if !slices.Equal(exec.Links, []string{lease.ID}) {
				t.Errorf("links are %v, want %s", exec.Links, lease.ID)
			}
			if begin := f.View().One(t, "sql.conn.begin_tx"); len(begin.Links) > 0 {
				t.Error("BEGIN has a link, though it has the parent of the lease")
			}
			if _, told := exec.Attributes["poolgate.waited"]; told {
				t.Error("the wait is told again by a later statement")
			}
		})
	})
}

func TestDeadlock(t *testing.T) {
	onBoth(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		t.Run("a second connection under the first ends in a span that says so", func(t *testing.T) {
			v := f.In("request", func(ctx context.Context) {
				tx, err := f.BeginTx(ctx, nil)
				must(t, err)
				_, err = f.ExecContext(ctx, "SELECT 1")
				is(t, err, gate.ErrDeadlock)
				must(t, tx.Rollback())
			})
			wait := v.One(t, "poolgate.wait")
			wait.Want(t, map[string]any{"error.type": "deadlock", "poolgate.gate.in_flight": int64(1)})
			if lease := v.One(t, "poolgate.lease"); wait.Start.Before(lease.Start) || wait.End().After(lease.End()) {
				t.Error("the wait is not within the lease of the transaction")
			}
			if n := number(f.Metrics()["poolgate.gate.refusals"], attribute.String("error.type", "deadlock")); n != 1 {
				t.Errorf("%v deadlocks are counted, want 1", n)
			}
		})
	})
}
