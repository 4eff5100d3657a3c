package pgxpoolgate_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolgate/poolgate/adapters/pgxpoolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// calls are all ways to have the server sleep.
var calls = map[string]func(ctx context.Context, f *fixture) error{
	"Exec": func(ctx context.Context, f *fixture) error {
		_, err := f.Exec(ctx, "select pg_sleep(60)")
		return err
	},
	"Exec with an argument": func(ctx context.Context, f *fixture) error {
		_, err := f.Exec(ctx, "select pg_sleep($1)", 60)
		return err
	},
	"Query": func(ctx context.Context, f *fixture) error {
		rows, err := f.Query(ctx, "select pg_sleep(60)")
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
		}
		return rows.Err()
	},
	"QueryRow": func(ctx context.Context, f *fixture) error {
		return f.QueryRow(ctx, "select pg_sleep(60)").Scan(nil)
	},
	"SendBatch": func(ctx context.Context, f *fixture) error {
		return f.SendBatch(ctx, batch("select 1", "select pg_sleep(60)")).Close()
	},
	"a result of a batch": func(ctx context.Context, f *fixture) error {
		br := f.SendBatch(ctx, batch("select pg_sleep(60)", "select 1"))
		defer br.Close()
		_, err := br.Exec()
		return err
	},
	"a row of a batch": func(ctx context.Context, f *fixture) error {
		br := f.SendBatch(ctx, batch("select pg_sleep(60)", "select 1"))
		defer br.Close()
		return br.QueryRow().Scan(nil)
	},
	"a transaction": func(ctx context.Context, f *fixture) error {
		return pgx.BeginFunc(ctx, f, func(tx pgx.Tx) error {
			_, err := tx.Exec(ctx, "select pg_sleep(60)")
			return err
		})
	},
	"a savepoint": func(ctx context.Context, f *fixture) error {
		return pgx.BeginFunc(ctx, f, func(tx pgx.Tx) error {
			return pgx.BeginFunc(ctx, tx, func(tx pgx.Tx) error {
				return tx.QueryRow(ctx, "select pg_sleep(60)").Scan(nil)
			})
		})
	},
	"a commit": func(ctx context.Context, f *fixture) error {
		tx, err := f.BeginTx(ctx, pgx.TxOptions{CommitQuery: "select pg_sleep(60)"})
		if err != nil {
			return err
		}
		return tx.Commit(ctx)
	},
	"a Conn": func(ctx context.Context, f *fixture) error {
		return f.AcquireFunc(ctx, func(c *pgxpoolgate.Conn) error {
			_, err := c.Exec(ctx, "select pg_sleep(60)")
			return err
		})
	},
	"pgx's own connection": func(ctx context.Context, f *fixture) error {
		return f.AcquireFunc(ctx, func(c *pgxpoolgate.Conn) error {
			_, err := c.Conn().Exec(ctx, "select pg_sleep(60)")
			if err != nil && ctx.Err() != nil { // the server's, as pgx's own handler has it
				return ctx.Err()
			}
			return err
		})
	},
}

func TestCallEndsWithItsContext(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		for name, run := range calls {
			t.Run(name, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				failed := make(chan error, 1)
				go func() { failed <- run(ctx, f) }()
				eventually(t, "it runs", func() bool { return f.sleeping(t) == 1 })
				cancel()
				select {
				case err := <-failed:
					if !errors.Is(err, context.Canceled) {
						t.Errorf("got %v", err)
					}
				case <-time.After(patience):
					t.Fatal("it still runs")
				}
				eventually(t, "the permit is back", func() bool { return f.Gate().Stats().InFlight == 0 })
				if n := f.sleeping(t); n != 0 {
					t.Error("the permit is back before the server has stopped")
				}
				f.usable(t)
			})
		}
	})
}

func TestDeadlineIsTheError(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := f.Exec(ctx, "select pg_sleep(60)"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		f.usable(t)
	})
}

// Where the server answers a request to cancel, the connection is kept.
func TestConnectionOutlivesItsCancelledCalls(t *testing.T) {
	f := watch(t, ways["Open"], gate.Config{Limit: 1})
	first := pid(t, f)
	for name, run := range calls {
		if name == "a commit" { // which pgx closes the connection after
			continue
		}
		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error, 1)
		go func() { failed <- run(ctx, f) }()
		eventually(t, "it runs", func() bool { return f.sleeping(t) == 1 })
		cancel()
		<-failed
		if now := pid(t, f); now != first {
			// A server without time to answer has its connection closed.
			t.Logf("%s: the connection was not kept", name)
			first = now
		}
	}
	if n := f.Stat().NewConnsCount(); n > int64(len(calls))/2 {
		t.Errorf("%d connections were opened", n)
	}
}

