//go:build unix

package adapters_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/testing/pgbouncer"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// faultWays are those that the tests of faults go: one for each driver and mode.
func faultWays() []way {
	return slices.DeleteFunc(ways(), func(w way) bool {
		inSession := w.bouncer.Mode == "session"
		return w.settings != nil || w.bouncer.Settings != nil || w.pgBouncer == inSession
	})
}

func onFaultWays(t *testing.T, poolSize, limit int, settings map[string]string, test func(t *testing.T, b *bounced)) {
	t.Helper()
	for _, w := range faultWays() {
		t.Run(w.name, func(t *testing.T) {
			w.bouncer.PoolSize, w.bouncer.Settings = poolSize, settings
			test(t, through(t, w, limit))
		})
	}
}

// A statement that is cancelled ends on the server, and nobody else's does.
func TestPgBouncerCancellation(t *testing.T) {
	if !pgbouncer.KeepsStatements() {
		t.Skip("a PgBouncer before 1.21 can end itself when it is asked to cancel (apt-get install a later one, or see .ci/pgbouncer)")
	}
	onFaultWays(t, 50, 40, nil, func(t *testing.T, b *bounced) {
		var working sync.WaitGroup
		var cancelled, asked atomic.Int64
		rounds := 3
		if testing.Short() {
			rounds = 1
		}
		for i := range 20 {
			working.Go(func() {
				for range rounds {
					ctx, cancel := context.WithCancel(t.Context())
					time.AfterFunc(time.Duration(10+rand.IntN(100))*time.Millisecond, cancel)
					var err error
					switch i % 3 {
					case 0:
						_, err = b.ExecContext(ctx, "SELECT pg_sleep($1::int)", 600)
					case 1:
						err = b.QueryRowContext(ctx, "SELECT pg_sleep($1::int)", 600).Err()
					case 2:
						err = b.sleepInTx(ctx)
					}
					cancel()
					if !errors.Is(err, context.Canceled) {
						t.Errorf("a statement whose context ended returned %v", err)
					}
					cancelled.Add(1)
				}
			})
		}
		for i := range 40 {
			working.Go(func() {
				for n := i; n < 40*10*rounds; n += 40 {
					if err := ask(t.Context(), b, n); err != nil {
						t.Errorf("another's query returned %v", err)
					}
					asked.Add(1)
				}
			})
		}
		working.Wait()
		eventually(t, "no statement runs on", func() bool { return b.count(t, "state = 'active' AND query LIKE '%pg_sleep%'") == 0 })
		b.settled(t)
		for n := range 100 {
			must(t, ask(t.Context(), b, n))
		}
		t.Logf("%d cancelled beside %d queries", cancelled.Load(), asked.Load())
	})
}

func (b *bounced) sleepInTx(ctx context.Context) error {
	tx, err := b.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	_, err = tx.ExecContext(ctx, "SELECT pg_sleep($1::int)", 600)
	return err
}

// What waits in PgBouncer's own queue returns when its context ends. PgBouncer may
// execute it all the same, as it does not look at a client that waits.
func TestPgBouncerCancelsWaiting(t *testing.T) {
	for _, w := range faultWays()[:2] { // in transaction mode
		t.Run(w.name, func(t *testing.T) {
			w.bouncer.PoolSize = 1
			b := through(t, w, 8)
			tx, err := b.BeginTx(t.Context(), nil)
			must(t, err)
			defer tx.Rollback()
			must(t, ask(t.Context(), tx, 1))
			_, err = tx.ExecContext(t.Context(), "CREATE TABLE waited (n int)")
			must(t, err)
			soon := func(do func(ctx context.Context) error) error {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				time.AfterFunc(100*time.Millisecond, cancel)
				return do(ctx)
			}
			for _, err := range []error{
				soon(func(ctx context.Context) error { return ask(ctx, b, 2) }),
				soon(func(ctx context.Context) error { return second(b.BeginTx(ctx, nil)) }),
			} {
				if !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			}
			for _, err := range []error{
				soon(func(ctx context.Context) error {
					return second(b.ExecContext(ctx, "INSERT INTO waited VALUES ($1)", 1))
				}),
				soon(func(ctx context.Context) error { return second(b.ExecContext(ctx, "INSERT INTO waited VALUES (2)")) }),
			} {
				if !errors.Is(err, context.Canceled) || !errors.Is(err, poolgate.ErrOutcomeUnknown) {
					t.Errorf("got %v", err)
				}
			}
			must(t, tx.Commit())
			b.settled(t)
			for n := range 10 {
				must(t, ask(t.Context(), b, n))
			}
			var n int
			must(t, b.QueryRow("SELECT count(*) FROM waited").Scan(&n))
			t.Logf("of two that were cancelled %d were executed", n)
		})
	}
}

