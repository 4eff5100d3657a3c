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
	"encoding/json"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/poolgate/poolgate/poolgate"
)

// Config configures a member of a fleet.
type Config struct {
	// Name is that of the fleet: members of one name share one budget. It must
	// not be empty.
	Name string

	// Budget is how many connections of the server all members may have
	// together. While members announce different budgets, the lowest holds.
	// The heartbeats need one connection more for each active member.
	Budget int

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
	case c.Budget < 1:
		return c, fmt.Errorf("fleet: Config.Budget must be at least 1, got %d", c.Budget)
	case c.Min < 0 || c.Min > c.Budget:
		return c, fmt.Errorf("fleet: Config.Min must be between 0 and Budget, which is %d, got %d", c.Budget, c.Min)
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

// Stats is what a member knows of its fleet.
type Stats struct {
	Share      int     // connections that the member may have now
	Target     int     // that would be fair
	Demand     float64 // in flight and waiting, smoothed
	Members    int     // that have a row in the store, this one included
	Active     int     // of these, those that need or have something
	Budget     int     // that holds
	Heartbeats uint64  // that were answered
	Failures   uint64  // heartbeats that were not
	LastError  error   // of the last heartbeat; nil if it was answered
}

// MarshalJSON returns keys in snake_case, as the gate's statistics have them. It also
// serves expvar:
//
//	expvar.Publish("orders_fleet", expvar.Func(func() any { return f.Stats() }))
func (s Stats) MarshalJSON() ([]byte, error) {
	last := ""
	if s.LastError != nil {
		last = s.LastError.Error()
	}
	return json.Marshal(struct {
		Share      int     `json:"share"`
		Target     int     `json:"target"`
		Demand     float64 `json:"demand"`
		Members    int     `json:"members"`
		Active     int     `json:"active"`
		Budget     int     `json:"budget"`
		Heartbeats uint64  `json:"heartbeats"`
		Failures   uint64  `json:"failures"`
		LastError  string  `json:"last_error,omitempty"`
	}{s.Share, s.Target, s.Demand, s.Members, s.Active, s.Budget, s.Heartbeats, s.Failures, last})
}

// A Fleet is the membership of a DB. It is safe for concurrent use.
type Fleet struct {
	member *member
	db     *poolgate.DB
	end    context.CancelFunc
	ended  chan struct{}
	leave  sync.Once
	err    error // of leave
}

// Join makes db a member of a fleet until Leave. Call that before db.Close: the
// share of a DB that was closed without it comes back to the others only after 10
// to 30 seconds. Join returns
// an error if config is wrong or if the store cannot be reached or created; ctx
// bounds that alone. The DB admits nobody until its first heartbeat was answered,
// which is a matter of milliseconds, and up to 30 seconds where the store was
// empty: rows of members that are alive could be missing.
//
// The DB's own limit stays in force: the gate lets in as many as both allow. A DB
// is a member of one fleet at a time. It costs nothing per permit.
func Join(ctx context.Context, db *poolgate.DB, config Config) (*Fleet, error) {
	config, err := config.withDefaults()
	if err != nil {
		return nil, err
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
	go func() {
		defer close(f.ended)
		f.member.run(ctx)
	}()
	return f, nil
}

// Leave ends the membership: the DB admits nobody any more, and Leave waits until
// its connections are closed and then gives the share back to the others. If ctx
// ends before that it returns ctx.Err(), and the share is given back when its row
// expires. Later calls return what the first returned.
func (f *Fleet) Leave(ctx context.Context) error {
	f.leave.Do(func() {
		f.end()
		<-f.ended
		f.db.Gate().OnWait(nil)
		f.err = f.member.leave(ctx)
	})
	return f.err
}

// Stats returns what the member knows of its fleet.
func (f *Fleet) Stats() Stats { return f.member.snapshot() }

// A gatedUser is a DB that uses a share.
type gatedUser struct{ db *poolgate.DB }

func (u gatedUser) load() load {
	s := u.db.Gate().Stats()
	permits := s.InFlight + s.OutOfBand.InFlight
	return load{
		inFlight: permits,
		waiting:  s.Waiting,
		inUse:    max(permits, u.db.Stats().OpenConnections),
		stopped:  s.Stopped,
	}
}

func (u gatedUser) use(n int, until time.Time) { u.db.SetShare(n, until) }
