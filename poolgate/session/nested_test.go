package session_test

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/poolgate/poolgate/poolgate/session"
)

func TestNested(t *testing.T) {
	ctx := context.Background()
	onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
		run("is undone by itself when it fails", func(t *testing.T, db *fixture) {
			must(t, session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				err := session.Run(ctx, func(ctx context.Context) error {
					must(t, insert(ctx, session.DB(ctx, db.DB.DB), "b"))
					_, err := session.DB(ctx, db.DB.DB).ExecContext(ctx, "SELECT 1/0")
					return err
				})
				if sqlState(err) != "22012" {
					t.Errorf("got %v", err)
				}
				return insert(ctx, session.DB(ctx, db.DB.DB), "c")
			}))
			has(t, db.DB, "a", "c")
		})
		run("is undone by itself when it panics", func(t *testing.T, db *fixture) {
			must(t, session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				func() {
					defer func() {
						if recover() != errMine {
							t.Error("the panic did not go on")
						}
					}()
					session.Run(ctx, func(ctx context.Context) error {
						must(t, insert(ctx, session.DB(ctx, db.DB.DB), "b"))
						panic(errMine)
					})
				}()
				return nil
			}))
			has(t, db.DB, "a")
		})
		run("goes with the outer one", func(t *testing.T, db *fixture) {
			is(t, session.Run(ctx, func(ctx context.Context) error {
				must(t, session.Run(ctx, func(ctx context.Context) error {
					return insert(ctx, session.DB(ctx, db.DB.DB), "a")
				}))
				return errMine
			}), errMine)
			has(t, db.DB)
		})
		run("undoes what failed of three levels, and no more", func(t *testing.T, db *fixture) {
			// Each level writes before, and after, its inner one, or only one
			// of them, so that transactions begin and savepoints are set at
			// every depth; each level fails or does not. 512 ways are too
			// many for a short test: every 11th has all digits in it.
			for bits := 0; bits < 1<<9; bits += 11 {
				exec(t, db, "DELETE FROM texts")
				var want []string
				var level func(ctx context.Context, depth int) ([]string, error)
				level = func(ctx context.Context, depth int) (kept []string, err error) {
					if depth == 3 {
						return nil, nil
					}
					mine := bits >> (3 * depth)
					body := func(ctx context.Context) error {
						kept = nil
						write := func(name string) {
							must(t, insert(ctx, session.DB(ctx, db.DB.DB), name))
							kept = append(kept, name)
						}
						if mine&1 != 0 {
							write(string(rune('a' + 2*depth)))
						}
						inner, _ := level(ctx, depth+1)
						kept = append(kept, inner...)
						if mine&2 != 0 {
							write(string(rune('b' + 2*depth)))
						}
						if mine&4 != 0 {
							return errMine
						}
						return nil
					}
					err = session.Run(ctx, body)
					if (mine&4 != 0) != (err == errMine) || mine&4 == 0 && err != nil {
						t.Fatalf("bits %09b, depth %d: %v", bits, depth, err)
					}
					if err != nil {
						kept = nil
					}
					return kept, err
				}
				want, _ = level(ctx, 0)
				want = strings.Split(strings.Join(want, ""), "")
				if len(want) == 1 && want[0] == "" {
					want = nil
				}
				slices.Sort(want)
				has(t, db.DB, want...)
				if t.Failed() {
					t.Fatalf("bits %09b", bits)
				}
			}
		})
		run("one after the other are undone each by itself, also where the first began the transaction", func(t *testing.T, db *fixture) {
			must(t, session.Run(ctx, func(ctx context.Context) error {
				for _, name := range []string{"a", "b", "c", "d"} {
					session.Run(ctx, func(ctx context.Context) error {
						must(t, session.Run(ctx, func(ctx context.Context) error {
							return insert(ctx, session.DB(ctx, db.DB.DB), name)
						}))
						if name == "b" || name == "d" {
							return errMine
						}
						return nil
					})
				}
				return nil
			}))
			has(t, db.DB, "a", "c")
		})
		run("sets savepoints only where it is used, and frees a connection that it began", func(t *testing.T, db *fixture) {
			must(t, session.Run(ctx, func(ctx context.Context) error {
				is(t, session.Run(ctx, func(ctx context.Context) error {
					must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
					must(t, insert(ctx, session.DB(ctx, db.other.DB), "a"))
					return errMine
				}), errMine)
				inFlight(t, db.DB, 0)
				inFlight(t, db.other, 0)
				return insert(ctx, session.DB(ctx, db.other.DB), "b")
			}))
			has(t, db.DB)
			has(t, db.other, "b")
		})
		run("an error that is swallowed does not commit half", func(t *testing.T, db *fixture) {
			must(t, session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				err := session.Run(ctx, func(ctx context.Context) error {
					must(t, insert(ctx, session.DB(ctx, db.DB.DB), "b"))
					session.DB(ctx, db.DB.DB).ExecContext(ctx, "SELECT 1/0")
					return nil
				})
				if sqlState(err) != "22012" {
					t.Errorf("got %v", err)
				}
				return nil
			}))
			has(t, db.DB, "a")
		})
		run("cannot end the unit", func(t *testing.T, db *fixture) {
			must(t, session.Run(ctx, func(outer context.Context) error {
				must(t, insert(outer, session.DB(outer, db.DB.DB), "a"))
				return session.Run(outer, func(ctx context.Context) error {
					for _, s := range []*session.Session{session.From(ctx), session.From(outer)} {
						is(t, s.Commit(), session.ErrNested)
						is(t, s.Rollback(), session.ErrNested)
						is(t, s.Close(), session.ErrNested)
					}
					is(t, session.Config{WhenOpen: session.CommitFirst}.Run(ctx, nil), session.ErrNested)
					is(t, session.Config{WhenOpen: session.RollbackFirst}.Run(ctx, nil), session.ErrNested)
					return insert(outer, session.DB(outer, db.DB.DB), "b") // the same goroutine may
				})
			}))
			has(t, db.DB, "a", "b")
		})
		run("is over for those who come after its end", func(t *testing.T, db *fixture) {
			must(t, session.Run(ctx, func(ctx context.Context) error {
				var late session.DBTX
				must(t, session.Run(ctx, func(ctx context.Context) error {
					late = session.DB(ctx, db.DB.DB)
					return insert(ctx, late, "a")
				}))
				is(t, insert(ctx, late, "b"), session.ErrClosed)
				return nil
			}))
			has(t, db.DB, "a")
		})
		run("takes no other isolation than its unit's", func(t *testing.T, db *fixture) {
			must(t, session.Config{Isolation: sql.LevelSerializable}.Run(ctx, func(ctx context.Context) error {
				fn := func(ctx context.Context) error { return insert(ctx, session.DB(ctx, db.DB.DB), "a") }
				must(t, session.Config{Isolation: sql.LevelSerializable}.Run(ctx, fn))
				for field, o := range map[string]session.Config{
					"Config.Isolation": {Isolation: sql.LevelRepeatableRead, WhenOpen: session.Join},
					"Config.ReadOnly":  {ReadOnly: true},
				} {
					if err := o.Run(ctx, fn); err == nil || !strings.Contains(err.Error(), field) {
						t.Errorf("got %v", err)
					}
				}
				return nil
			}))
			has(t, db.DB, "a")
		})
		run("a failed statement that is handled by the user's own savepoint is no failure", func(t *testing.T, db *fixture) {
			must(t, session.Run(ctx, func(ctx context.Context) error {
				dbtx := session.DB(ctx, db.DB.DB)
				must(t, insert(ctx, dbtx, "a"))
				exec(t, dbtx, "SAVEPOINT mine")
				if _, err := dbtx.ExecContext(ctx, "SELECT 1/0"); err == nil {
					t.Error("no error")
				}
				exec(t, dbtx, "ROLLBACK TO mine")
				return nil
			}))
			has(t, db.DB, "a")
		})
	})
}

