package overload

import (
	"context"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"golang.org/x/sync/semaphore"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A Way is what stands between the requests and the server. Each has the same
// pool with the same number of connections.
type Way string

const (
	// Pool is the pool with SetMaxOpenConns, and nothing else.
	Pool Way = "pool"

	// Semaphore is a golang.org/x/sync/semaphore in front of the pool: first
	// come, first served, for as long as the context allows.
	Semaphore Way = "semaphore"

	// Gate is poolgate in front of the pool, with Config.Shed.
	Gate Way = "gate"
)

// Ways returns all ways, in the order in which they are measured.
func Ways() []Way { return []Way{Pool, Semaphore, Gate} }

// The classes of requests. The ways without a gate do not tell them apart.
const (
	Web   = "web"   // somebody waits for the answer
	Batch = "batch" // nobody does
)

// server is a way to the server that is in use.
type server struct {
	do    func(ctx context.Context, q query) error
	close func() error
	left  func() (permits, waiters int)
}

// open returns the way to the server that config says, with so many
// connections.
func (w Way) open(config *pgx.ConnConfig, limit int) (*server, error) {
	pool := stdlib.OpenDB(*config)
	pool.SetMaxOpenConns(limit)
	pool.SetMaxIdleConns(limit)
	s := &server{
		do:    func(ctx context.Context, q query) error { return q.run(ctx, pool) },
		close: pool.Close,
		left:  func() (int, int) { return 0, 0 },
	}
	switch w {
	case Semaphore:
		tokens := semaphore.NewWeighted(int64(limit))
		s.do = func(ctx context.Context, q query) error {
			if err := tokens.Acquire(ctx, 1); err != nil {
				return err
			}
			defer tokens.Release(1)
			return q.run(ctx, pool)
		}
	case Gate:
		db, err := poolgate.Wrap(pool, gateConfig(limit))
		if err != nil {
			pool.Close()
			return nil, err
		}
		s.do = func(ctx context.Context, q query) error { return q.run(ctx, db.DB) }
		s.close = db.Close
		s.left = func() (int, int) {
			stats := db.Gate().Stats()
			return stats.InFlight, stats.Waiting
		}
	}
	return s, nil
}

func gateConfig(limit int) poolgate.Config {
	return poolgate.Config{
		CloseInner: true,
		Gate: gate.Config{
			Limit: limit,
			Shed:  true,
			Classes: []gate.Class{
				{Name: Web, Reserved: (limit + 1) / 2, Priority: 1},
				{Name: Batch},
			},
		},
	}
}

// connect opens all connections, so that no request has to.
func connect(ctx context.Context, s *server, limit int) error {
	errs := make(chan error, limit)
	for range limit {
		go func() { errs <- s.do(gate.WithClass(ctx, Web), query{"SELECT pg_sleep($1)", 0.05}) }()
	}
	var first error
	for range limit {
		if err := <-errs; first == nil {
			first = err
		}
	}
	return first
}
