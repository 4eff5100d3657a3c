package conformance

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// testCancellation ends contexts while statements run and while they wait.
func testCancellation(t *testing.T, d Driver) {
	f := open(t, d, 1)
	sleeping := func() bool {
		return f.count(t, "application_name = 'gated' and state = 'active' and wait_event = 'PgSleep'") > 0
	}

	for name, run := range map[string]func(context.Context) error{
		"Exec": func(ctx context.Context) error {
			_, err := f.ExecContext(ctx, "select pg_sleep(60)")
			return err
		},
		"Exec with an argument": func(ctx context.Context) error {
			_, err := f.ExecContext(ctx, "select pg_sleep(60 + $1)", 1)
			return err
		},
		"Query": func(ctx context.Context) error {
			rows, err := f.QueryContext(ctx, "select pg_sleep(60)")
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
			}
			return rows.Err()
		},
		"a statement": func(ctx context.Context) error {
			stmt, err := f.PrepareContext(context.Background(), "select pg_sleep(60)")
			if err != nil {
				return err
			}
			defer stmt.Close()
			_, err = stmt.ExecContext(ctx)
			return err
		},
		"a transaction": func(ctx context.Context) error {
			tx, err := f.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			_, err = tx.ExecContext(ctx, "select pg_sleep(60)")
			return err
		},
		"a Conn": func(ctx context.Context) error {
			conn, err := f.Conn(context.Background())
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.ExecContext(ctx, "select pg_sleep(60)")
			return err
		},
	} {
		t.Run(name+" that is cancelled returns at once, and so does its permit", func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			failed := make(chan error, 1)
			go func() { failed <- run(ctx) }()
			eventually(t, "the statement runs", sleeping)
			cancel()
			select {
			case err := <-failed:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			case <-time.After(patience):
				t.Fatal("it still runs")
			}
			eventually(t, "the server has stopped it", func() bool { return !sleeping() })
			f.usable(t)
		})
		t.Run(name+" ends with its deadline", func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
			defer cancel()
			start := time.Now()
			err := run(ctx)
			if took := time.Since(start); took > patience {
				t.Errorf("it took %v", took)
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("got %v", err)
			}
			eventually(t, "the server has stopped it", func() bool { return !sleeping() })
			f.usable(t)
		})
	}

	t.Run("a request to cancel that comes too late does not hit what is executed next", func(t *testing.T) {
		stmt, err := f.PrepareContext(t.Context(), "select pg_sleep(0.003)")
		if err != nil {
			t.Fatal(err)
		}
		defer stmt.Close()
		for i := range 300 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(2*time.Millisecond+time.Duration(i%20)*100*time.Microsecond, cancel)
			var err error
			if i%2 == 0 {
				_, err = f.ExecContext(ctx, "select pg_sleep(0.003)")
			} else {
				_, err = stmt.ExecContext(ctx)
			}
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			cancel()
			if n := scalar[int](t, f, "select count(*) from generate_series(1, 100)"); n != 100 {
				t.Errorf("got %d", n)
			}
		}
		f.usable(t)
	})

	t.Run("rows whose context ends are closed, and their permit comes back", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		rows, err := f.QueryContext(ctx, "select n from generate_series(1, 1000000) n")
		if err != nil {
			t.Fatal(err)
		}
		if !rows.Next() {
			t.Fatal(rows.Err())
		}
		cancel()
		f.settled(t)
		for rows.Next() {
		}
		if err := rows.Err(); err == nil {
			t.Error("the rows have no error")
		}
		f.usable(t)
	})

	t.Run("a context that has ended before touches neither gate nor driver", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		before := f.Gate().Stats().Acquired
		if _, err := f.ExecContext(ctx, "select 1"); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if _, err := f.BeginTx(ctx, nil); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		if after := f.Gate().Stats().Acquired; after != before {
			t.Errorf("%d permits were given", after-before)
		}
	})

	t.Run("a context that ends while its call waits never touches the driver", func(t *testing.T) {
		dsn := database(t)
		connector, err := d.Connector(withOption(dsn, "application_name", "gated"))
		if err != nil {
			t.Fatal(err)
		}
		faulty := &faults{Connector: connector}
		db, err := poolgate.OpenDB(faulty, poolgate.Config{Gate: gate.Config{Limit: 1}})
		if err != nil {
			t.Fatal(err)
		}
		f := watch(t, d, dsn, db)
		conn := f.hold(t, 1)[0]
		backend(t, conn)
		connects, calls := faulty.connects.Load(), faulty.calls.Load()

		ctx, cancel := context.WithCancel(t.Context())
		failed := make(chan error)
		waits := []func() error{
			func() error { _, err := f.ExecContext(ctx, "select 1"); return err },
			func() error { _, err := f.QueryContext(ctx, "select 1"); return err },
			func() error { _, err := f.BeginTx(ctx, nil); return err },
			func() error { _, err := f.PrepareContext(ctx, "select 1"); return err },
			func() error { _, err := f.Conn(ctx); return err },
			func() error { return f.PingContext(ctx) },
		}
		for _, wait := range waits {
			go func() { failed <- wait() }()
		}
		eventually(t, "all wait", func() bool { return f.Gate().Stats().Waiting == len(waits) })
		cancel()
		for range waits {
			if err := <-failed; !errors.Is(err, context.Canceled) || !errors.Is(err, gate.ErrCanceled) {
				t.Errorf("got %v", err)
			}
		}
		if s := f.Gate().Stats(); s.Canceled != uint64(len(waits)) || s.Waiting != 0 || s.InFlight != 1 {
			t.Errorf("the gate says %+v", s)
		}
		if c := faulty.connects.Load(); c != connects {
			t.Errorf("%d connections were opened", c-connects)
		}
		if c := faulty.calls.Load(); c != calls {
			t.Errorf("the driver was called %d times", c-calls)
		}
		conn.Close()
	})
}