func TestWhenOpen(t *testing.T) {
	ctx := context.Background()
	onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
		// outer writes a, runs inner which writes b, writes c.
		outer := func(t *testing.T, db *fixture, when session.WhenOpen, inner, end error) (err, nested error) {
			err = session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				nested = session.Config{WhenOpen: when}.Run(ctx, func(ctx context.Context) error {
					must(t, insert(ctx, session.DB(ctx, db.DB.DB), "b"))
					return inner
				})
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "c"))
				return end
			})
			return err, nested
		}
		for _, test := range []struct {
			name           string
			when           session.WhenOpen
			inner, end     error // what the functions return
			err, nestedErr error // what the Runs return
			want           []string
		}{
			{"Savepoint keeps", session.Savepoint, nil, nil, nil, nil, []string{"a", "b", "c"}},
			{"Savepoint undoes the inner", session.Savepoint, errMine, nil, nil, errMine, []string{"a", "c"}},
			{"Savepoint goes with the outer", session.Savepoint, nil, errMine, errMine, nil, nil},
			{"Join keeps", session.Join, nil, nil, nil, nil, []string{"a", "b", "c"}},
			{"Join dooms the outer, which swallows the error", session.Join, errMine, nil, session.ErrDoomed, errMine, nil},
			{"Join goes with the outer", session.Join, nil, errMine, errMine, nil, nil},
			{"CommitFirst keeps all", session.CommitFirst, nil, nil, nil, nil, []string{"a", "b", "c"}},
			{"CommitFirst undoes the inner alone", session.CommitFirst, errMine, nil, nil, errMine, []string{"a", "c"}},
			{"CommitFirst keeps what was before the outer failed", session.CommitFirst, nil, errMine, errMine, nil, []string{"a", "b"}},
			{"RollbackFirst loses what was before", session.RollbackFirst, nil, nil, nil, nil, []string{"b", "c"}},
			{"RollbackFirst keeps the inner when the outer fails", session.RollbackFirst, nil, errMine, errMine, nil, []string{"b"}},
			{"Refuse refuses", session.Refuse, nil, nil, nil, session.ErrOpen, []string{"a", "c"}},
		} {
			run(test.name, func(t *testing.T, db *fixture) {
				err, nested := outer(t, db, test.when, test.inner, test.end)
				is(t, err, test.err)
				is(t, nested, test.nestedErr)
				has(t, db.DB, test.want...)
			})
		}
		run("Refuse runs a new unit where nothing is open", func(t *testing.T, db *fixture) {
			is(t, session.Run(ctx, func(ctx context.Context) error {
				must(t, session.Config{WhenOpen: session.Refuse}.Run(ctx, func(ctx context.Context) error {
					return insert(ctx, session.DB(ctx, db.DB.DB), "a")
				}))
				return errMine
			}), errMine)
			has(t, db.DB, "a")
		})
		run("a panic in a joined function dooms the unit", func(t *testing.T, db *fixture) {
			is(t, session.Run(ctx, func(ctx context.Context) error {
				func() {
					defer func() { recover() }()
					session.Config{WhenOpen: session.Join}.Run(ctx, func(ctx context.Context) error {
						must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
						panic(errMine)
					})
				}()
				return nil
			}), session.ErrDoomed)
			has(t, db.DB)
		})
		run("a joined failure inside of a nested Run dooms that alone", func(t *testing.T, db *fixture) {
			must(t, session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				err := session.Run(ctx, func(ctx context.Context) error {
					must(t, insert(ctx, session.DB(ctx, db.DB.DB), "b"))
					session.Config{WhenOpen: session.Join}.Run(ctx, func(ctx context.Context) error { return errMine })
					return nil
				})
				is(t, err, session.ErrDoomed)
				is(t, err, errMine)
				return nil
			}))
			has(t, db.DB, "a")
		})
		run("Rollback ends the doom", func(t *testing.T, db *fixture) {
			must(t, session.Run(ctx, func(ctx context.Context) error {
				session.Config{WhenOpen: session.Join}.Run(ctx, func(ctx context.Context) error {
					must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
					return errMine
				})
				must(t, session.From(ctx).Rollback())
				return insert(ctx, session.DB(ctx, db.DB.DB), "b")
			}))
			has(t, db.DB, "b")
		})
	})
}

