package session_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/session"
)

var _, _, _ session.DBTX = (*sql.DB)(nil), (*sql.Tx)(nil), (*sql.Conn)(nil)

var errMine = errors.New("mine")

func TestRun(t *testing.T) {
	ctx := context.Background()
	onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
		run("commits when the function returns nil", func(t *testing.T, db *fixture) {
			must(t, session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				has(t, db.DB) // nobody else sees it yet
				return insert(ctx, session.DB(ctx, db.DB.DB), "b")
			}))
			has(t, db.DB, "a", "b")
		})
		run("rolls back when it fails, and returns the error itself", func(t *testing.T, db *fixture) {
			err := session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				return errMine
			})
			if err != errMine {
				t.Errorf("got %v", err)
			}
			has(t, db.DB)
		})
		run("rolls back when it panics, and the panic goes on", func(t *testing.T, db *fixture) {
			defer func() {
				if got := recover(); got != errMine {
					t.Errorf("the panic is %v", got)
				}
				nothingHeld(t, db.DB)
				has(t, db.DB)
			}()
			session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				panic(errMine)
			})
		})
		run("rolls back when it ends the goroutine", func(t *testing.T, db *fixture) {
			done := make(chan struct{})
			go func() {
				defer close(done)
				session.Run(ctx, func(ctx context.Context) error {
					insert(ctx, session.DB(ctx, db.DB.DB), "a")
					runtime.Goexit()
					return nil
				})
			}()
			<-done
			has(t, db.DB)
		})
		run("takes no connection until the first statement, and one for all", func(t *testing.T, db *fixture) {
			before := db.Gate().Stats().Acquired
			must(t, session.Run(ctx, func(ctx context.Context) error { return nil }))
			must(t, session.Run(ctx, func(ctx context.Context) error {
				dbtx := session.DB(ctx, db.DB.DB)
				inFlight(t, db.DB, 0)
				for range 3 {
					must(t, insert(ctx, dbtx, "a"))
				}
				return insert(ctx, session.DB(ctx, db.DB.DB), "b")
			}))
			if got := db.Gate().Stats().Acquired - before; got != 1 {
				t.Errorf("%d permits were taken", got)
			}
		})
		run("has a unit that a callee opens seen by the caller", func(t *testing.T, db *fixture) {
			must(t, session.Run(ctx, func(ctx context.Context) error {
				callee := func(ctx context.Context) { // a deeper context, as a callee has it
					ctx, cancel := context.WithTimeout(ctx, time.Minute)
					defer cancel()
					must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				}
				callee(ctx)
				var n int
				must(t, session.DB(ctx, db.DB.DB).QueryRowContext(ctx, "SELECT count(*) FROM texts").Scan(&n))
				if n != 1 {
					t.Errorf("the caller sees %d rows", n)
				}
				return nil
			}))
			has(t, db.DB, "a")
		})
		run("is the pool itself outside of a unit", func(t *testing.T, db *fixture) {
			if session.DB(ctx, db.DB.DB) != session.DBTX(db.DB.DB) || session.From(ctx) != nil {
				t.Error("there is a session")
			}
			must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
			has(t, db.DB, "a")
		})
		run("gives all four calls of a DBTX", func(t *testing.T, db *fixture) {
			must(t, session.Run(ctx, func(ctx context.Context) error {
				dbtx := session.DB(ctx, db.DB.DB)
				stmt, err := dbtx.PrepareContext(ctx, "INSERT INTO texts VALUES ($1)")
				must(t, err)
				for _, text := range []string{"a", "b"} {
					_, err := stmt.ExecContext(ctx, text)
					must(t, err)
				}
				rows, err := dbtx.QueryContext(ctx, "SELECT text FROM texts ORDER BY 1")
				must(t, err)
				n := 0
				for rows.Next() {
					n++
				}
				must(t, rows.Err())
				var text string
				must(t, dbtx.QueryRowContext(ctx, "SELECT max(text) FROM texts").Scan(&text))
				if n != 2 || text != "b" {
					t.Errorf("%d rows, the last is %q", n, text)
				}
				return nil
			}))
			has(t, db.DB, "a", "b")
		})
		run("returns a failure to begin from every call", func(t *testing.T, db *fixture) {
			gone := errors.New("gone")
			broken := sql.OpenDB(unreachable{gone})
			defer broken.Close()
			must(t, session.Run(ctx, func(ctx context.Context) error {
				dbtx := session.DB(ctx, broken)
				_, err := dbtx.ExecContext(ctx, "SELECT 1")
				is(t, err, gone)
				_, err = dbtx.QueryContext(ctx, "SELECT 1")
				is(t, err, gone)
				_, err = dbtx.PrepareContext(ctx, "SELECT 1")
				is(t, err, gone)
				row := dbtx.QueryRowContext(ctx, "SELECT 1")
				is(t, row.Err(), gone)
				is(t, row.Scan(new(int)), gone)
				return insert(ctx, session.DB(ctx, db.DB.DB), "a") // the unit is none the worse
			}))
			has(t, db.DB, "a")
		})
		run("refuses those who come after its end", func(t *testing.T, db *fixture) {
			var late context.Context
			must(t, session.Run(ctx, func(ctx context.Context) error { late = ctx; return nil }))
			is(t, insert(late, session.DB(late, db.DB.DB), "a"), session.ErrClosed)
			is(t, session.Run(late, func(context.Context) error { return nil }), session.ErrClosed)
			s := session.From(late)
			is(t, s.Commit(), session.ErrClosed)
			is(t, s.Rollback(), session.ErrClosed)
			is(t, s.AfterCommit(func(context.Context) {}), session.ErrClosed)
			must(t, s.Close())
			must(t, session.RunNew(late, func(ctx context.Context) error {
				return insert(ctx, session.DB(ctx, db.DB.DB), "new")
			}))
			has(t, db.DB, "new")
		})
		run("applies isolation and read only, in the server", func(t *testing.T, db *fixture) {
			err := session.Config{Isolation: sql.LevelSerializable, ReadOnly: true}.Run(ctx, func(ctx context.Context) error {
				var isolation, readOnly string
				dbtx := session.DB(ctx, db.DB.DB)
				must(t, dbtx.QueryRowContext(ctx, "SELECT current_setting('transaction_isolation')").Scan(&isolation))
				must(t, dbtx.QueryRowContext(ctx, "SELECT current_setting('transaction_read_only')").Scan(&readOnly))
				if isolation != "serializable" || readOnly != "on" {
					t.Errorf("isolation %s, read only %s", isolation, readOnly)
				}
				return insert(ctx, dbtx, "a")
			})
			if state := sqlState(err); state != "25006" {
				t.Errorf("the write gave %v", err)
			}
		})
		run("RunNew is independent of the unit around it", func(t *testing.T, db *fixture) {
			err := session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "outer"))
				must(t, session.RunNew(ctx, func(ctx context.Context) error {
					must(t, insert(ctx, session.DB(ctx, db.DB.DB), "inner"))
					inFlight(t, db.DB, 2)
					return nil
				}))
				return errMine
			})
			is(t, err, errMine)
			has(t, db.DB, "inner")
		})
		run("Atomic commits, and rolls back, a session that no context carries", func(t *testing.T, db *fixture) {
			must(t, session.Atomic(ctx, func(s *session.Session) error { return insert(ctx, s.DB(db.DB.DB), "a") }))
			is(t, session.Atomic(ctx, func(s *session.Session) error {
				must(t, insert(ctx, s.DB(db.DB.DB), "b"))
				return errMine
			}), errMine)
			has(t, db.DB, "a")
		})
		run("a refusal by the gate arrives as it is", func(t *testing.T, db *fixture) {
			small, err := db.open(poolgate.Config{Gate: gate.Config{Limit: 1, MaxWait: 20 * time.Millisecond}})
			must(t, err)
			defer small.Close()
			is(t, session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, small.DB), "a"))
				return session.RunNew(ctx, func(ctx context.Context) error {
					return insert(ctx, session.DB(ctx, small.DB), "b")
				})
			}), gate.ErrWaitTimeout)
			nothingHeld(t, small)
			has(t, db.DB)
		})
	})
}

