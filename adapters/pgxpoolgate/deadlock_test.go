package pgxpoolgate_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolgate/poolgate/adapters/pgxpoolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// Code that holds a connection, in whatever form, and asks the pool for another
// waits for itself when enough do so.
func TestDeadlockIsFound(t *testing.T) {
	const limit = 3
	ctx := context.Background()
	nothing := func(pgx.Tx) error { return nil }
	for name, run := range map[string]func(f *fixture, together func()) error{
		"a query inside a transaction": func(f *fixture, together func()) error {
			return pgx.BeginFunc(ctx, f, func(pgx.Tx) error {
				together()
				_, err := f.Exec(ctx, "select 1")
				return err
			})
		},
		"a transaction inside of another": func(f *fixture, together func()) error {
			return pgx.BeginFunc(ctx, f, func(tx pgx.Tx) error {
				if _, err := tx.Exec(ctx, "select 1"); err != nil {
					return err
				}
				together()
				return pgx.BeginFunc(ctx, f, nothing)
			})
		},
		"a query between rows that are open": func(f *fixture, together func()) error {
			rows, err := f.Query(ctx, "select generate_series(1, 1000)")
			if err != nil {
				return err
			}
			defer rows.Close()
			rows.Next()
			together()
			return f.QueryRow(ctx, "select 1").Scan(new(int))
		},
		"a batch while a Conn is held": func(f *fixture, together func()) error {
			return f.AcquireFunc(ctx, func(*pgxpoolgate.Conn) error {
				together()
				return f.SendBatch(ctx, batch("select 1")).Close()
			})
		},
		"a Conn while a batch is open": func(f *fixture, together func()) error {
			br := f.SendBatch(ctx, batch("select 1"))
			defer br.Close()
			together()
			return f.AcquireFunc(ctx, func(*pgxpoolgate.Conn) error { return nil })
		},
	} {
		t.Run(name, func(t *testing.T) {
			both(t, gate.Config{Limit: limit}, func(t *testing.T, f *fixture) {
				var all, done sync.WaitGroup
				all.Add(limit)
				errs := make([]error, limit)
				for i := range limit {
					done.Go(func() {
						errs[i] = run(f, func() {
							all.Done()
							all.Wait()
						})
					})
				}
				done.Wait()
				refused := 0
				for _, err := range errs {
					rejected, ok := errors.AsType[*gate.RejectedError](err)
					switch {
					case err == nil:
					case !ok || !errors.Is(err, gate.ErrDeadlock):
						t.Error(err)
					default:
						refused++
						if len(rejected.Holders) != limit || strings.Count(err.Error(), "deadlock_test.go:") != limit {
							t.Errorf("%d holders: %v", len(rejected.Holders), err)
						}
					}
				}
				if refused != 1 {
					t.Errorf("%d were refused", refused)
				}
				f.usable(t)
			})
		})
	}
}

func TestManyThatNeedASecondConnectionMakeProgress(t *testing.T) {
	both(t, gate.Config{Limit: 4}, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		var done sync.WaitGroup
		var committed, refused atomic.Int64
		for range 40 {
			done.Go(func() {
				for range 3 {
					err := pgx.BeginFunc(ctx, f, func(tx pgx.Tx) error {
						if _, err := tx.Exec(ctx, "select 1"); err != nil {
							return err
						}
						_, err := f.Exec(ctx, "select 1")
						return err
					})
					switch {
					case err == nil:
						committed.Add(1)
					case errors.Is(err, gate.ErrDeadlock):
						refused.Add(1)
					default:
						t.Error(err)
					}
				}
			})
		}
		done.Wait()
		if committed.Load() < refused.Load() {
			t.Errorf("%d committed, %d were refused", committed.Load(), refused.Load())
		}
	})
}

func TestTransactionThatAnotherGoroutineWorksWithIsNoDeadlock(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		tx, err := f.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			_, err := tx.Exec(t.Context(), "select pg_sleep(0.3)")
			done <- errors.Join(err, tx.Commit(t.Context()))
		}()
		time.Sleep(time.Millisecond) // or the other has not said yet that it works with it
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if _, err := f.Exec(ctx, "select 1"); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// The server never sees more at work than the limit.
func TestServerSeesNoMoreThanTheLimit(t *testing.T) {
	both(t, gate.Config{Limit: 2}, func(t *testing.T, f *fixture) {
		var done sync.WaitGroup
		var enough atomic.Bool
		for range 20 {
			done.Go(func() {
				for !enough.Load() {
					if _, err := f.Exec(t.Context(), "select pg_sleep(0.005)"); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		most := 0
		eventually(t, "some are at work", func() bool { return f.sleeping(t) > 0 })
		for range 50 {
			most = max(most, f.sleeping(t))
		}
		enough.Store(true)
		done.Wait()
		if most > 2 {
			t.Errorf("%d were at work", most)
		}
		if n := f.Stat().TotalConns(); n > 3 {
			t.Errorf("%d connections are open", n)
		}
	})
}