func second[T any](_ T, err error) error { return err }

// After a restart of PgBouncer each caller goes on, and nothing is wrong meanwhile.
func TestPgBouncerRestart(t *testing.T) {
	onFaultWays(t, 12, 8, nil, func(t *testing.T, b *bounced) {
		stop := make(chan struct{})
		var working sync.WaitGroup
		var right, failed atomic.Int64
		for i := range 16 {
			working.Go(func() {
				for n := i; ; n += 16 {
					select {
					case <-stop:
						return
					default:
					}
					err := ask(t.Context(), b, n)
					if _, ok := errors.AsType[wrong](err); ok {
						t.Error(err)
					}
					if err != nil {
						failed.Add(1)
						time.Sleep(time.Millisecond)
						continue
					}
					right.Add(1)
				}
			})
		}
		for range 2 {
			before := right.Load()
			eventually(t, "queries are answered", func() bool { return right.Load() > before+50 })
			must(t, b.bouncer.Restart(t.Context()))
		}
		before := right.Load()
		eventually(t, "queries are answered again", func() bool { return right.Load() > before+50 })
		close(stop)
		working.Wait()
		b.settled(t)
		if failed.Load() == 0 {
			t.Error("the restart was not felt")
		}

		// Connections that were idle when it restarted are found before they are used.
		must(t, b.bouncer.Restart(t.Context()))
		for n := range 20 {
			if err := ask(t.Context(), b, n); err != nil {
				t.Errorf("after a restart: %v", err)
			}
		}
		t.Logf("%d queries failed beside %d", failed.Load(), right.Load())
	})
}

// A caller whom PgBouncer sends away from its queue gets an error, and the pool
// goes on.
func TestPgBouncerQueryWaitTimeout(t *testing.T) {
	settings := map[string]string{"query_wait_timeout": "1"}
	onFaultWays(t, 1, 2, settings, func(t *testing.T, b *bounced) {
		tx, err := b.BeginTx(t.Context(), nil)
		must(t, err)
		defer tx.Rollback()
		must(t, ask(t.Context(), tx, 1))
		err = ask(t.Context(), b, 2)
		if err == nil || errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a query that waited for longer returned %v", err)
		}
		// lib/pq keeps what the server said last to itself.
		if b.way.driver.Name == "pgx" && !strings.Contains(err.Error(), "query_wait_timeout") {
			t.Errorf("got %v", err)
		}
		must(t, ask(t.Context(), tx, 3))
		must(t, tx.Commit())
		for n := range 10 {
			must(t, ask(t.Context(), b, n))
		}
	})
}

// Nobody notices that PgBouncer replaces its connections to the server, nor that it
// closes those of its clients that are idle.
func TestPgBouncerReplacesConnections(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for seconds")
	}
	settings := map[string]string{"server_lifetime": "1", "client_idle_timeout": "1"}
	onFaultWays(t, 2, 2, settings, func(t *testing.T, b *bounced) {
		if b.way.bouncer.Mode == "session" { // where PgBouncer closes what its client has left
			b.SetConnMaxIdleTime(time.Second)
		}
		seen := map[int]bool{}
		for n, end := 0, time.Now().Add(patience); len(seen) < 3; n++ {
			if time.Now().After(end) {
				t.Fatalf("only %d connections of the server within %v", len(seen), patience)
			}
			must(t, ask(t.Context(), b, n))
			var pid int
			must(t, b.QueryRow("SELECT pg_backend_pid()").Scan(&pid))
			seen[pid] = true
			if n%20 == 10 { // long enough for PgBouncer to close what is idle
				time.Sleep(1500 * time.Millisecond)
			}
		}
	})
}

// DB.Ungated goes through PgBouncer like the rest.
func TestPgBouncerUngated(t *testing.T) {
	onFaultWays(t, 4, 1, nil, func(t *testing.T, b *bounced) {
		tx, err := b.BeginTx(t.Context(), nil)
		must(t, err)
		defer tx.Rollback()
		for n := range 20 {
			must(t, ask(t.Context(), b.Ungated(), n))
		}
		must(t, b.Ungated().PingContext(t.Context()))
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		if err := ask(ctx, b, 1); !isRejected(err) {
			t.Errorf("with the only permit taken: %v", err)
		}
	})
}

func isRejected(err error) bool {
	_, ok := errors.AsType[*gate.RejectedError](err)
	return ok
}
