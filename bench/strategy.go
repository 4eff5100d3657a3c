package bench

import (
	"database/sql"
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
	db    *sql.DB
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
func (s Strategy) pool(d Driver, dsn string, ops int, c Config, connections int) (pool, error) {
	if s == Sequential || s == Unbounded {
		return s.barePool(d, dsn, ops, c.MaxOpen)
	}
	config := gate.Config{
		Limit:      c.Limit,
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
	return gatedPool(d, dsn, config, c.Traces)
}

// sparedConnections are left to others by Adaptive.
const sparedConnections = 20

func (s Strategy) barePool(d Driver, dsn string, ops, maxOpen int) (pool, error) {
	db, err := d.openBare(dsn)
	if err != nil {
		return pool{}, err
	}
	if s == Unbounded {
		db.SetMaxOpenConns(maxOpen)
		// As database/sql comes, it keeps 2 and closes the others as soon
		// as nobody waits for them.
		db.SetMaxIdleConns(ops)
	}
	return pool{
		db:     db,
		close:  db.Close,
		waited: func() time.Duration { return db.Stats().WaitDuration },
		limit:  func() int { return 0 },
		// It may count as in use what it is still about to open, for callers
		// that have got another connection meanwhile.
		unused: func() error { return nil },
	}, nil
}

func gatedPool(d Driver, dsn string, config gate.Config, traces trace.TracerProvider) (pool, error) {
	open := d.openGated
	if traces != nil {
		open = d.openTraced(traces)
	}
	db, err := open(dsn, poolgate.Config{Gate: config})
	if err != nil {
		return pool{}, err
	}
	return pool{
		db:     db.DB,
		close:  db.Close,
		waited: func() time.Duration { return db.Gate().Stats().WaitDuration + db.Stats().WaitDuration },
		limit:  func() int { return db.Gate().Stats().FoundLimit() },
		unused: func() error {
			if s := db.Gate().Stats(); s.InFlight > 0 || s.Waiting > 0 {
				return fmt.Errorf("%d permits are still out and %d callers wait", s.InFlight, s.Waiting)
			}
			if s := db.Stats(); s.InUse > 0 {
				return fmt.Errorf("%d connections are still in use", s.InUse)
			}
			return nil
		},
	}, nil
}