func TestRowsWhoseContextEnds(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		rows, err := f.Query(ctx, "select n, repeat('x', 1000) from generate_series(1, 1000000) n")
		if err != nil {
			t.Fatal(err)
		}
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		cancel()
		f.held(t, 1, "rows that are open after the end of their context")
		for rows.Next() {
		}
		if err := rows.Err(); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		f.usable(t)

		ctx, cancel = context.WithCancel(t.Context())
		row := f.QueryRow(ctx, "select n, repeat('x', 1000) from generate_series(1, 1000000) n")
		cancel()
		f.held(t, 1, "a row after the end of its context")
		if err := row.Scan(nil, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		f.usable(t)
	})
}

// A transaction whose context ends between two statements is rolled back, and its
// connection kept, which pgx by itself closes.
func TestTransactionWhoseContextEnds(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		if _, err := f.Exec(t.Context(), "create table t (n int)"); err != nil {
			t.Fatal(err)
		}
		for name, end := range map[string]struct {
			run  func(context.Context, pgx.Tx) error
			want error
		}{
			"Commit":   {func(ctx context.Context, tx pgx.Tx) error { return tx.Commit(ctx) }, context.Canceled},
			"Rollback": {func(ctx context.Context, tx pgx.Tx) error { return tx.Rollback(ctx) }, nil},
		} {
			first := pid(t, f)
			ctx, cancel := context.WithCancel(t.Context())
			tx, err := f.Begin(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec(ctx, "insert into t values (1)"); err != nil {
				t.Error(err)
			}
			cancel()
			if _, err := tx.Exec(ctx, "insert into t values (2)"); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			f.held(t, 1, "a transaction after the end of its context")
			if err := end.run(ctx, tx); !errors.Is(err, end.want) {
				t.Errorf("%s: got %v", name, err)
			}
			if err := end.run(ctx, tx); err != pgx.ErrTxClosed {
				t.Errorf("%s a second time: got %v", name, err)
			}
			f.settled(t)
			if pid(t, f) != first {
				t.Logf("%s: the connection was not kept", name)
			}
			var n int
			if err := f.QueryRow(t.Context(), "select count(*) from t").Scan(&n); err != nil || n != 0 {
				t.Errorf("%s: %d rows, %v", name, n, err)
			}
		}
		f.usable(t)
	})
}

func TestContextThatHasEndedTakesNoPermit(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		before := f.Gate().Stats().Acquired
		for name, run := range calls {
			if err := run(ctx, f); !errors.Is(err, context.Canceled) {
				t.Errorf("%s: got %v", name, err)
			}
		}
		if n := f.Gate().Stats().Acquired - before; n != 0 {
			t.Errorf("%d permits were given", n)
		}
	})
}

// A statement that cannot be cancelled goes on after its call has returned, and
// keeps its permit until the server has noticed that nobody is there.
func TestPermitStaysOutWhileTheServerWorks(t *testing.T) {
	f := watch(t, ways["Open"], gate.Config{Limit: 1})
	const stubborn = `do $$ begin
		loop
			begin perform pg_sleep(60); exception when query_canceled then null; end;
		end loop;
	end $$`
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	go func() {
		_, err := f.Exec(ctx, stubborn)
		failed <- err
	}()
	eventually(t, "it runs", func() bool { return f.sleeping(t) == 1 })
	cancel()
	if err := <-failed; !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	start := time.Now()
	for f.sleeping(t) == 1 {
		if f.Gate().Stats().InFlight == 0 && f.sleeping(t) == 1 {
			t.Fatal("the permit is back while the server works")
		}
		if time.Since(start) > patience {
			t.Fatal("the server goes on")
		}
	}
	f.usable(t)
}

// A connection that the server has closed while it was idle is found before it is
// used.
func TestIdleConnectionThatWasClosed(t *testing.T) {
	f := watch(t, ways["Open"], gate.Config{Limit: 2})
	f.usable(t)
	if _, err := f.side.Exec(t.Context(), "select pg_terminate_backend(pid, 10000) from pg_stat_activity "+
		"where application_name = 'gated' and datname = current_database()"); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond) // so long, and it is looked at
	for range 2 {
		if _, err := f.Exec(t.Context(), "select 1"); err != nil {
			t.Error(err)
		}
	}
	f.usable(t)
}

// A connection that dies under its user takes nothing with it.
func TestConnectionThatIsKilled(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		tx, err := f.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.side.Exec(t.Context(), "select pg_terminate_backend($1, 10000)", pid(t, tx)); err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), "select 1"); err == nil {
			t.Error("no error")
		}
		if err := tx.Rollback(t.Context()); err == nil {
			t.Error("no error")
		}
		f.usable(t)
	})
}