func TestDetached(t *testing.T) {
	ctx := context.Background()
	onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
		run("is committed in parts, and what remains is rolled back", func(t *testing.T, db *fixture) {
			s, err := session.New(ctx, session.Config{})
			must(t, err)
			dbtx := s.DB(db.DB.DB)
			must(t, insert(ctx, dbtx, "a"))
			must(t, s.Commit())
			inFlight(t, db.DB, 0)
			must(t, insert(ctx, dbtx, "b"))
			inFlight(t, db.DB, 1)
			must(t, s.Rollback())
			inFlight(t, db.DB, 0)
			must(t, insert(ctx, dbtx, "c"))
			must(t, s.Commit())
			must(t, insert(ctx, dbtx, "d"))
			must(t, s.Close())
			must(t, s.Close())
			is(t, insert(ctx, dbtx, "e"), session.ErrClosed)
			has(t, db.DB, "a", "c")
		})
		run("can be committed and closed early inside of Run", func(t *testing.T, db *fixture) {
			must(t, session.RunNew(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				must(t, session.From(ctx).Commit())
				inFlight(t, db.DB, 0)
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "b"))
				must(t, session.From(ctx).Close())
				inFlight(t, db.DB, 0)
				is(t, insert(ctx, session.DB(ctx, db.DB.DB), "c"), session.ErrClosed)
				return nil
			}))
			has(t, db.DB, "a")
		})
		run("what was committed early stays when the function fails later", func(t *testing.T, db *fixture) {
			is(t, session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				must(t, session.From(ctx).Commit())
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "b"))
				return errMine
			}), errMine)
			has(t, db.DB, "a")
		})
	})
}

