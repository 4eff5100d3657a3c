package bench

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/internal/connstring"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A Config describes a benchmark.
type Config struct {
	DSN     string // the server: a URL or a list of key=value
	Schema  string // of the tables, in lower case; "" is DefaultSchema
	Ops     int    // operations in each run, at least 1
	Seed    uint64 // of the workload
	Limit   int    // permits of the semaphore and size of the waves, at least 1
	MaxOpen int    // connections that the unbounded strategy may open; 0 for any number

	// Traces, if not nil, receives a trace of each operation, with its waits and
	// statements for the strategies that have a gate. Tracing costs time: do not
	// compare the figures of a traced run with others.
	Traces trace.TracerProvider
}

// A Case names a run.
type Case struct {
	Form     Form     `json:"form"`
	Driver   Driver   `json:"driver"`
	Strategy Strategy `json:"strategy"`
}

// String returns "faithful pgx semaphore" and the like.
func (c Case) String() string {
	return fmt.Sprintf("%s %s %s", c.Form, c.Driver, c.Strategy)
}

// Cases returns each combination, in the order in which they run.
func Cases(forms []Form, drivers []Driver, strategies []Strategy) []Case {
	var cases []Case
	for _, f := range forms {
		for _, d := range drivers {
			for _, s := range strategies {
				cases = append(cases, Case{f, d, s})
			}
		}
	}
	return cases
}

// A Bench runs the workload on one server. Only one run is under way at a
// time; it is not safe for concurrent use, but for Done.
type Bench struct {
	// Done counts the operations of the run under way that have ended, well
	// or not. Run sets it to zero when it begins.
	Done atomic.Int64

	config   Config
	plan     []Op
	server   Server
	admin    *poolgate.DB // creates and checks the tables
	tables   tables
	observer *sql.Conn // has nothing else to do, see sampler
}

// adminLimit leaves one connection for the observer, and one for the rest.
const adminLimit = 2

// Open connects to the server. It returns an error that names the field of
// config that is wrong, or an [ErrOccupied].
//
// The benchmark works in two tables, a and b, in the schema of config, and
// creates the schema if need be. It replaces and drops only what a benchmark
// has created.
func Open(ctx context.Context, config Config) (_ *Bench, err error) {
	switch {
	case config.Ops < 1:
		return nil, fmt.Errorf("bench: Config.Ops must be at least 1, got %d", config.Ops)
	case config.Limit < 1:
		return nil, fmt.Errorf("bench: Config.Limit must be at least 1, got %d", config.Limit)
	case config.MaxOpen < 0:
		return nil, fmt.Errorf("bench: Config.MaxOpen must not be negative, got %d", config.MaxOpen)
	}
	config.Schema = cmp.Or(config.Schema, DefaultSchema)
	if !schemaPattern.MatchString(config.Schema) {
		return nil, fmt.Errorf("bench: Config.Schema must consist of lower-case letters, digits and underscores, got %q", config.Schema)
	}
	dsn, err := connstring.With(config.DSN, map[string]string{"application_name": applicationName + " observer"})
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	b := &Bench{config: config, plan: Plan(config.Ops, config.Seed)}
	b.admin, err = pgxgate.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: adminLimit}})
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	if b.observer, err = b.admin.Conn(ctx); err != nil {
		return nil, fmt.Errorf("bench: connecting: %w", err)
	}
	if b.server, err = askServer(ctx, b.observer); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	if config.Limit > b.server.MaxConnections {
		return nil, fmt.Errorf("bench: Config.Limit is %d, but the server's max_connections is %d", config.Limit, b.server.MaxConnections)
	}
	b.tables = tables{db: b.admin.DB, schema: config.Schema}
	if err := b.tables.take(ctx, b.observer); err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return b, nil
}

// Server returns a description of the server.
func (b *Bench) Server() Server { return b.server }

// Close drops the tables and closes the connections.
func (b *Bench) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), sampleTimeout)
	defer cancel()
	var errs []error
	if b.observer != nil {
		// In this order, so that no other benchmark takes the schema before.
		errs = append(errs, b.tables.drop(ctx), b.observer.Close())
	}
	errs = append(errs, b.admin.Close())
	return errors.Join(errs...)
}

// fresh prepares a run: the connections of the previous run have ended, the
// tables are empty, and a checkpoint has written all changes.
func (b *Bench) fresh(ctx context.Context, form Form) error {
	if err := awaitNoConnections(ctx, b.observer); err != nil {
		return err
	}
	if err := b.tables.fresh(ctx, form); err != nil {
		return err
	}
	if b.server.Checkpoint {
		if _, err := b.admin.ExecContext(ctx, "CHECKPOINT"); err != nil {
			return fmt.Errorf("checkpoint: %w", err)
		}
	}
	return nil
}
