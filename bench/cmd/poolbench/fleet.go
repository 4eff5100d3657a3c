package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"github.com/poolgate/poolgate/bench"
	"github.com/poolgate/poolgate/bench/internal/outdir"
	"github.com/poolgate/poolgate/bench/scale"
)

// memberCommand is what a process of poolbench fleet is started with. It is not
// for users.
const memberCommand = "fleet-member"

const fleetUsage = `poolbench fleet runs many processes on one database, which share one budget of
connections as members of a fleet. It starts a few, then many, replaces all of
them by new ones as a rollout does, and ends most of them, all under load. It
draws each member's share and the server's connections.

The server is one of its own, whose max_connections is the budget and a margin
for heartbeats.

Examples
  poolbench fleet                      2, 10, 20, 10 and 4 processes, about a minute
  poolbench fleet --without            the same with a limit for each process
  poolbench fleet --chaos --step 30s   kills and stops members, restarts the server
  poolbench fleet --drivers pgx,pq --budget 20

Flags
`

// fleetOptions is what the command line of poolbench fleet asks for.
type fleetOptions struct {
	config  scale.Config
	drivers []bench.Driver
	out     string
}

func parseFleet(args []string, stderr io.Writer) (o fleetOptions, err error) {
	flags := pflag.NewFlagSet("poolbench fleet", pflag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.SortFlags = false
	flags.Usage = func() { fmt.Fprint(stderr, fleetUsage, flags.FlagUsages()) }
	c := &o.config
	drivers := flags.StringSlice("drivers", []string{string(bench.PGX)}, "drivers to use: pgx, pq or both, one after the other")
	flags.IntVar(&c.Few, "few", 2, "processes at first")
	flags.IntVar(&c.Many, "many", 10, "processes then; twice as many during the rollout")
	flags.IntVar(&c.Fewer, "fewer", 4, "processes in the end")
	flags.IntVar(&c.Budget, "budget", 40, "connections that all processes share")
	flags.IntVar(&c.Margin, "margin", 0, "connections that the server has besides; 2·many+10 if it is 0")
	flags.BoolVar(&c.Without, "without", false, "give each process a limit of its own instead of a share")
	flags.IntVar(&c.Limit, "limit", 0, "that limit; budget/few if it is 0")
	flags.BoolVar(&c.Chaos, "chaos", false, "kill processes, stop and continue them, and restart the server")
	flags.DurationVar(&c.Longest, "longest", 15*time.Second, "how long --chaos stops a process at most")
	flags.DurationVar(&c.Step, "step", 10*time.Second, "how long each of the five stages lasts")
	flags.DurationVar(&c.Hold, "hold", 20*time.Millisecond, "how long each statement sleeps on the server")
	flags.Uint64Var(&c.Seed, "seed", 0, "seed of loads and faults; without it a random one, which is printed")
	flags.StringVar(&o.out, "out", "poolbench-fleet", "folder for fleet.json and the pictures")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case c.Few < 1 || c.Fewer < 1:
		return o, fmt.Errorf("--few and --fewer must be at least 1, got %d and %d", c.Few, c.Fewer)
	case c.Many < c.Few || c.Many < c.Fewer:
		return o, fmt.Errorf("--many must be at least --few and --fewer, got %d", c.Many)
	case c.Budget < c.Few:
		return o, fmt.Errorf("--budget must be at least --few, got %d", c.Budget)
	case c.Margin < 0 || c.Limit < 0:
		return o, errors.New("--margin and --limit must not be negative")
	case c.Limit > 0 && !c.Without:
		return o, errors.New("--limit is for --without")
	case c.Step < 100*time.Millisecond:
		return o, fmt.Errorf("--step must be at least 100ms, got %v", c.Step)
	case c.Hold <= 0 || c.Longest <= 0:
		return o, errors.New("--hold and --longest must be positive")
	case o.out == "":
		return o, errors.New("--out must name a folder")
	}
	if !flags.Changed("seed") {
		c.Seed = uint64(rand.Uint32())
	}
	o.drivers, err = choose("--drivers", *drivers, bench.SQLDrivers())
	return o, err
}

func runFleet(ctx context.Context, o fleetOptions, stdout, stderr io.Writer) error {
	if err := outdir.Check(o.out); err != nil {
		return err
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	o.config.Command = []string{self, memberCommand}
	fmt.Fprintf(stderr, "about %v for each driver, seed %d\n", (6 * o.config.Step).Round(time.Second), o.config.Seed)
	var all []*scale.Result
	var failed error
	for _, d := range o.drivers {
		c := o.config
		c.Driver = d
		began := time.Now()
		c.Progress = func(what string) {
			fmt.Fprintf(stderr, "%s %5.1fs: %s\n", d, time.Since(began).Seconds(), what)
		}
		r, err := scale.Run(ctx, c)
		if err != nil {
			return fmt.Errorf("%s: %w", d, err)
		}
		all = append(all, r)
		if err := printFleet(stdout, r); err != nil {
			return err
		}
		if n := len(r.Starved) + len(r.Failed); n > 0 && !c.Without {
			failed = fmt.Errorf("%s: %s", d, strings.Join(slices.Concat(r.Starved, r.Failed), "; "))
		}
	}
	files, err := writeFleet(o.out, all)
	if len(files) > 0 {
		fmt.Fprintf(stdout, "\nwritten:\n  %s\n", strings.Join(files, "\n  "))
	}
	return errors.Join(failed, err)
}

// printFleet prints the table of a run.
func printFleet(out io.Writer, r *scale.Result) error {
	with := fmt.Sprintf("one budget of %d", r.Budget)
	if r.Without {
		with = fmt.Sprintf("a limit of %d for each process", r.Limit)
	}
	fmt.Fprintf(out, "\n%s, %s, max_connections %d, PostgreSQL %s, seed %d\n", r.Driver, with, r.MaxConnections, r.Server, r.Seed)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "stage\tprocesses\tstatements/s\tof one alone\tconnections, at most\terrors by SQLSTATE\n")
	fmt.Fprintf(w, "one process alone\t1\t%.0f\t\t\t\n", r.Alone)
	for _, s := range r.Stages {
		part := ""
		if r.Alone > 0 {
			part = fmt.Sprintf("%.0f %%", 100*s.PerSecond/r.Alone)
		}
		fmt.Fprintf(w, "%s\t%d\t%.0f\t%s\t%d\t%s\n", s.Name, s.Processes, s.PerSecond, part, s.Highest, kinds(s.Errors))
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "errors in all: %s; highest number of connections: %d\n", kinds(r.Errors), r.Highest)
	for _, text := range r.Starved {
		fmt.Fprintf(out, "starved: %s\n", text)
	}
	for _, text := range r.Failed {
		fmt.Fprintf(out, "failed: %s\n", text)
	}
	return nil
}

// kinds lists errors, the most frequent kind first.
func kinds(errors map[string]uint64) string {
	if len(errors) == 0 {
		return "none"
	}
	names := slices.SortedFunc(maps.Keys(errors), func(a, b string) int {
		if errors[a] != errors[b] {
			return int(errors[b]) - int(errors[a])
		}
		return strings.Compare(a, b)
	})
	for i, name := range names {
		names[i] = fmt.Sprintf("%s: %d", name, errors[name])
	}
	return strings.Join(names, ", ")
}
