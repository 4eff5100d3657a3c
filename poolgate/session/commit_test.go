package session_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/poolgate/poolgate/poolgate/session"
)

func states(err *session.CommitError) (states []session.State) {
	for _, o := range err.Outcomes {
		states = append(states, o.State)
	}
	return states
}

// kill ends the backend of a session's transaction on db.
func kill(t *testing.T, db *fixture, dbtx session.DBTX) {
	t.Helper()
	var pid int
	must(t, dbtx.QueryRowContext(context.Background(), "SELECT pg_backend_pid()").Scan(&pid))
	exec(t, db, "SELECT pg_terminate_backend($1)", pid)
	eventually(t, "the backend is gone", func() bool {
		var n int
		must(t, db.QueryRowContext(context.Background(), "SELECT count(*) FROM pg_stat_activity WHERE pid = $1", pid).Scan(&n))
		return n == 0
	})
}

func TestCommit(t *testing.T) {
	ctx := context.Background()
	onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
		run("a COMMIT that fails is an error that says so", func(t *testing.T, db *fixture) {
			err := session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				return orphan(ctx, session.DB(ctx, db.DB.DB))
			})
			failed := as[*session.CommitError](t, err)
			if sqlState(err) != "23503" || !slices.Equal(states(failed), []session.State{session.RolledBack}) || failed.Outcomes[0].DB != db.DB.DB {
				t.Errorf("got %v, %v", err, failed.Outcomes)
			}
			has(t, db.DB)
		})
		both := func(first, second func(context.Context, execer) error, db *fixture) error {
			return session.Run(ctx, func(ctx context.Context) error {
				for i, statement := range []func(context.Context, execer) error{first, second} {
					dbtx := session.DB(ctx, []*fixture{db}[0].DB.DB)
					if i == 1 {
						dbtx = session.DB(ctx, db.other.DB)
					}
					if err := insert(ctx, dbtx, "a"); err != nil {
						return err
					}
					if err := statement(ctx, dbtx); err != nil {
						return err
					}
				}
				return nil
			})
		}
		nothing := func(context.Context, execer) error { return nil }
		run("several databases are committed together", func(t *testing.T, db *fixture) {
			must(t, both(nothing, nothing, db))
			has(t, db.DB, "a")
			has(t, db.other, "a")
		})
		run("none is committed if the first COMMIT fails", func(t *testing.T, db *fixture) {
			err := as[*session.CommitError](t, both(orphan, nothing, db))
			if !slices.Equal(states(err), []session.State{session.RolledBack, session.RolledBack}) {
				t.Errorf("got %v", err)
			}
			has(t, db.DB)
			has(t, db.other)
		})
		run("the error says which were committed if a later COMMIT fails", func(t *testing.T, db *fixture) {
			err := as[*session.CommitError](t, both(nothing, orphan, db))
			if !slices.Equal(states(err), []session.State{session.Committed, session.RolledBack}) ||
				err.Outcomes[0].DB != db.DB.DB || err.Outcomes[1].DB != db.other.DB {
				t.Errorf("got %v", err)
			}
			if text := err.Error(); !strings.Contains(text, "1 committed, 2 rolled back") {
				t.Error(text)
			}
			has(t, db.DB, "a")
			has(t, db.other)
		})
		run("nothing is committed on any if a statement had failed on one", func(t *testing.T, db *fixture) {
			err := both(nothing, func(ctx context.Context, dbtx execer) error {
				dbtx.ExecContext(ctx, "SELECT 1/0") // and swallowed
				return nil
			}, db)
			if as[*session.CommitError](t, err); sqlState(err) != "22012" {
				t.Errorf("got %v", err)
			}
			has(t, db.DB)
			has(t, db.other)
		})
		run("an error that comes with the rows counts too", func(t *testing.T, db *fixture) {
			err := session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				rows, err := session.DB(ctx, db.DB.DB).QueryContext(ctx, "SELECT 1/(3-n) FROM generate_series(1, 5) n")
				must(t, err)
				for rows.Next() {
				}
				return nil // and does not look at rows.Err
			})
			if as[*session.CommitError](t, err); sqlState(err) != "22012" {
				t.Errorf("got %v", err)
			}
			has(t, db.DB)
		})
		run("a connection that is lost in the COMMIT leaves it unknown", func(t *testing.T, db *fixture) {
			err := session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				kill(t, db, session.DB(ctx, db.DB.DB))
				return nil
			})
			if failed := as[*session.CommitError](t, err); !slices.Equal(states(failed), []session.State{session.Unknown}) {
				t.Errorf("got %v", err)
			}
			has(t, db.DB)
		})
	})
}

