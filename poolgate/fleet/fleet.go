// Package fleet lets many processes share one budget of connections to a
// database.
//
//	f, err := fleet.Join(ctx, db, fleet.Config{Name: "orders", Budget: 80})
//	...
//	defer f.Leave(ctx)
//
// From then on the limit of the DB's gate follows this process's share of the
// budget. The members of a fleet, in any number of processes and programs, find
// one another in a [Store], which is the database itself unless Config says
// otherwise. There is no leader.
//
// # Shares
//
// A share covers all connections of the member: those in use, those that are idle
// and those out of band. Shares are weighted max-min fair: each member gets what
// it needs, and if that is more than there is, those that need most get equally
// much. A member that needs nothing costs nothing. A twentieth of the budget is
// kept back, so that a member whose load begins has its first connections at once.
//
// # Safety
//
// The shares of all members never exceed the budget together, whatever members
// crash, are stopped or cannot reach the store, and whatever their clocks say. A
// member that cannot reach the store for 8 to 28 seconds loses its share: the gate
// then lets nobody in until it can. What can exceed the budget are statements that
// run on after their member has lost its share. What else can go wrong, and what
// then happens, is in docs/fleet.md.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// Config configures a member of a fleet.
type Config struct {
	// Name is that of the fleet: members of one name share one budget. It must
	// not be empty.
	Name string

	// Budget is how many connections of the server all members may have
	// together. While members announce different budgets, the lowest holds.
	// The heartbeats need one connection more for each active member. Zero has
	// Join ask the server how many connections it allows, and take all of them
	// but Margin: max_connections without those that it reserves, or what the role
	// or the database has as its CONNECTION LIMIT.
	Budget int

	// Margin is how many connections are left to others where Budget is zero: to
	// the heartbeats, migrations, dashboards and psql.
	Margin int

	// Min is how many connections the member keeps while it has nothing to do.
	// Zero, the default, costs the others nothing. If all minima exceed the
	// budget they are reduced in proportion.
	Min int

	// Max is how many connections the member uses at most. Zero means the whole
	// budget.
	Max int

	// Store is where the members find one another. Nil means a PostgreSQL in the
	// database of the DB itself, see NewPostgreSQL; the Schema is then that of its
	// tables, DefaultSchema if it is empty. The store is asked on a connection of
	// its own, which passes no gate.
	Store  Store
	Schema string

	// Weight is how much of the budget the member gets in proportion to others,
	// where all want more than there is. Zero means 1.
	Weight float64
}

func (c Config) withDefaults() (Config, error) {
	switch {
	case c.Name == "":
		return c, errors.New("fleet: Config.Name must not be empty")
	case c.Margin < 0:
		return c, fmt.Errorf("fleet: Config.Margin must not be negative, got %d", c.Margin)
	case c.Budget < 0 || c.Budget == 0 && c.Margin == 0:
		return c, fmt.Errorf("fleet: Config.Budget must be at least 1, or 0 with a Margin of at least 1, got %d", c.Budget)
	case c.Budget > 0 && c.Margin > 0:
		return c, errors.New("fleet: Config.Margin is for a Budget of 0, which the server decides")
	case c.Min < 0:
		return c, fmt.Errorf("fleet: Config.Min must not be negative, got %d", c.Min)
	case c.Max < 0 || c.Max > 0 && c.Max < c.Min:
		return c, fmt.Errorf("fleet: Config.Max must be 0 or at least Min, which is %d, got %d", c.Min, c.Max)
	case c.Weight < 0:
		return c, fmt.Errorf("fleet: Config.Weight must not be negative, got %v", c.Weight)
	}
	if c.Weight == 0 {
		c.Weight = 1
	}
	return c, nil
}

// A Fleet is the membership of a DB. It is safe for concurrent use.
type Fleet struct {
	member *member
	db     *poolgate.DB
	end    context.CancelFunc // ends run
	ended  chan struct{}      // closed when run has ended
	leave  sync.Once
	err    error // of leave
}

