package overload

import (
	"context"
	"fmt"
	"runtime"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// Config says what to measure. DefaultConfig has values for all but the DSN.
type Config struct {
	DSN       string        // the server: a URL or a list of key=value
	Workloads []Workload    // what the requests ask for
	Ways      []Way         // what they go through
	Limit     int           // connections, and permits; 0 for what suits the workload
	Deadline  time.Duration // of each request, from when it is to be sent
	Rates     []float64     // how much is offered, as multiples of what the server can do
	Floods    []float64     // the same, where a batch floods and the web is watched
	WebShare  float64       // what the web asks for then, of what the server can do
	Warmup    time.Duration // of each run, which does not count
	Window    time.Duration // of each run, which does
	Rounds    int           // how often the web is watched, in turns
	Seed      uint64        // of the moments at which requests come
}

// DefaultConfig returns what the command measures by default.
func DefaultConfig() Config {
	return Config{
		Workloads: Workloads(),
		Ways:      Ways(),
		Deadline:  200 * time.Millisecond,
		Rates:     []float64{0.5, 0.8, 1, 1.5, 2, 3, 5, 10},
		Floods:    []float64{3, 10},
		WebShare:  0.3,
		Warmup:    2 * time.Second,
		Window:    8 * time.Second,
		Rounds:    3,
		Seed:      1,
	}
}

func (c Config) check() error {
	switch {
	case len(c.Workloads) == 0:
		return fmt.Errorf("overload: Config.Workloads is empty")
	case len(c.Ways) == 0:
		return fmt.Errorf("overload: Config.Ways is empty")
	case c.Limit < 0:
		return fmt.Errorf("overload: Config.Limit must not be negative, got %d", c.Limit)
	case c.Deadline <= 0:
		return fmt.Errorf("overload: Config.Deadline must be positive, got %v", c.Deadline)
	case c.Warmup < 0:
		return fmt.Errorf("overload: Config.Warmup must not be negative, got %v", c.Warmup)
	case c.Window <= 0:
		return fmt.Errorf("overload: Config.Window must be positive, got %v", c.Window)
	case c.Rounds < 0:
		return fmt.Errorf("overload: Config.Rounds must not be negative, got %d", c.Rounds)
	case c.WebShare <= 0 || c.WebShare >= 1:
		return fmt.Errorf("overload: Config.WebShare must be between 0 and 1, got %v", c.WebShare)
	}
	for _, r := range c.Rates {
		if r <= 0 {
			return fmt.Errorf("overload: Config.Rates must be positive, got %v", r)
		}
	}
	for _, r := range c.Floods {
		if r <= c.WebShare {
			return fmt.Errorf("overload: Config.Floods must be above WebShare, got %v", r)
		}
	}
	return nil
}

// A Run is one way under one load.
type Run struct {
	Workload Workload   `json:"workload"`
	Way      Way        `json:"way"`
	Multiple float64    `json:"multiple"` // what was offered, of what the server can do
	Requests []Requests `json:"requests"` // by class
}

// A Bench measures one server. It is not safe for concurrent use.
type Bench struct {
	config  Config
	conn    *pgx.ConnConfig
	admin   *poolgate.DB
	version string
}

// applicationName is what the measured connections are known by.
const applicationName = "poolgate overload"

// Open connects to the server. It returns an error that names the field of
// config that is wrong.
func Open(ctx context.Context, config Config) (*Bench, error) {
	if err := config.check(); err != nil {
		return nil, err
	}
	admin, err := pgxgate.Open(config.DSN, poolgate.Config{Gate: gate.Config{Limit: 1}})
	if err != nil {
		return nil, fmt.Errorf("overload: %w", err)
	}
	b := &Bench{config: config, admin: admin}
	if b.conn, err = pgx.ParseConfig(config.DSN); err != nil {
		admin.Close()
		return nil, fmt.Errorf("overload: the DSN is not valid") // pgxgate has said more
	}
	b.conn.RuntimeParams["application_name"] = applicationName
	if err := admin.QueryRowContext(ctx, "SELECT current_setting('server_version')").Scan(&b.version); err != nil {
		admin.Close()
		return nil, fmt.Errorf("overload: %w", err)
	}
	return b, nil
}

// Close closes the connections.
func (b *Bench) Close() error { return b.admin.Close() }

// Measure measures everything that the configuration asks for, and calls
// progress after each run. After an error, the end of ctx among them, it
// returns what it has.
func (b *Bench) Measure(ctx context.Context, progress func(Run)) (*Report, error) {
	report := newReport(b.config, b.version)
	for _, w := range b.config.Workloads {
		if err := b.measure(ctx, w, report, progress); err != nil {
			return report, err
		}
	}
	return report, nil
}

func (b *Bench) measure(ctx context.Context, w Workload, report *Report, progress func(Run)) error {
	limit := b.config.Limit
	if limit == 0 {
		limit = w.limit(runtime.NumCPU())
	}
	q, err := w.query(ctx, b.admin.DB)
	if err != nil {
		return err
	}
	throughput, err := b.saturate(ctx, q, limit)
	if err != nil {
		return err
	}
	report.Servers = append(report.Servers, Capability{Workload: w, Limit: limit, Query: q.String(), Throughput: throughput})
	run := func(way Way, multiple float64, streams ...stream) error {
		requests, err := b.run(ctx, way, limit, q, streams)
		if err != nil {
			return err
		}
		r := Run{w, way, multiple, requests}
		progress(r)
		report.Runs = append(report.Runs, r)
		return nil
	}
	for _, m := range b.config.Rates {
		for _, way := range b.config.Ways {
			if err := run(way, m, stream{Web, m * throughput}); err != nil {
				return err
			}
		}
	}
	web := stream{Web, b.config.WebShare * throughput}
	for range b.config.Rounds {
		for _, way := range b.config.Ways {
			if err := run(way, b.config.WebShare, web); err != nil {
				return err
			}
			for _, m := range b.config.Floods {
				if err := run(way, m, web, stream{Batch, m*throughput - web.rate}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// saturate returns how many queries the server does in a second, where as many
// callers as it has connections each send the next as soon as they have the
// answer to the last: it is never idle, and nobody waits.
func (b *Bench) saturate(ctx context.Context, q query, limit int) (float64, error) {
	s, err := Pool.open(b.conn, limit)
	if err != nil {
		return 0, err
	}
	defer s.close()
	if err := connect(ctx, s, limit); err != nil {
		return 0, fmt.Errorf("overload: connecting: %w", err)
	}
	begin := time.Now().Add(b.config.Warmup)
	end := begin.Add(b.config.Window)
	counts, errs := make([]int, limit), make([]error, limit)
	var wg sync.WaitGroup
	for i := range limit {
		wg.Go(func() {
			for errs[i] == nil {
				start := time.Now()
				if start.After(end) {
					return
				}
				if errs[i] = s.do(ctx, q); errs[i] == nil && !start.Before(begin) {
					counts[i]++
				}
			}
		})
	}
	wg.Wait()
	total := 0
	for i := range limit {
		if errs[i] != nil {
			return 0, fmt.Errorf("overload: measuring what the server can do: %w", errs[i])
		}
		total += counts[i]
	}
	return float64(total) / b.config.Window.Seconds(), nil
}

// run offers the streams to a way, and returns when the server is idle again.
func (b *Bench) run(ctx context.Context, way Way, limit int, q query, streams []stream) (_ []Requests, err error) {
	s, err := way.open(b.conn, limit)
	if err != nil {
		return nil, err
	}
	defer func() {
		if closed := s.close(); err == nil {
			err = closed
		}
		if idle := b.awaitIdle(ctx); err == nil {
			err = idle
		}
	}()
	if err := connect(ctx, s, limit); err != nil {
		return nil, fmt.Errorf("overload: connecting: %w", err)
	}
	requests := offer(ctx, s, q, streams, b.config)
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if permits, waiters := s.left(); permits > 0 || waiters > 0 {
		return nil, fmt.Errorf("overload: %s: %d permits are still out and %d callers wait", way, permits, waiters)
	}
	return requests, nil
}

// awaitIdle waits until the server has done with what the run has left it to
// do. Where queries were given up by the thousand, these are connections that
// nobody wants any more, which it opens nevertheless: seconds of work. They are
// in a queue, so a new connection, which is last in it, says when it is empty.
func (b *Bench) awaitIdle(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, b.conn)
	if err != nil {
		return fmt.Errorf("overload: waiting for the server to be idle: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	for {
		n := 0
		err := conn.QueryRow(ctx, "SELECT count(*) FROM pg_stat_activity WHERE application_name = $1 AND pid <> pg_backend_pid()",
			applicationName).Scan(&n)
		if err != nil {
			return fmt.Errorf("overload: waiting for the server to be idle: %w", err)
		}
		if n == 0 {
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
}
