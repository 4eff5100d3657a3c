package pgxpoolgate_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolgate/poolgate/adapters/pgxpoolgate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/logging"
)

// An observed writes down what a poolgate.Observer is told.
type observed struct {
	mu    sync.Mutex
	lines []string
	calls []poolgate.Call
	ends  []poolgate.LeaseEnd
}

type leaseKey struct{}

func (o *observed) observer() poolgate.Observer {
	return poolgate.Observer{
		Lease: func(ctx context.Context, l poolgate.LeaseStart) context.Context {
			o.write("lease %s %v", l.Class, l.Err != nil)
			return context.WithValue(ctx, leaseKey{}, true)
		},
		LeaseEnd: func(ctx context.Context, e poolgate.LeaseEnd) {
			o.write("end %d %v %v", e.Calls, e.Discarded, ctx.Value(leaseKey{}))
			o.mu.Lock()
			defer o.mu.Unlock()
			o.ends = append(o.ends, e)
		},
		Call: func(_ context.Context, c poolgate.Call) {
			o.write("%s %s %d %v", c.Kind, c.Query, c.Batch, c.Err != nil)
			o.mu.Lock()
			defer o.mu.Unlock()
			o.calls = append(o.calls, c)
		},
	}
}

func (o *observed) write(format string, args ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.lines = append(o.lines, fmt.Sprintf(format, args...))
}

// take returns what was written since the last time.
func (o *observed) take() (lines []string, calls []poolgate.Call, ends []poolgate.LeaseEnd) {
	o.mu.Lock()
	defer o.mu.Unlock()
	lines, calls, ends = o.lines, o.calls, o.ends
	o.lines, o.calls, o.ends = nil, nil, nil
	return lines, calls, ends
}

func TestObserversSeeWhatThePoolDoes(t *testing.T) {
	both(t, gate.Config{Limit: 2, Classes: []gate.Class{{Name: "reports"}}}, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		if _, err := f.Exec(ctx, "create table t (n int)"); err != nil {
			t.Fatal(err)
		}
		o := new(observed)
		stop := f.DB().Observe(o.observer())
		for _, test := range []struct {
			name string
			run  func() error
			want string
		}{
			{"Exec", func() error { _, err := f.Exec(ctx, "insert into t values ($1)", 7); return err },
				"lease default false; exec insert into t values ($1) 0 false; end 1 false true"},
			{"Query", func() error {
				rows, err := f.Query(ctx, "select n from t")
				for rows.Next() {
				}
				return errors.Join(err, rows.Err())
			}, "lease default false; query select n from t 0 false; end 1 false true"},
			{"QueryRow", func() error { return f.QueryRow(ctx, "select n from t").Scan(nil) },
				"lease default false; query select n from t 0 false; end 1 false true"},
			{"no row", func() error {
				if err := f.QueryRow(ctx, "select n from t where false").Scan(nil); err != pgx.ErrNoRows {
					return err
				}
				return nil
			}, "lease default false; query select n from t where false 0 false; end 1 false true"},
			{"an error", func() error {
				if _, err := f.Exec(ctx, "select nothing"); err == nil {
					return errOwn
				}
				return nil
			}, "lease default false; exec select nothing 0 true; end 1 false true"},
			{"a batch", func() error { return f.SendBatch(ctx, batch("select 1", "select 2")).Close() },
				"lease default false; batch select 1; select 2 2 false; end 1 false true"},
			{"CopyFrom", func() error {
				_, err := f.CopyFrom(ctx, pgx.Identifier{"t"}, []string{"n"}, pgx.CopyFromRows([][]any{{1}}))
				return err
			}, `lease default false; copy copy "t" from stdin 0 false; end 1 false true`},
			{"Ping", func() error { return f.Ping(ctx) }, "lease default false; ping  0 false; end 1 false true"},
			{"a transaction", func() error {
				return pgx.BeginFunc(ctx, f, func(tx pgx.Tx) error {
					if _, err := tx.Prepare(ctx, "one", "select 1"); err != nil {
						return err
					}
					err := pgx.BeginFunc(ctx, tx, func(pgx.Tx) error { return errOwn })
					if err == errOwn {
						err = nil
					}
					return err
				})
			}, "lease default false; begin  0 false; prepare select 1 0 false; exec savepoint 0 false; exec rollback to savepoint 0 false; commit  0 false; end 5 false true"},
			{"a Conn that dies", func() error {
				return f.AcquireFunc(ctx, func(c *pgxpoolgate.Conn) error {
					tx, err := c.Begin(ctx)
					if err != nil {
						return err
					}
					if err := tx.Rollback(ctx); err != nil {
						return err
					}
					tx.Rollback(ctx) // of no effect
					c.Exec(ctx, "select pg_terminate_backend(pg_backend_pid())")
					return nil
				})
			}, "lease default false; begin  0 false; rollback  0 false; exec select pg_terminate_backend(pg_backend_pid()) 0 true; end 3 true true"},
			{"a class", func() error { _, err := f.Class("reports").Exec(ctx, "select 1"); return err },
				"lease reports false; exec select 1 0 false; end 1 false true"},
			{"a class of the context", func() error { _, err := f.Exec(gate.WithClass(ctx, "reports"), "select 1"); return err },
				"lease reports false; exec select 1 0 false; end 1 false true"},
			{"out of band", func() error { _, err := f.OutOfBand().Exec(ctx, "select 1"); return err },
				"lease " + gate.OutOfBandClass + " false; exec select 1 0 false; end 1 false true"},
			{"AcquireAllIdle", func() error {
				for _, c := range f.AcquireAllIdle(ctx) {
					c.Release()
				}
				return nil
			}, "lease default false; end 0 false true"},
			{"the DB", func() error { _, err := f.DB().ExecContext(ctx, "select 1"); return err },
				"lease default false; exec select 1 0 false; end 1 false true"},
			{"a refusal", func() error {
				if _, err := f.Exec(gate.WithClass(ctx, "unknown"), "select 1"); err == nil {
					return errOwn
				}
				return nil
			}, "lease  true"},
		} {
			if test.name == "AcquireAllIdle" { // of which there is one
				f.Reset()
				f.usableOne(t)
			}
			o.take()
			if err := test.run(); err != nil {
				t.Errorf("%s: %v", test.name, err)
			}
			var lines []string
			eventually(t, test.name+": all is told", func() bool {
				more, _, _ := o.take()
				lines = append(lines, more...)
				return slices.ContainsFunc(lines, func(s string) bool { return strings.HasPrefix(s, "end ") }) || test.name == "a refusal"
			})
			if got := strings.Join(lines, "; "); got != test.want {
				t.Errorf("%s:\n got %s\nwant %s", test.name, got, test.want)
			}
		}
		stop()
		f.Exec(ctx, "select 1")
		if lines, _, _ := o.take(); len(lines) > 0 {
			t.Errorf("after stop: %v", lines)
		}
	})
}

