package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"text/tabwriter"

	"github.com/spf13/pflag"

	"github.com/poolgate/poolgate/bench"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

const pairUsage = `poolbench pair compares each driver with pgbench, round after round, so that what
else the machine does meets both. It first looks for the protocol and the number of
connections at which pgbench is best. In each round every driver then does the same
work twice on --limit connections: through a gate, and with a bare pool. It prints
medians.

Examples
  poolbench pair                                     both forms, about eight minutes
  poolbench pair --form idiomatic                    about three
  poolbench pair --drivers pgxpool --rounds 9 --ops 35000

Flags
`

// pairOptions is what the command line of poolbench pair asks for.
type pairOptions struct {
	config  bench.Config
	forms   []bench.Form
	drivers []bench.Driver
	rounds  int
}

func parsePair(args []string, stderr io.Writer) (o pairOptions, err error) {
	flags := pflag.NewFlagSet("poolbench pair", pflag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.SortFlags = false
	flags.Usage = func() { fmt.Fprint(stderr, pairUsage, flags.FlagUsages()) }
	flags.IntVar(&o.config.Ops, "ops", 10_000, "operations in each run, reads and writes half and half")
	flags.IntVar(&o.rounds, "rounds", 5, "how often everything is done")
	flags.IntVar(&o.config.Limit, "limit", 40, "permits of the gate, and connections of the bare pool")
	form := flags.String("form", "both", "faithful, idiomatic or both")
	drivers := flags.StringSlice("drivers", names(bench.Drivers()), "drivers to compare")
	flags.StringVar(&o.config.DSN, "dsn", "", "server to use, a postgres:// URL or a list of key=value")
	flags.StringVar(&o.config.Schema, "schema", bench.DefaultSchema, "schema to work in, created if need be")
	flags.Uint64Var(&o.config.Seed, "seed", 0, "seed of the workload; without it a random one, which is printed")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.config.Ops < 1:
		return o, fmt.Errorf("--ops must be at least 1, got %d", o.config.Ops)
	case o.rounds < 1:
		return o, fmt.Errorf("--rounds must be at least 1, got %d", o.rounds)
	case o.config.Limit < 1:
		return o, fmt.Errorf("--limit must be at least 1, got %d", o.config.Limit)
	}
	o.config.MaxOpen = o.config.Limit
	if !flags.Changed("seed") {
		o.config.Seed = uint64(rand.Uint32())
	}
	if o.forms, err = chooseForms(*form); err != nil {
		return o, err
	}
	o.drivers, err = choose("--drivers", *drivers, bench.Drivers())
	return o, err
}

func runPair(ctx context.Context, o pairOptions, stdout, stderr io.Writer) (err error) {
	binDir := ""
	if o.config.DSN == "" {
		var server *pgserver.Server
		if server, err = pgserver.Start(ctx, pgserver.Config{MaxConnections: o.config.Limit + 20}); err != nil {
			return err
		}
		defer func() { closing(&err, server.Close()) }()
		o.config.DSN, binDir = server.DSN(), server.BinDir()
	}
	pgbench, err := bench.FindPgbench(binDir)
	if err != nil {
		return err
	}
	b, err := bench.Open(ctx, o.config)
	if errors.Is(err, bench.ErrOccupied) {
		return fmt.Errorf("%w; choose another schema with --schema", err)
	}
	if err != nil {
		return err
	}
	defer func() { closing(&err, b.Close()) }()
	fmt.Fprintf(stderr, "PostgreSQL %s, %d operations in each run, seed %d\n", b.Server().Version, o.config.Ops, o.config.Seed)
	for _, form := range o.forms {
		p := pairing{b: b, path: pgbench, ops: o.config.Ops, form: form, stderr: stderr}
		if err := p.findBest(ctx, o.config.Limit); err != nil {
			return err
		}
		for round := range o.rounds {
			if err := p.round(ctx, round, o.drivers); err != nil {
				return err
			}
		}
		if err := p.print(stdout); err != nil {
			return err
		}
	}
	return nil
}