func TestRetry(t *testing.T) {
	ctx := context.Background()
	onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
		// Two that read what the other writes: one of them has to go.
		skew := func(t *testing.T, db *fixture, o session.Config) (calls int, errs []error) {
			exec(t, db, "INSERT INTO texts VALUES ('x')")
			o.Isolation = sql.LevelSerializable
			var mu sync.Mutex
			var wg, both sync.WaitGroup
			both.Add(2)
			errs = make([]error, 2)
			for i := range errs {
				wg.Go(func() {
					first := true
					errs[i] = o.Run(ctx, func(ctx context.Context) error {
						mu.Lock()
						calls++
						mu.Unlock()
						var n int
						if err := session.DB(ctx, db.DB.DB).QueryRowContext(ctx, "SELECT count(*) FROM texts").Scan(&n); err != nil {
							return err
						}
						if first {
							first = false
							both.Done()
							both.Wait()
						}
						if err := insert(ctx, session.DB(ctx, db.DB.DB), "y"); err != nil {
							return fmt.Errorf("wrapped: %w", err)
						}
						return nil
					})
				})
			}
			wg.Wait()
			return calls, errs
		}
		run("repeats the whole unit after a serialization failure", func(t *testing.T, db *fixture) {
			calls, errs := skew(t, db, session.Config{Attempts: 5})
			if calls != 3 || errs[0] != nil || errs[1] != nil {
				t.Errorf("%d calls, errors %v", calls, errs)
			}
			has(t, db.DB, "x", "y", "y")
		})
		run("does not, unless the unit says that it may be repeated", func(t *testing.T, db *fixture) {
			calls, errs := skew(t, db, session.Config{})
			if calls != 2 || (errs[0] == nil) == (errs[1] == nil) || sqlState(errors.Join(errs...)) != "40001" {
				t.Errorf("%d calls, errors %v", calls, errs)
			}
		})
		run("repeats it after a deadlock", func(t *testing.T, db *fixture) {
			exec(t, db, "INSERT INTO parents VALUES (1), (2)")
			var wg, both sync.WaitGroup
			both.Add(2)
			for _, order := range [][]int{{1, 2}, {2, 1}} {
				wg.Go(func() {
					first := true
					err := session.Config{Attempts: 4}.Run(ctx, func(ctx context.Context) error {
						exec(t, session.DB(ctx, db.DB.DB), "SET LOCAL deadlock_timeout = '10ms'")
						for i, id := range order {
							if i == 1 && first {
								first = false
								both.Done()
								both.Wait()
							}
							_, err := session.DB(ctx, db.DB.DB).ExecContext(ctx, "SELECT FROM parents WHERE id = $1 FOR UPDATE", id)
							if err != nil {
								return err
							}
						}
						return insert(ctx, session.DB(ctx, db.DB.DB), "done")
					})
					if err != nil {
						t.Error(err)
					}
				})
			}
			wg.Wait()
			has(t, db.DB, "done", "done")
		})
		fail := func(ctx context.Context, db *fixture, state string) error {
			_, err := session.DB(ctx, db.DB.DB).ExecContext(ctx, fmt.Sprintf("DO $$ BEGIN RAISE SQLSTATE '%s'; END $$", state))
			return err
		}
		run("gives up after the last attempt, and says so", func(t *testing.T, db *fixture) {
			calls := 0
			err := session.Config{Attempts: 3}.RunNew(ctx, func(ctx context.Context) error {
				calls++
				return fail(ctx, db, "40P01")
			})
			if calls != 3 || sqlState(err) != "40P01" || !strings.Contains(err.Error(), "3 attempts") {
				t.Errorf("%d calls, %v", calls, err)
			}
		})
		run("repeats for no other error, and not after an early commit", func(t *testing.T, db *fixture) {
			calls := 0
			err := session.Config{Attempts: 3}.Atomic(ctx, func(s *session.Session) error {
				calls++
				_, err := s.DB(db.DB.DB).ExecContext(ctx, "SELECT 1/0")
				return err
			})
			if calls != 1 || sqlState(err) != "22012" {
				t.Errorf("%d calls, %v", calls, err)
			}
			err = session.Config{Attempts: 3}.Run(ctx, func(ctx context.Context) error {
				calls++
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				must(t, session.From(ctx).Commit())
				return fail(ctx, db, "40001")
			})
			if calls != 2 || sqlState(err) != "40001" {
				t.Errorf("%d calls, %v", calls-1, err)
			}
			has(t, db.DB, "a")
		})
		run("does not repeat a part of a unit", func(t *testing.T, db *fixture) {
			outer, inner := 0, 0
			err := session.Config{Attempts: 2}.Run(ctx, func(ctx context.Context) error {
				outer++
				return session.Config{Attempts: 5}.Run(ctx, func(ctx context.Context) error {
					inner++
					return fail(ctx, db, "40001")
				})
			})
			if outer != 2 || inner != 2 || sqlState(err) != "40001" {
				t.Errorf("%d and %d calls, %v", outer, inner, err)
			}
		})
		run("stops when the context ends", func(t *testing.T, db *fixture) {
			ctx, cancel := context.WithCancel(ctx)
			calls := 0
			err := session.Config{Attempts: 1000}.Run(ctx, func(ctx context.Context) error {
				calls++
				err := fail(ctx, db, "40001")
				cancel()
				return err
			})
			if calls != 1 || sqlState(err) != "40001" {
				t.Errorf("%d calls, %v", calls, err)
			}
		})
	})
}

