// Package scale runs many processes on one database, and changes how many there
// are while they work: a few, many, all of them replaced by new ones, and fewer. The
// processes share one budget of connections, as members of a fleet, or each have a
// limit of its own.
package scale

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/poolgate/poolgate/bench"
)

// Config says what to run. The zero value of a field stands for its default.
type Config struct {
	// Command starts a process that calls Member, with its arguments.
	Command []string

	Driver bench.Driver

	// Few, Many and Fewer are how many processes there are, one after the other:
	// 2, 10 and 4.
	Few, Many, Fewer int

	// Budget is how many connections they share: 40. The server has Margin
	// more, which the heartbeats need, up to two for each of Many during a rollout,
	// and what a server reserves: 2·Many + 10.
	Budget, Margin int

	// Without has each process keep a limit of its own, Limit, in place of a
	// share: Budget/Few, which is right for as many as there are first.
	Without bool
	Limit   int

	// Chaos kills processes, and stops and continues them, at random moments, and
	// restarts the server in the middle of the second stage and of the last.
	Chaos bool

	// Longest is for how long Chaos stops a process at most: 15 seconds.
	Longest time.Duration

	Step time.Duration // that a stage lasts: 10 seconds
	Hold time.Duration // that a statement lasts: 20 milliseconds

	// Patience is how long a stage goes on at most until each process has done
	// a statement: a minute.
	Patience time.Duration

	// Through, if it is not nil, returns the URL by which the members reach the
	// server of a URL, such as that of a PgBouncer.
	Through func(dsn string) (string, error)

	Seed     uint64
	Progress func(string) // gets stages and faults; may be nil
}

func (c Config) withDefaults() (Config, error) {
	for field, n := range map[string]*int{"Few": &c.Few, "Many": &c.Many, "Fewer": &c.Fewer, "Budget": &c.Budget, "Margin": &c.Margin, "Limit": &c.Limit} {
		if *n < 0 {
			return c, fmt.Errorf("scale: Config.%s must not be negative, got %d", field, *n)
		}
	}
	for field, d := range map[string]*time.Duration{"Longest": &c.Longest, "Step": &c.Step, "Hold": &c.Hold, "Patience": &c.Patience} {
		if *d < 0 {
			return c, fmt.Errorf("scale: Config.%s must not be negative, got %v", field, *d)
		}
	}
	byDefault(&c.Few, 2)
	byDefault(&c.Many, 10)
	byDefault(&c.Fewer, 4)
	byDefault(&c.Budget, 40)
	byDefault(&c.Margin, 2*c.Many+10)
	byDefault(&c.Limit, max(1, c.Budget/c.Few))
	byDefault(&c.Longest, 15*time.Second)
	byDefault(&c.Step, 10*time.Second)
	byDefault(&c.Hold, 20*time.Millisecond)
	byDefault(&c.Patience, time.Minute)
	switch {
	case len(c.Command) == 0:
		return c, errors.New("scale: Config.Command must not be empty")
	case c.Many < c.Few || c.Many < c.Fewer:
		return c, fmt.Errorf("scale: Config.Many must be at least Few and Fewer, which are %d and %d, got %d", c.Few, c.Fewer, c.Many)
	}
	if c.Driver == "" {
		c.Driver = bench.PGX
	}
	if c.Progress == nil {
		c.Progress = func(string) {}
	}
	return c, nil
}

func byDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// A Result is what Run has seen.
type Result struct {
	Driver         bench.Driver `json:"driver"`
	Without        bool         `json:"without_fleet"`
	Limit          int          `json:"limit,omitempty"` // of each process, without a fleet
	Budget         int          `json:"budget"`
	MaxConnections int          `json:"max_connections"`
	Seed           uint64       `json:"seed"`
	Server         string       `json:"server_version"`

	// Alone is the throughput of one process that has the whole budget, in
	// statements a second.
	Alone  float64 `json:"alone_per_second"`
	Stages []Stage `json:"stages"`

	// Errors counts the errors of all processes, by SQLSTATE or reason.
	Errors map[string]uint64 `json:"errors"`

	// Highest is the highest number of connections that the server had at
	// once, of the processes alone.
	Highest int `json:"highest_connections"`

	// Starved are the processes that did no statement in a stage.
	Starved []string `json:"starved"`

	// Failed are the processes that ended by themselves.
	Failed []string `json:"failed"`

	Events  []Event  `json:"events"`
	Samples []Sample `json:"samples"`
}

// TooMany is the SQLSTATE of a server that has no connection left.
const TooMany = "53300"

// A Stage is a part of the run with its number of processes.
type Stage struct {
	Name      string            `json:"name"`
	Processes int               `json:"processes"`
	From      float64           `json:"from_seconds"`
	To        float64           `json:"to_seconds"`
	PerSecond float64           `json:"statements_per_second"` // in its second half
	Highest   int               `json:"highest_connections"`
	Errors    map[string]uint64 `json:"errors"`
}

// An Event is a fault or a change of the number of processes.
type Event struct {
	Seconds float64 `json:"seconds"`
	What    string  `json:"what"`
}

// A Sample is the state at one moment.
type Sample struct {
	Seconds     float64     `json:"seconds"`
	Connections int         `json:"connections"` // -1 if the server did not answer
	Shares      map[int]int `json:"shares"`      // of the processes, by their numbers
}

// Run does all of it on a server of its own. It takes about five times
// Config.Step. A context that ends stops it, with an error.
func Run(ctx context.Context, config Config) (_ *Result, err error) {
	c, err := config.withDefaults()
	if err != nil {
		return nil, err
	}
	r := &run{
		config: c,
		random: rand.New(rand.NewPCG(c.Seed, 14)),
		result: &Result{
			Driver: c.Driver, Without: c.Without, Budget: c.Budget, MaxConnections: c.Budget + c.Margin, Seed: c.Seed,
			Errors: map[string]uint64{}, Starved: []string{}, Failed: []string{}, Events: []Event{}, Samples: []Sample{},
		},
	}
	if c.Without {
		r.result.Limit = c.Limit
	}
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if closed := r.close(); err == nil {
			err = closed
		}
	}()
	if err := r.alone(ctx); err != nil {
		return nil, err
	}
	r.began = time.Now()
	sampling, end := context.WithCancel(ctx)
	sampled := make(chan struct{})
	go func() {
		defer close(sampled)
		r.sample(sampling)
	}()
	err = r.stages(ctx)
	end()
	<-sampled
	r.finish()
	return r.result, err
}
