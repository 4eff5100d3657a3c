package session_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/session"
)

func TestCancellation(t *testing.T) {
	background := context.Background()
	onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
		run("the end of the context gives the connection back while the function still works", func(t *testing.T, db *fixture) {
			ctx, cancel := context.WithCancel(background)
			err := session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				cancel()
				eventually(t, "the permit is free", func() bool { return db.Gate().Stats().InFlight == 0 })
				is(t, insert(background, session.DB(ctx, db.DB.DB), "b"), context.Canceled)
				return nil
			})
			as[*session.CommitError](t, err)
			is(t, err, context.Canceled)
			has(t, db.DB)
		})
		run("the connection is not lost with it", func(t *testing.T, db *fixture) {
			var before, after int
			must(t, db.QueryRowContext(background, "SELECT pg_backend_pid()").Scan(&before))
			ctx, cancel := context.WithCancel(background)
			is(t, session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				cancel()
				return nil
			}), context.Canceled)
			must(t, db.QueryRowContext(background, "SELECT pg_backend_pid()").Scan(&after))
			if before != after {
				t.Errorf("backend %d became %d", before, after)
			}
			has(t, db.DB)
		})
		run("all is given back when Run returns, even if the context ends just then", func(t *testing.T, db *fixture) {
			committed := 0
			for i := range 100 {
				ctx, cancel := context.WithCancel(background)
				go func() {
					time.Sleep(time.Duration(i) * 20 * time.Microsecond)
					cancel()
				}()
				var first, second error
				err := session.Run(ctx, func(ctx context.Context) error {
					first = insert(ctx, session.DB(ctx, db.DB.DB), "a")
					second = insert(background, session.DB(ctx, db.DB.DB), "a")
					return nil
				})
				cancel()
				for _, err := range []error{first, second, err} {
					if err != nil {
						is(t, err, context.Canceled)
					}
				}
				if first == nil && second != nil && err == nil {
					t.Errorf("it was committed after %v", second)
				}
				if err == nil {
					for _, err := range []error{first, second} {
						if err == nil {
							committed++
						}
					}
				}
				eventually(t, "nothing is held", func() bool { return db.Gate().Stats().InFlight == 0 && db.Stats().InUse == 0 })
			}
			has(t, db.DB, slices.Repeat([]string{"a"}, committed)...)
		})
		run("a commit is all or nothing, and the error knows, whenever the context ends", func(t *testing.T, db *fixture) {
			committed := 0
			for i := range 60 {
				ctx, cancel := context.WithCancel(background)
				err := session.Run(ctx, func(ctx context.Context) error {
					must(t, insert(background, session.DB(ctx, db.DB.DB), "a"))
					go func() {
						time.Sleep(time.Duration(i) * 10 * time.Microsecond)
						cancel()
					}()
					return nil
				})
				cancel()
				if err == nil {
					committed++
				} else if failed := as[*session.CommitError](t, err); !slices.Equal(states(failed), []session.State{session.RolledBack}) {
					t.Errorf("got %v", err)
				}
			}
			has(t, db.DB, slices.Repeat([]string{"a"}, committed)...)
		})
		run("a statement's own context does not end the transaction", func(t *testing.T, db *fixture) {
			must(t, session.Run(background, func(ctx context.Context) error {
				short, cancel := context.WithTimeout(ctx, time.Minute)
				must(t, insert(short, session.DB(ctx, db.DB.DB), "a")) // begins it
				cancel()
				return insert(ctx, session.DB(ctx, db.DB.DB), "b")
			}))
			has(t, db.DB, "a", "b")
		})
		run("a statement waits for the gate as long as its own context allows", func(t *testing.T, db *fixture) {
			small, err := db.open(poolgate.Config{Gate: gate.Config{Limit: 1, MaxWait: time.Minute}})
			must(t, err)
			defer small.Close()
			permit, err := small.Gate().Acquire(background)
			must(t, err)
			must(t, session.Run(background, func(ctx context.Context) error {
				short, cancel := context.WithTimeout(ctx, 20*time.Millisecond)
				defer cancel()
				err := insert(short, session.DB(ctx, small.DB), "a")
				is(t, err, context.DeadlineExceeded)
				is(t, err, gate.ErrCanceled)
				permit.Release()
				return insert(ctx, session.DB(ctx, small.DB), "b")
			}))
			nothingHeld(t, small)
			has(t, db.DB, "b")
		})
		run("a wait for the gate ends with the unit's context too", func(t *testing.T, db *fixture) {
			small, err := db.open(poolgate.Config{Gate: gate.Config{Limit: 1, MaxWait: time.Minute}})
			must(t, err)
			defer small.Close()
			permit, err := small.Gate().Acquire(background)
			must(t, err)
			defer permit.Release()
			ctx, cancel := context.WithTimeout(background, 20*time.Millisecond)
			defer cancel()
			is(t, session.Run(ctx, func(ctx context.Context) error {
				return insert(background, session.DB(ctx, small.DB), "a")
			}), context.DeadlineExceeded)
		})
		run("what was committed early is no failure when the context ends later", func(t *testing.T, db *fixture) {
			ctx, cancel := context.WithCancel(background)
			must(t, session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				must(t, session.From(ctx).Commit())
				cancel()
				return nil
			}))
			has(t, db.DB, "a")
		})
		run("a nested Run sees the end too", func(t *testing.T, db *fixture) {
			ctx, cancel := context.WithCancel(background)
			err := session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				return session.Run(ctx, func(ctx context.Context) error {
					must(t, insert(ctx, session.DB(ctx, db.DB.DB), "b"))
					cancel()
					return nil
				})
			})
			is(t, err, context.Canceled)
			has(t, db.DB)
		})
		run("a detached session is given back too", func(t *testing.T, db *fixture) {
			ctx, cancel := context.WithCancel(background)
			s, err := session.New(ctx, session.Config{})
			must(t, err)
			must(t, insert(ctx, s.DB(db.DB.DB), "a"))
			cancel()
			eventually(t, "the permit is free", func() bool { return db.Gate().Stats().InFlight == 0 })
			is(t, s.Commit(), context.Canceled)
			must(t, s.Close())
			has(t, db.DB)
		})
	})
}