// usableOne uses one connection.
func (f *fixture) usableOne(t *testing.T) {
	t.Helper()
	if _, err := f.Exec(t.Context(), "select 1"); err != nil {
		t.Fatal(err)
	}
	f.settled(t)
}

func TestObserversSeeHowLongItTakes(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		o := new(observed)
		defer f.DB().Observe(o.observer())()
		const sleep, wait = 30 * time.Millisecond, 20 * time.Millisecond
		for name, run := range map[string]func(){
			"Exec":      func() { f.Exec(ctx, "select pg_sleep($1)", sleep.Seconds()) },
			"Query":     func() { rows, _ := f.Query(ctx, "select pg_sleep($1)", sleep.Seconds()); rows.Next(); rows.Close() },
			"QueryRow":  func() { f.QueryRow(ctx, "select pg_sleep($1)", sleep.Seconds()).Scan(nil) },
			"SendBatch": func() { f.SendBatch(ctx, batch("select pg_sleep(0.03)")).Close() },
			"the DB":    func() { f.DB().ExecContext(ctx, "select pg_sleep($1)", sleep.Seconds()) },
		} {
			permit, err := f.Gate().Acquire(ctx)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan struct{})
			go func() { run(); close(done) }()
			eventually(t, "it waits", func() bool { return f.Gate().Stats().Waiting == 1 })
			time.Sleep(wait)
			permit.Release()
			<-done
			f.settled(t)
			_, calls, ends := o.take()
			if len(calls) != 1 || len(ends) != 1 {
				t.Fatalf("%s: %v, %v", name, calls, ends)
			}
			c, e := calls[0], ends[0]
			if c.Took < sleep || c.Lease.Waited < wait || e.Start.Waited < wait || e.Busy != c.Took && name != "the DB" || e.Held < e.Busy {
				t.Errorf("%s: %+v, %+v", name, c, e)
			}
			if name != "SendBatch" && (len(c.Args) != 1 || c.Args[0].Ordinal != 1 || c.Args[0].Value != sleep.Seconds()) {
				t.Errorf("%s: the arguments are %v", name, c.Args)
			}
		}
	})
}

// An observer that panics leaves nothing held.
func TestObserverThatPanics(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		for name, o := range map[string]poolgate.Observer{
			"Lease":    {Lease: func(context.Context, poolgate.LeaseStart) context.Context { panic("own") }},
			"Call":     {Call: func(context.Context, poolgate.Call) { panic("own") }},
			"LeaseEnd": {LeaseEnd: func(context.Context, poolgate.LeaseEnd) { panic("own") }},
		} {
			for call, run := range map[string]func(){
				"Exec":     func() { f.Exec(ctx, "select 1") },
				"QueryRow": func() { f.QueryRow(ctx, "select 1").Scan(nil) },
				"Query": func() {
					rows, err := f.Query(ctx, "select 1")
					if err == nil {
						rows.Close()
					}
				},
				"SendBatch": func() { f.SendBatch(ctx, batch("select 1")).Close() },
				"BeginFunc": func() { pgx.BeginFunc(ctx, f, func(pgx.Tx) error { return nil }) },
				"CopyFrom":  func() { f.CopyFrom(ctx, pgx.Identifier{"t"}, nil, pgx.CopyFromRows(nil)) },
			} {
				stop := f.DB().Observe(o)
				if v := panics(run); v != "own" {
					t.Errorf("%s, %s: got %v", name, call, v)
				}
				stop()
				f.usable(t)
			}
		}
	})
}

// What logging writes of a Pool's statement is what it writes of the DB's.
func TestLoggingOfAPool(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		var out bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{
			Level: slog.LevelDebug,
			ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
				if a.Value.Kind() == slog.KindDuration || a.Key == slog.TimeKey {
					return slog.Attr{}
				}
				return a
			},
		}))
		defer f.DB().Observe(logging.New(logger, logging.Config{}))()
		written := func(run func() error) string {
			out.Reset()
			if err := run(); err != nil {
				t.Error(err)
			}
			f.settled(t)
			return out.String()
		}
		native := written(func() error { _, err := f.Exec(t.Context(), "select 'secret', $1::int", 1); return err })
		other := written(func() error { _, err := f.DB().ExecContext(t.Context(), "select 'secret', $1::int", 1); return err })
		if native != other || strings.Contains(native, "secret") || !strings.Contains(native, "kind=exec") || !strings.Contains(native, "calls=1") {
			t.Errorf("of the Pool:\n%sof the DB:\n%s", native, other)
		}
	})
}
