package pgxpoolgate

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolgate/poolgate/adapters/internal/dsn"
	"github.com/poolgate/poolgate/adapters/internal/pgxlink"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// Config configures a [Pool]. Gate.Limit is all that it needs.
type Config struct {
	// Gate configures admission. Its Limit is how many connections are in use at
	// most, besides those of Pool.OutOfBand. Both together must not exceed MaxConns
	// of the pgxpool.
	Gate gate.Config

	// PgBouncer says that the connections go through a PgBouncer in transaction
	// mode, see poolgate.Config.PgBouncer. Open has pgx use cache_describe, unless
	// the data source name says exec or simple_protocol. It returns an error for
	// another default_query_exec_mode, and so does Wrap, which cannot change it. A
	// statement that the program itself prepares on a connection is its own affair.
	PgBouncer bool

	// CloseInner makes the Pool of Wrap own the inner pool: Pool.Close closes it
	// too. Otherwise the caller has to. The Pool of Open always owns it.
	CloseInner bool
}

// Open returns a gated pool of connections to the server that name says, as
// pgxpool.New has it, with the settings that start with pool_. Where name leaves
// out pool_max_conns, there are as many as the gate can use.
//
// Open does not wait for a connection, so it does not fail for a server that is
// not there: [Pool.Ping] says whether it is. It returns an error for a name that
// pgx cannot parse, without the password that may be in it, and for a field of
// config that it cannot accept.
func Open(name string, config Config) (*Pool, error) {
	if err := dsn.CheckURL(name); err != nil {
		return nil, fmt.Errorf("pgxpoolgate: %w", err)
	}
	inner, err := pgxpool.ParseConfig(name)
	if err != nil {
		return nil, fmt.Errorf("pgxpoolgate: %w", pgxlink.ParseError(err))
	}
	return OpenConfig(inner, config)
}

// OpenConfig is like [Open], for a program that has changed what
// pgxpool.ParseConfig returned: its hooks, its tracer, its times. OpenConfig works
// on a copy, to whose hooks it adds its own. It replaces
// ConnConfig.BuildContextWatcherHandler. It respects a MaxConns that is not
// pgxpool's default; the default is raised to what the gate can use.
func OpenConfig(inner *pgxpool.Config, config Config) (*Pool, error) {
	if inner == nil {
		return nil, errors.New("pgxpoolgate: OpenConfig: the *pgxpool.Config is nil")
	}
	if inner.ConnConfig == nil {
		return nil, errors.New("pgxpoolgate: OpenConfig: the *pgxpool.Config is not from pgxpool.ParseConfig, whose result may be changed")
	}
	if err := pgxlink.Check(inner.ConnConfig); err != nil {
		return nil, fmt.Errorf("pgxpoolgate: %w", err)
	}
	inner = inner.Copy()
	if config.PgBouncer {
		if err := pgxlink.BehindPgBouncer(inner.ConnConfig); err != nil {
			return nil, fmt.Errorf("pgxpoolgate: Config.PgBouncer: %w", err)
		}
	}
	most := int(inner.MaxConns)
	free := setsNoMaxConns(inner)
	if free {
		most = math.MaxInt32
	}
	g, err := newGate(&config, most)
	if err != nil {
		return nil, err
	}
	if free {
		inner.MaxConns = max(inner.MaxConns, int32(min(g.MostPermits(), math.MaxInt32)))
	}
	links := attach(inner)
	if config.PgBouncer { // where the setting would stay with a connection that others use
		links.check.Off()
	}
	pool, err := pgxpool.NewWithConfig(context.Background(), inner)
	if err != nil {
		g.Close()
		return nil, fmt.Errorf("pgxpoolgate: %w", err)
	}
	config.CloseInner = true
	return newPool(pool, g, config, links), nil
}

// setsNoMaxConns reports whether MaxConns is what pgxpool chose, since neither the
// data source name nor the program says anything else.
func setsNoMaxConns(config *pgxpool.Config) bool {
	name := config.ConnString()
	plain, err := pgx.ParseConfig(name)
	if err != nil {
		return false
	}
	if _, set := plain.RuntimeParams["pool_max_conns"]; set {
		return false
	}
	parsed, err := pgxpool.ParseConfig(name)
	return err == nil && parsed.MaxConns == config.MaxConns
}

// Wrap puts a gate in front of a pool that exists. It opens no connection. It
// returns an error that names the field of config that it cannot accept, also if
// the limit is higher than inner's MaxConns, which could then never be reached:
// waiters would leave the gate's queue only to wait in the pool's. If MaxConns
// leaves less besides the limit than the lane out of band has by default, the lane
// is as large as that, or there is none.
//
// Calls on inner itself pass no gate. The package documentation says what Wrap
// cannot do that Open does.
func Wrap(inner *pgxpool.Pool, config Config) (*Pool, error) {
	if inner == nil {
		return nil, errors.New("pgxpoolgate: Wrap: the *pgxpool.Pool is nil")
	}
	if config.PgBouncer {
		if err := pgxlink.CheckBehindPgBouncer(inner.Config().ConnConfig.DefaultQueryExecMode); err != nil {
			return nil, fmt.Errorf("pgxpoolgate: Config.PgBouncer: %w", err)
		}
	}
	g, err := newGate(&config, int(inner.Config().MaxConns))
	if err != nil {
		return nil, err
	}
	return newPool(inner, g, config, nil), nil
}

// newGate returns the gate for a pool of at most so many connections, and sets
// what config leaves to it.
func newGate(config *Config, most int) (*gate.Gate, error) {
	c := &config.Gate
	field := "Config.Gate.Limit"
	if c.Adaptive != nil {
		field = "Config.Gate.Adaptive.Max"
		if c.Adaptive.Max == 0 {
			fitted := *c.Adaptive
			fitted.Max = adaptiveMax(most, c.OutOfBand)
			c.Adaptive = &fitted
		}
	}
	if c.OutOfBand == 0 {
		c.OutOfBand = spareLane(most, c.Highest())
	}
	if err := fits(field, c.Highest(), c.OutOfBand, most); err != nil {
		return nil, err
	}
	g, err := gate.New(*c)
	if err != nil {
		return nil, fmt.Errorf("pgxpoolgate: Config.Gate: %w", err)
	}
	return g, nil
}

// adaptiveMax is the highest limit for which there are connections, with a lane
// out of band.
func adaptiveMax(most, lane int) int {
	switch {
	case lane > 0:
		most -= lane
	case lane == 0:
		most -= most / 5 // the lane is a quarter of the limit
	}
	return max(1, min(most, gate.DefaultAdaptiveMax))
}

// spareLane is the size of the lane out of band that leaves all permits of the
// limit a connection, where that is less than the gate's default.
func spareLane(most, limit int) int {
	switch spare := most - limit; {
	case spare >= max(1, limit/4):
		return 0
	case spare <= 0:
		return gate.NoOutOfBand
	default:
		return spare
	}
}

// fits refuses a limit for which there are not enough connections.
func fits(field string, limit, lane, most int) error {
	lane = max(0, lane)
	switch {
	case limit <= most-lane:
		return nil
	case lane > 0:
		return fmt.Errorf("pgxpoolgate: %s is %d and Config.Gate.OutOfBand %d, but MaxConns of the pgxpool is %d; "+
			"lower the one or raise the other", field, limit, lane, most)
	}
	return fmt.Errorf("pgxpoolgate: %s is %d, but MaxConns of the pgxpool is %d; lower the one or raise the other",
		field, limit, most)
}