var errRefused = errors.New("refused by the server")

// What happens to a COMMIT when the unit's context ends in it, in virtual time.
func TestTheContextEndsIn(t *testing.T) {
	pass := func(context.Context) error { return nil }
	for _, test := range []struct {
		name          string
		begin, commit func(cancel func()) func(context.Context) error
		deadline      time.Duration // of the context; 0 means none
		err, not      error
		state         session.State
		ended         string
		took          time.Duration
	}{
		{
			name: "BEGIN: the transaction is not used",
			begin: func(cancel func()) func(context.Context) error {
				return func(context.Context) error { cancel(); return nil }
			},
			err: context.Canceled, ended: "rolled back",
		},
		{
			name: "a COMMIT that takes some seconds: it is not cut off",
			commit: func(cancel func()) func(context.Context) error {
				return func(ctx context.Context) error {
					cancel()
					time.Sleep(4 * time.Second)
					return ctx.Err()
				}
			},
			ended: "committed", took: 4 * time.Second,
		},
		{
			name: "a COMMIT that never comes back: it is, after five seconds, and its outcome unknown",
			commit: func(cancel func()) func(context.Context) error {
				return func(ctx context.Context) error {
					cancel()
					<-ctx.Done()
					return ctx.Err()
				}
			},
			err: context.Canceled, state: session.Unknown, ended: "broken", took: 5 * time.Second,
		},
		{
			name: "a COMMIT that never comes back, by its deadline: the error is the deadline's",
			commit: func(func()) func(context.Context) error {
				return func(ctx context.Context) error {
					<-ctx.Done()
					return ctx.Err()
				}
			},
			deadline: time.Second, err: context.DeadlineExceeded, not: context.Canceled,
			state: session.Unknown, ended: "broken", took: 6 * time.Second,
		},
		{
			name: "a COMMIT that the server cancels when the deadline is over",
			commit: func(func()) func(context.Context) error {
				return func(context.Context) error {
					time.Sleep(2 * time.Second)
					return &pgconn.PgError{Code: "57014"}
				}
			},
			deadline: time.Second, err: context.DeadlineExceeded, ended: "broken", took: 2 * time.Second,
		},
		{
			name: "a COMMIT that the server refuses for another reason",
			commit: func(func()) func(context.Context) error {
				return func(context.Context) error {
					time.Sleep(2 * time.Second)
					return &pgconn.PgError{Code: "23503"}
				}
			},
			deadline: time.Second, err: errRefused, not: context.DeadlineExceeded, ended: "broken", took: 2 * time.Second,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(context.Background())
				if test.deadline > 0 {
					ctx, cancel = context.WithTimeout(ctx, test.deadline)
				}
				defer cancel()
				ended := ""
				script := scripted{begin: pass, commit: pass, ended: &ended}
				if test.begin != nil {
					script.begin = test.begin(cancel)
				}
				if test.commit != nil {
					script.commit = test.commit(cancel)
				}
				db := sql.OpenDB(script)
				start := time.Now()
				err := session.Run(ctx, func(ctx context.Context) error {
					_, err := session.DB(ctx, db).ExecContext(context.Background(), "x")
					return err
				})
				if test.err == errRefused {
					if sqlState(err) != "23503" {
						t.Errorf("got %v", err)
					}
				} else {
					is(t, err, test.err)
				}
				if test.not != nil && errors.Is(err, test.not) {
					t.Errorf("%v is %v too", err, test.not)
				}
				if failed, ok := errors.AsType[*session.CommitError](err); ok && failed.Outcomes[0].State != test.state {
					t.Errorf("got %v", err)
				}
				synctest.Wait()
				if took := time.Since(start); ended != test.ended || took != test.took {
					t.Errorf("it was %s after %v", ended, took)
				}
				must(t, db.Close())
				time.Sleep(time.Minute) // for the timers
			})
		})
	}
}