func TestNestedSideBySide(t *testing.T) {
	ctx := context.Background()
	onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
		run("another goroutine cannot slip its work into a nested Run", func(t *testing.T, db *fixture) {
			must(t, session.Run(ctx, func(outer context.Context) error {
				must(t, session.Run(outer, func(ctx context.Context) error {
					var wg sync.WaitGroup
					wg.Go(func() {
						// With the context from outside: it would be undone with us.
						err := insert(outer, session.DB(outer, db.DB.DB), "lost")
						if busy := as[*session.BusyError](t, err); busy.Goroutine == busy.Holder || !errors.Is(err, session.ErrBusy) {
							t.Error(err)
						}
						is(t, session.Run(outer, func(context.Context) error { return nil }), session.ErrBusy)
						is(t, session.From(outer).Commit(), session.ErrBusy)
					})
					wg.Wait()
					wg.Go(func() { // with ours: handed over, one after the other
						must(t, session.Run(ctx, func(ctx context.Context) error {
							return insert(ctx, session.DB(ctx, db.DB.DB), "b")
						}))
					})
					wg.Wait()
					return insert(ctx, session.DB(ctx, db.DB.DB), "a")
				}))
				return nil
			}))
			has(t, db.DB, "a", "b")
		})
		run("a goroutine that outlives the nested Run dooms the unit", func(t *testing.T, db *fixture) {
			var wg sync.WaitGroup
			entered, end := make(chan bool), make(chan bool)
			is(t, session.Run(ctx, func(ctx context.Context) error {
				is(t, session.Run(ctx, func(ctx context.Context) error {
					must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
					wg.Go(func() {
						is(t, session.Run(ctx, func(ctx context.Context) error {
							close(entered)
							<-end
							return insert(ctx, session.DB(ctx, db.DB.DB), "b")
						}), session.ErrDoomed)
					})
					<-entered
					return nil
				}), session.ErrBusy)
				close(end)
				wg.Wait()
				return nil
			}), session.ErrDoomed)
			has(t, db.DB)
		})
		run("a unit that ends before a nested Run of it is not committed", func(t *testing.T, db *fixture) {
			var wg sync.WaitGroup
			entered, end := make(chan bool), make(chan bool)
			err := session.Run(ctx, func(ctx context.Context) error {
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				wg.Go(func() {
					is(t, session.Run(ctx, func(ctx context.Context) error {
						close(entered)
						<-end
						return nil
					}), session.ErrClosed)
				})
				<-entered
				return nil
			})
			is(t, err, session.ErrBusy)
			close(end)
			wg.Wait()
			has(t, db.DB)
		})
	})
}