// A pairing is the comparison of one form.
type pairing struct {
	b      *bench.Bench
	path   string // of pgbench
	ops    int
	form   bench.Form
	stderr io.Writer
	best   bench.PgbenchCase
	rates  []float64 // of pgbench, by round
	lines  []*pairLine
}

// A pairLine is what one driver has done with or without a gate, by round.
type pairLine struct {
	bench.Case
	rates, ratios, cpu []float64
}

// findBest finds the case in which pgbench is best.
func (p *pairing) findBest(ctx context.Context, limit int) error {
	highest := 0.0
	for _, c := range bench.PgbenchCases([]bench.Form{p.form}, limit) {
		rate, err := p.pgbench(ctx, c)
		if err != nil {
			return err
		}
		if rate > highest {
			p.best, highest = c, rate
		}
	}
	return nil
}

func (p *pairing) pgbench(ctx context.Context, c bench.PgbenchCase) (float64, error) {
	ref, err := p.b.Pgbench(ctx, p.path, c)
	if err != nil {
		return 0, err
	}
	if ref.Errors > 0 {
		return 0, fmt.Errorf("%s: %d transactions failed", c, ref.Errors)
	}
	fmt.Fprintf(p.stderr, "%s: %.0f ops/s\n", c, ref.OpsPerSecond)
	return ref.OpsPerSecond, nil
}

// round does everything once, every other time in the opposite order, with
// pgbench in the middle.
func (p *pairing) round(ctx context.Context, round int, drivers []bench.Driver) error {
	cases := bench.Cases([]bench.Form{p.form}, drivers, []bench.Strategy{bench.Semaphore, bench.Unbounded})
	if round == 0 {
		for _, c := range cases {
			p.lines = append(p.lines, &pairLine{Case: c})
		}
	}
	order := slices.Clone(p.lines)
	if round%2 == 1 {
		slices.Reverse(order)
	}
	var runs []bench.Run
	for i, line := range order {
		if i == len(order)/2 {
			rate, err := p.pgbench(ctx, p.best)
			if err != nil {
				return err
			}
			p.rates = append(p.rates, rate)
		}
		run, err := p.b.Run(ctx, line.Case)
		if err != nil {
			return err
		}
		if !run.Verified || run.Errors > 0 {
			return fmt.Errorf("%s: %d operations failed; %s", line.Case, run.Errors, run.Problem)
		}
		fmt.Fprintf(p.stderr, "%s: %.0f ops/s\n", line.name(), run.OpsPerSecond)
		runs = append(runs, run)
	}
	for i, line := range order {
		line.rates = append(line.rates, runs[i].OpsPerSecond)
		line.ratios = append(line.ratios, runs[i].OpsPerSecond/p.rates[round])
		line.cpu = append(line.cpu, runs[i].ClientCPU/float64(p.ops)*1e6)
	}
	return nil
}

// name is that of the line in words.
func (l *pairLine) name() string { return fmt.Sprintf("%s %s %s", l.Form, l.Driver, l.way()) }

func (l *pairLine) way() string {
	if l.Strategy == bench.Unbounded {
		return "bare"
	}
	return "gated"
}

func (p *pairing) print(w io.Writer) error {
	fmt.Fprintf(w, "%s, medians of %d rounds of %d operations\n\n", p.form, len(p.rates), p.ops)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "driver\tpool\tops/s\tof pgbench\tclient CPU µs/op")
	fmt.Fprintf(tw, "pgbench\t%s, %d clients\t%.0f\t1.00\t-\n", p.best.Protocol, p.best.Clients, median(p.rates))
	for _, l := range p.lines {
		fmt.Fprintf(tw, "%s\t%s\t%.0f\t%.2f\t%.0f\n", l.Driver, l.way(), median(l.rates), median(l.ratios), median(l.cpu))
	}
	fmt.Fprintln(tw)
	return tw.Flush()
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}