func TestHooks(t *testing.T) {
	ctx := context.Background()
	onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
		run("run in order, before in the unit and after outside of it", func(t *testing.T, db *fixture) {
			var order []string
			must(t, session.Run(ctx, func(ctx context.Context) error {
				s := session.From(ctx)
				for _, name := range []string{"1", "2"} {
					must(t, s.BeforeCommit(func(ctx context.Context) error {
						order = append(order, "before "+name)
						return insert(ctx, session.DB(ctx, db.DB.DB), name)
					}))
					must(t, s.AfterCommit(func(ctx context.Context) {
						order = append(order, "after "+name)
						if session.From(ctx) != nil {
							t.Error("it is in the unit")
						}
						nothingHeld(t, db.DB)
						has(t, db.DB, "1", "2", "a")
					}))
				}
				return insert(ctx, session.DB(ctx, db.DB.DB), "a")
			}))
			if got := strings.Join(order, ", "); got != "before 1, before 2, after 1, after 2" {
				t.Error(got)
			}
		})
		run("one that fails before rolls back, and those after are not run", func(t *testing.T, db *fixture) {
			err := session.Run(ctx, func(ctx context.Context) error {
				must(t, session.From(ctx).BeforeCommit(func(ctx context.Context) error { return errMine }))
				must(t, session.From(ctx).AfterCommit(func(context.Context) { t.Error("it was run") }))
				return insert(ctx, session.DB(ctx, db.DB.DB), "a")
			})
			as[*session.CommitError](t, err)
			is(t, err, errMine)
			has(t, db.DB)
		})
		run("are not run where nothing was committed", func(t *testing.T, db *fixture) {
			forbid := func(s *session.Session) {
				must(t, s.AfterCommit(func(context.Context) { t.Error("it was run") }))
			}
			before := func(ctx context.Context) error { t.Error("it was run"); return nil }
			session.Run(ctx, func(ctx context.Context) error { // rolled back
				forbid(session.From(ctx))
				must(t, session.From(ctx).BeforeCommit(before))
				return errMine
			})
			session.Run(ctx, func(ctx context.Context) error { // failed
				forbid(session.From(ctx))
				return orphan(ctx, session.DB(ctx, db.DB.DB))
			})
			must(t, session.Run(ctx, func(ctx context.Context) error { // undone in part
				session.Run(ctx, func(ctx context.Context) error {
					forbid(session.From(ctx))
					must(t, session.From(ctx).BeforeCommit(before))
					return errMine
				})
				return insert(ctx, session.DB(ctx, db.DB.DB), "a")
			}))
			s, err := session.New(ctx, session.Config{})
			must(t, err)
			forbid(s)
			must(t, s.Rollback())
			must(t, s.Commit())
			forbid(s)
			must(t, s.Close())
		})
		run("are run once, by the commit that comes next", func(t *testing.T, db *fixture) {
			n := 0
			s, err := session.New(ctx, session.Config{})
			must(t, err)
			must(t, s.AfterCommit(func(context.Context) {
				n++
				must(t, s.AfterCommit(func(context.Context) { n++ }))
			}))
			must(t, s.BeforeCommit(func(ctx context.Context) error {
				n++
				return session.From(ctx).BeforeCommit(func(context.Context) error { n++; return nil })
			}))
			must(t, s.Commit())
			must(t, s.Commit())
			must(t, s.Close())
			if n != 4 {
				t.Errorf("%d runs", n)
			}
		})
		run("those of an attempt that is repeated are dropped", func(t *testing.T, db *fixture) {
			attempts, hooks := 0, 0
			must(t, session.Config{Attempts: 3}.Run(ctx, func(ctx context.Context) error {
				attempts++
				must(t, session.From(ctx).AfterCommit(func(context.Context) { hooks++ }))
				if attempts < 3 {
					_, err := session.DB(ctx, db.DB.DB).ExecContext(ctx, "DO $$ BEGIN RAISE SQLSTATE '40001'; END $$")
					return err
				}
				return nil
			}))
			if attempts != 3 || hooks != 1 {
				t.Errorf("%d attempts, %d hooks", attempts, hooks)
			}
		})
		run("a hook that closes the session does not hang", func(t *testing.T, db *fixture) {
			s, err := session.New(ctx, session.Config{})
			must(t, err)
			must(t, insert(ctx, s.DB(db.DB.DB), "a"))
			must(t, s.AfterCommit(func(context.Context) { must(t, s.Close()) }))
			must(t, s.Commit())
			is(t, s.Commit(), session.ErrClosed)
			has(t, db.DB, "a")
		})
		run("a panic in a hook gives everything back", func(t *testing.T, db *fixture) {
			for _, add := range []func(*session.Session){
				func(s *session.Session) { s.BeforeCommit(func(context.Context) error { panic(errMine) }) },
				func(s *session.Session) { s.AfterCommit(func(context.Context) { panic(errMine) }) },
			} {
				func() {
					defer func() {
						if got := recover(); got != errMine {
							t.Errorf("the panic is %v", got)
						}
						nothingHeld(t, db.DB)
					}()
					session.Run(ctx, func(ctx context.Context) error {
						add(session.From(ctx))
						return insert(ctx, session.DB(ctx, db.DB.DB), "a")
					})
				}()
			}
			has(t, db.DB, "a") // only the second was committed when it panicked
		})
	})
}

func TestStateNames(t *testing.T) {
	for state, want := range map[session.State]string{
		session.RolledBack: "rolled back", session.Committed: "committed", session.Unknown: "unknown", 9: "State(9)",
	} {
		if got := state.String(); got != want {
			t.Errorf("%d is %q", int(state), got)
		}
	}
	one := &session.CommitError{Outcomes: []session.Outcome{{State: session.Unknown}}, Err: errors.New("why")}
	if got := one.Error(); got != "session: not known to be committed: why" {
		t.Error(got)
	}
}
