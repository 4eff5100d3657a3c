package tracing_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/session"
	"github.com/poolgate/poolgate/tracing"
)

func TestSessions(t *testing.T) {
	onBoth(t, gate.Config{Limit: 2}, func(t *testing.T, f *fixture) {
		f.MustExec(context.Background(), "CREATE TABLE t (id int PRIMARY KEY)")
		insert := func(ctx context.Context, id int) error {
			_, err := session.DB(ctx, f.DB.DB).ExecContext(ctx, "INSERT INTO t VALUES ($1)", id)
			return err
		}
		in := func(work func(ctx context.Context)) view {
			return f.In("request", func(ctx context.Context) { work(tracing.Operations(ctx, f.Traces)) })
		}

		t.Run("a unit of work is a span around its lease and its statements", func(t *testing.T) {
			v := in(func(ctx context.Context) {
				must(t, session.Run(ctx, func(ctx context.Context) error { return insert(ctx, 1) }))
			})
			unit, lease := v.One(t, "poolgate.session"), v.One(t, "poolgate.lease")
			if unit.Parent != v.One(t, "request").ID {
				t.Error("the unit is not the request's child")
			}
			for _, name := range []string{"poolgate.lease", "sql.conn.begin_tx", "sql.conn.exec", "sql.tx.commit"} {
				if v.One(t, name).Parent != unit.ID {
					t.Errorf("%s is not the unit's child", name)
				}
			}
			unit.Want(t, map[string]any{"poolgate.session.committed": true})
			adds(t, unit, lease)
		})

		t.Run("a unit that fails says why", func(t *testing.T) {
			v := in(func(ctx context.Context) {
				if err := session.Run(ctx, func(ctx context.Context) error { return insert(ctx, 1) }); err == nil {
					t.Error("no error")
				}
			})
			unit := v.One(t, "poolgate.session")
			unit.Want(t, map[string]any{"poolgate.session.committed": false, "error.type": "23505", "db.response.status_code": "23505"})
			if !unit.Failed || unit.Events > 0 {
				t.Errorf("the unit is %+v", unit)
			}
		})

		t.Run("a nested Run is a span inside, undone or not", func(t *testing.T) {
			v := in(func(ctx context.Context) {
				must(t, session.Run(ctx, func(ctx context.Context) error {
					must(t, insert(ctx, 2))
					nested := session.Run(ctx, func(ctx context.Context) error {
						must(t, insert(ctx, 3))
						return errors.New("never mind")
					})
					if nested == nil {
						t.Error("no error")
					}
					return session.Run(ctx, func(ctx context.Context) error { return insert(ctx, 4) })
				}))
			})
			unit, nested := v.One(t, "poolgate.session"), v.All("poolgate.session.nested")
			if len(nested) != 2 {
				t.Fatalf("%d nested spans in %v", len(nested), v.Names())
			}
			unit.Want(t, map[string]any{"poolgate.session.committed": true})
			nested[0].Want(t, map[string]any{"poolgate.session.nested.kept": false, "error.type": "*errors.errorString"})
			nested[1].Want(t, map[string]any{"poolgate.session.nested.kept": true})
			for _, n := range nested {
				if n.Parent != unit.ID {
					t.Error("a nested span is not the unit's child")
				}
			}
		})

		t.Run("a request's unit is a span, by way of the server's base context", func(t *testing.T) {
			handler, err := session.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				must(t, insert(r.Context(), 5))
			}), session.HandlerConfig{})
			must(t, err)
			v := in(func(ctx context.Context) {
				handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequestWithContext(ctx, "POST", "/", nil))
			})
			v.One(t, "poolgate.session").Want(t, map[string]any{"poolgate.session.committed": true})
		})

		t.Run("a gather is a span around its statements", func(t *testing.T) {
			for _, c := range []gather.Consistency{gather.Independent, gather.Snapshot, gather.Serial} {
				v := in(func(ctx context.Context) {
					must(t, gather.Run(ctx, f.DB, gather.Options{Consistency: c}, gather.Discard("SELECT 1"), gather.Discard("SELECT 2")))
				})
				all, leases := v.One(t, "poolgate.gather"), v.All("poolgate.lease")
				all.Want(t, map[string]any{
					"poolgate.gather.consistency": c.String(), "poolgate.gather.statements": int64(2), "poolgate.gather.out_of_band": false,
				})
				if len(leases) == 0 {
					t.Error("no lease")
				}
				for _, lease := range leases {
					if lease.Parent != all.ID {
						t.Errorf("%v: a lease is not the gather's child", c)
					}
				}
			}
		})

		t.Run("a connection that does not join a snapshot is no failure", func(t *testing.T) {
			taken, err := f.DB.Gate().Acquire(t.Context()) // one of two
			must(t, err)
			defer taken.Release()
			wait := func(context.Context, session.DBTX) error {
				for f.DB.Gate().Stats().Waiting == 0 {
					time.Sleep(time.Millisecond)
				}
				return nil
			}
			v := in(func(ctx context.Context) {
				must(t, gather.Run(ctx, f.DB, gather.Options{Consistency: gather.Snapshot}, wait, gather.Discard("SELECT 1")))
			})
			for _, span := range v {
				if span.Failed {
					t.Errorf("failed: %+v", span)
				}
			}
		})

		t.Run("one that fails says how, and that it went out of band", func(t *testing.T) {
			v := in(func(ctx context.Context) {
				must(t, session.Run(ctx, func(ctx context.Context) error {
					must(t, insert(ctx, 8))
					if err := gather.Run(ctx, f.DB, gather.Options{}, gather.Discard("SELECT 1/0")); err == nil {
						t.Error("no error")
					}
					return nil
				}))
			})
			v.One(t, "poolgate.gather").Want(t, map[string]any{
				"poolgate.gather.consistency": "independent", "poolgate.gather.statements": int64(1), "poolgate.gather.out_of_band": true,
				"error.type": "22012", "db.response.status_code": "22012",
			})
		})

		t.Run("who does not ask gets none", func(t *testing.T) {
			v := f.In("request", func(ctx context.Context) {
				must(t, session.Run(ctx, func(ctx context.Context) error { return insert(ctx, 6) }))
				must(t, session.Run(tracing.Operations(ctx, nil), func(ctx context.Context) error { return insert(ctx, 7) }))
			})
			if n := len(v.All("poolgate.session")); n > 0 {
				t.Errorf("%d spans", n)
			}
		})
	})
}