// Join makes db a member of a fleet until Leave or db.Close. It returns an error if
// config is wrong, or if the store or the server that decides the budget cannot be
// asked; ctx bounds that alone. The DB admits nobody until its first heartbeat was
// answered, which is a matter of milliseconds, and up to 30 seconds where the store
// was empty: rows of members that are alive could be missing.
//
// The DB's own limit stays in force: the gate lets in as many as both allow. A DB
// is a member of one fleet at a time. It costs nothing per permit.
func Join(ctx context.Context, db *poolgate.DB, config Config) (*Fleet, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	if config.Budget == 0 {
		if config.Budget, err = serverBudget(ctx, db.Ungated(), config.Margin); err != nil {
			return nil, err
		}
	}
	if config.Min > config.Budget {
		return nil, fmt.Errorf("fleet: Config.Min must be at most Budget, which is %d, got %d", config.Budget, config.Min)
	}
	if config.Store == nil {
		if config.Store, err = NewPostgreSQL(ctx, db.Ungated(), config.Name, config.Schema); err != nil {
			return nil, err
		}
	}
	ctx, end := context.WithCancel(context.WithoutCancel(ctx))
	f := &Fleet{db: db, end: end, ended: make(chan struct{})}
	f.member = newMember(config.Store, gatedUser{db}, config)
	db.SetShare(0, time.Time{})
	db.Gate().OnWait(func() {
		select {
		case f.member.kick <- struct{}{}:
		default:
		}
	})
	db.OnClose(f.closed)
	if db.Gate().Stats().Stopped { // perhaps before it could call closed
		end()
		db.OnClose(nil)
		return nil, fmt.Errorf("fleet: %w", gate.ErrClosed)
	}
	go func() {
		defer close(f.ended)
		f.member.run(ctx)
	}()
	return f, nil
}

// Leave ends the membership: the DB admits nobody any more, and Leave waits until
// its connections are closed and then gives the share back to the others. If ctx
// ends before that it returns an error that is ctx.Err(), and the share is given back
// when its row expires, after 10 to 30 seconds. Later calls return what the first
// returned.
//
// A DB that is closed without it leaves by itself, if nothing is in use within a
// quarter of a second. Otherwise its row expires.
func (f *Fleet) Leave(ctx context.Context) error {
	f.leave.Do(func() { f.err = f.quit(ctx) })
	return f.err
}

// closePatience is how long a DB that is closed waits for its connections, and then
// for the store.
const closePatience = 250 * time.Millisecond

// closed is called when the DB is closed.
func (f *Fleet) closed() {
	ctx, cancel := context.WithTimeout(context.Background(), closePatience)
	defer cancel()
	_ = f.quit(ctx) // if it fails, the row expires
}

// quit stops the heartbeats, and deletes the row when nothing is in use.
func (f *Fleet) quit(ctx context.Context) error {
	f.end()
	select {
	case <-f.ended:
	case <-ctx.Done():
		return fmt.Errorf("fleet: waiting for a heartbeat: %w", ctx.Err())
	}
	f.db.Gate().OnWait(nil)
	err := f.member.leave(ctx)
	if err == nil {
		f.db.OnClose(nil)
	}
	return err
}

// Stats returns what the member knows of its fleet: its share, which is Permits, and
// the others as they were at the last heartbeat. It is that of the gate's statistics.
func (f *Fleet) Stats() gate.ShareStats { return f.db.Gate().Stats().Share }

// A gatedUser is a DB that uses a share.
type gatedUser struct{ db *poolgate.DB }

func (u gatedUser) load() load {
	s := u.db.Gate().Stats()
	return load{
		needs:   s.Share.Needed,
		waiting: s.Waiting,
		inUse:   max(s.InFlight+s.OutOfBand.InFlight, u.db.Stats().OpenConnections),
	}
}

func (u gatedUser) use(n int, until time.Time) { u.db.SetShare(n, until) }

func (u gatedUser) report(s gate.FleetStats) { u.db.Gate().ReportFleet(s) }
