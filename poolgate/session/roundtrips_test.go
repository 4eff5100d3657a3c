package session_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"slices"
	"testing"

	"github.com/poolgate/poolgate/internal/operation"
	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/network"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/rows"
	"github.com/poolgate/poolgate/poolgate/session"
)

// With pgx, BEGIN and SAVEPOINT travel with the statement after them. The result
// is the same with both drivers. lib/pq takes two round trips for a statement with
// arguments.
func TestRoundTrips(t *testing.T) {
	server := pgserver.ForTest(t)
	no := errors.New("no")
	type unit = func(ctx context.Context, add func(context.Context, string) error) error
	cases := []struct {
		name    string
		pgx, pq int
		want    []string
		unit    unit
	}{
		{"one statement", 2, 4, []string{"a"}, func(ctx context.Context, add func(context.Context, string) error) error {
			return add(ctx, "a")
		}},
		{"three statements", 4, 8, []string{"a", "b", "c"}, func(ctx context.Context, add func(context.Context, string) error) error {
			return errors.Join(add(ctx, "a"), add(ctx, "b"), add(ctx, "c"))
		}},
		{"two hooks after a statement", 4, 8, []string{"a", "b", "c"}, func(ctx context.Context, add func(context.Context, string) error) error {
			for _, text := range []string{"b", "c"} {
				if err := session.From(ctx).BeforeCommit(func(ctx context.Context) error { return add(ctx, text) }); err != nil {
					return err
				}
			}
			return add(ctx, "a")
		}},
		{"a hook alone", 2, 4, []string{"a"}, func(ctx context.Context, add func(context.Context, string) error) error {
			return session.From(ctx).BeforeCommit(func(ctx context.Context) error { return add(ctx, "a") })
		}},
		{"a nested Run", 3, 8, []string{"a", "b"}, func(ctx context.Context, add func(context.Context, string) error) error {
			if err := add(ctx, "a"); err != nil {
				return err
			}
			return session.Run(ctx, func(ctx context.Context) error { return add(ctx, "b") })
		}},
		{"nested Runs, one after the other and in one another", 5, 18, []string{"a", "b", "c", "d"}, func(ctx context.Context, add func(context.Context, string) error) error {
			if err := add(ctx, "a"); err != nil {
				return err
			}
			return errors.Join(
				session.Run(ctx, func(ctx context.Context) error { return add(ctx, "b") }),
				session.Run(ctx, func(ctx context.Context) error {
					return session.Run(ctx, func(ctx context.Context) error {
						return errors.Join(add(ctx, "c"), session.Run(ctx, func(ctx context.Context) error { return add(ctx, "d") }))
					})
				}))
		}},
		{"a nested Run that is undone", 5, 11, []string{"a", "c"}, func(ctx context.Context, add func(context.Context, string) error) error {
			if err := add(ctx, "a"); err != nil {
				return err
			}
			session.Run(ctx, func(ctx context.Context) error { return errors.Join(add(ctx, "b"), no) })
			return add(ctx, "c")
		}},
		{"nothing", 0, 0, []string{}, func(ctx context.Context, add func(context.Context, string) error) error { return nil }},
	}
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			net, dsn := network.Between(t, server.CreateDatabase(t), 0)
			db, err := driver.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1}})
			must(t, err)
			exec(t, db, schema)
			add := func(ctx context.Context, text string) error { return insert(ctx, session.DB(ctx, db.DB), text) }
			for _, c := range cases {
				want := c.pgx
				if driver.Name == "pq" {
					want = c.pq
				}
				for _, again := range []bool{false, true} { // the first time statements are prepared
					exec(t, db, "TRUNCATE texts")
					before := net.RoundTrips()
					must(t, session.Run(t.Context(), func(ctx context.Context) error { return c.unit(ctx, add) }))
					got := net.RoundTrips() - before
					texts, err := rows.Collect[string](t.Context(), db, "SELECT text FROM texts ORDER BY 1")
					must(t, err)
					if !slices.Equal(texts, c.want) {
						t.Errorf("%s: %q, want %q", c.name, texts, c.want)
					}
					if again && got != want {
						t.Errorf("%s: %d round trips, want %d", c.name, got, want)
					}
				}
			}
			nothingHeld(t, db)
			must(t, db.Close())
		})
	}
}

// A dying driver finds some of its connections dead before it has sent a BEGIN.
type dying struct {
	scripted
	alive *int // the connections that it has opened, of which the first two die
}

func (d dying) Connect(context.Context) (driver.Conn, error) {
	*d.alive++
	return &dyingConn{scriptedConn{scripted: d.scripted}, *d.alive <= 2}, nil
}

type dyingConn struct {
	scriptedConn
	dead bool
}

func (c *dyingConn) ExecContext(context.Context, string, []driver.NamedValue) (driver.Result, error) {
	if c.dead {
		return nil, operation.ErrUnsent
	}
	return driver.ResultNoRows, nil
}

func (c *dyingConn) BeginTx(ctx context.Context, opts driver.TxOptions) (driver.Tx, error) {
	_, err := c.scriptedConn.BeginTx(ctx, opts)
	return c, err
}

func (c *dyingConn) Rollback() error {
	if c.dead {
		return driver.ErrBadConn
	}
	return c.scriptedConn.Rollback()
}

// A transaction whose BEGIN was not sent, since the connection was dead, begins on
// another.
func TestBeginOnAnotherConnection(t *testing.T) {
	var ended string
	opened := 0
	works := func(context.Context) error { return nil }
	db, err := poolgate.OpenDB(dying{scripted{begin: works, commit: works, ended: &ended}, &opened}, poolgate.Config{Gate: gate.Config{Limit: 1}})
	must(t, err)
	must(t, session.Run(t.Context(), func(ctx context.Context) error {
		_, err := session.DB(ctx, db.DB).ExecContext(ctx, "INSERT")
		return err
	}))
	if ended != "committed" || opened != 3 {
		t.Errorf("%s on connection %d", ended, opened)
	}
	nothingHeld(t, db)
	must(t, db.Close())
}