func TestConfigsAreRefusedWhenGiven(t *testing.T) {
	ctx := context.Background()
	for _, test := range []struct {
		field  string
		config session.Config
	}{
		{"Config.Isolation", session.Config{Isolation: 99}},
		{"Config.WhenOpen", session.Config{WhenOpen: 99}},
		{"Config.Attempts", session.Config{Attempts: -1}},
	} {
		fn := func(context.Context) error { t.Error("it was run"); return nil }
		_, err := session.New(ctx, test.config)
		errs := []error{
			err,
			test.config.Run(ctx, fn),
			test.config.RunNew(ctx, fn),
			test.config.Atomic(ctx, func(*session.Session) error { return fn(ctx) }),
			session.Run(ctx, func(ctx context.Context) error { return test.config.Run(ctx, fn) }),
		}
		for i, err := range errs {
			if err == nil || !strings.Contains(err.Error(), test.field) {
				t.Errorf("%s, call %d: got %v", test.field, i, err)
			}
		}
	}
}

func TestNoSession(t *testing.T) {
	s := session.From(context.Background())
	for i, err := range []error{
		s.Commit(), s.Rollback(), s.Close(),
		s.BeforeCommit(func(context.Context) error { return nil }),
		s.AfterCommit(func(context.Context) {}),
	} {
		if err != session.ErrNoSession {
			t.Errorf("call %d: got %v", i, err)
		}
	}
}
