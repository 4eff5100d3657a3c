package bench

import (
	"context"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A Strategy is a way of letting the operations through to the pool.
type Strategy string

const (
	// Sequential does one operation after another, on one connection.
	Sequential Strategy = "sequential"

	// Unbounded starts every operation at once, each in a goroutine of its
	// own, with nothing in front of the pool.
	Unbounded Strategy = "unbounded"

	// Semaphore starts every operation at once too, behind a gate that keeps
	// the limit in use at every moment.
	Semaphore Strategy = "semaphore"

	// Chunked starts every operation at once, behind a gate that lets them
	// through by waves.
	Chunked Strategy = "chunked"

	// Adaptive is Semaphore with a limit that the gate finds by itself.
	Adaptive Strategy = "adaptive"
)

// Strategies returns all strategies in the order in which they run.
func Strategies() []Strategy { return []Strategy{Sequential, Unbounded, Semaphore, Chunked, Adaptive} }

// A pool is what a strategy sends its operations to.
type pool struct {
	do    func(context.Context, Op) error
	close func() error
	// waited is how long all operations together have waited for a
	// connection, or for the permit to take one.
	waited func() time.Duration
	// limit is how many operations may use a connection at once: of Adaptive
	// what the gate has found. 0 if nothing limits them.
	limit func() int
	// unused returns an error if a permit or a connection is still out.
	unused func() error
}

// pool opens the pool for a run of the given number of operations.
// The server has so many connections.
func (c Case) pool(ctx context.Context, dsn string, ops int, config Config, connections int) (pool, error) {
	if c.Strategy == Sequential || c.Strategy == Unbounded {
		if c.Driver == PGXPool {
			return c.bareNative(dsn, ops, config.MaxOpen)
		}
		return c.barePool(ctx, dsn, ops, config.MaxOpen)
	}
	g := c.Strategy.gate(ops, config.Limit, connections)
	if c.Driver == PGXPool {
		return c.gatedNative(dsn, g, config.Traces)
	}
	return c.gatedPool(ctx, dsn, g, config.Traces)
}

// gate returns the configuration of the gate.
func (s Strategy) gate(ops, limit, connections int) gate.Config {
	config := gate.Config{
		Limit:      limit,
		MaxWaiting: ops, // all come at once, and none is to be refused
		MaxWait:    24 * time.Hour,
	}
	switch s {
	case Chunked:
		config.Mode = gate.Chunked
	case Adaptive:
		config.Limit = 0
		config.Adaptive = &gate.Adaptive{Max: max(1, min(gate.DefaultAdaptiveMax, connections-sparedConnections))}
	}
	return config
}

// sparedConnections are left to others by Adaptive.
const sparedConnections = 20

func (c Case) barePool(ctx context.Context, dsn string, ops, maxOpen int) (pool, error) {
	db, err := c.Driver.openBare(dsn)
	if err != nil {
		return pool{}, err
	}
	if c.Strategy == Unbounded {
		db.SetMaxOpenConns(maxOpen)
		// As database/sql comes, it keeps 2 and closes the others as soon
		// as nobody waits for them.
		db.SetMaxIdleConns(ops)
	}
	do, err := c.Form.on(ctx, c.Driver, db)
	if err != nil {
		db.Close()
		return pool{}, err
	}
	return pool{
		do:     do,
		close:  db.Close,
		waited: func() time.Duration { return db.Stats().WaitDuration },
		limit:  func() int { return 0 },
		// It may count as in use what it is still about to open, for callers
		// that have got another connection meanwhile.
		unused: func() error { return nil },
	}, nil
}

func (c Case) gatedPool(ctx context.Context, dsn string, config gate.Config, traces trace.TracerProvider) (pool, error) {
	open := c.Driver.openGated
	if traces != nil {
		open = c.Driver.openTraced(traces)
	}
	db, err := open(dsn, poolgate.Config{Gate: config})
	if err != nil {
		return pool{}, err
	}
	do, err := c.Form.on(ctx, c.Driver, db.DB)
	if err != nil {
		db.Close()
		return pool{}, err
	}
	return pool{
		do:     do,
		close:  db.Close,
		waited: func() time.Duration { return db.Gate().Stats().WaitDuration + db.Stats().WaitDuration },
		limit:  func() int { return db.Gate().Stats().FoundLimit() },
		unused: func() error {
			if err := out(db.Gate()); err != nil {
				return err
			}
			if s := db.Stats(); s.InUse > 0 {
				return fmt.Errorf("%d connections are still in use", s.InUse)
			}
			return nil
		},
	}, nil
}

// out returns an error if a permit is out, or wanted.
func out(g *gate.Gate) error {
	if s := g.Stats(); s.InFlight > 0 || s.Waiting > 0 {
		return fmt.Errorf("%d permits are still out and %d callers wait", s.InFlight, s.Waiting)
	}
	return nil
}
