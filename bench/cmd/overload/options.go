package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/poolgate/poolgate/bench/overload"
)

// options is what the command line asks for.
type options struct {
	config overload.Config
	out    string
}

const usage = `overload sends PostgreSQL more than it can do, each request with a deadline and
none waiting for another, and compares what is answered in time.

Ways
  pool        database/sql with SetMaxOpenConns
  semaphore   the same, behind a golang.org/x/sync/semaphore
  gate        the same, behind poolgate with Shed and two classes

Workloads
  cpu         a query that keeps one core of the server busy for about 10 ms
  wait        a query that waits for 20 ms

First it measures what the server can do, then what is answered in time at
multiples of that, then how long the requests of a class that has half of the
permits reserved take while another class floods.

Without --dsn, and unless the environment has POOLGATE_DSN, it starts a
PostgreSQL of its own and takes it down at the end. It writes nothing to the
database.

Examples
  overload                    everything, in about twenty minutes
  overload --quick            less of it, in about three
  overload --workloads wait --rates 1,3,10 --rounds 0

Flags
`

// parse reads the command line. It prints the help on stderr, if that is what
// is asked for, and returns pflag.ErrHelp.
func parse(args []string, stderr io.Writer) (options, error) {
	o := options{config: overload.DefaultConfig()}
	c := &o.config
	flags := pflag.NewFlagSet("overload", pflag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.SortFlags = false
	flags.Usage = func() { fmt.Fprint(stderr, usage, flags.FlagUsages()) }

	workloads := flags.StringSlice("workloads", names(overload.Workloads()), "workloads to measure")
	ways := flags.StringSlice("ways", names(overload.Ways()), "ways to measure")
	flags.IntVar(&c.Limit, "limit", 0, "connections of each way; 0 for what suits the workload: the number\nof CPUs for cpu, 10 for wait")
	flags.DurationVar(&c.Deadline, "deadline", c.Deadline, "of each request")
	flags.Float64SliceVar(&c.Rates, "rates", c.Rates, "what is offered, as multiples of what the server can do")
	flags.Float64SliceVar(&c.Floods, "floods", c.Floods, "the same, where one class floods and the other is watched")
	flags.Float64Var(&c.WebShare, "web", c.WebShare, "what the class that is watched asks for, as such a multiple")
	flags.DurationVar(&c.Warmup, "warmup", c.Warmup, "of each run, which is not counted")
	flags.DurationVar(&c.Window, "window", c.Window, "of each run, which is")
	flags.IntVar(&c.Rounds, "rounds", c.Rounds, "how often a class is watched")
	flags.Uint64Var(&c.Seed, "seed", c.Seed, "of the moments at which requests come")
	flags.StringVar(&c.DSN, "dsn", "", "server to use, a postgres:// URL or a list of key=value")
	flags.StringVar(&o.out, "out", "overload-out", "folder for report.json and the pictures")
	quick := flags.Bool("quick", false, "--rates 1,3,10 --rounds 1 --warmup 1s --window 3s")

	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *quick {
		for _, name := range []string{"rates", "rounds", "warmup", "window"} {
			if flags.Changed(name) {
				return o, fmt.Errorf("--quick and --%s exclude each other", name)
			}
		}
		c.Rates, c.Rounds, c.Warmup, c.Window = []float64{1, 3, 10}, 1, time.Second, 3*time.Second
	}
	if o.out == "" {
		return o, fmt.Errorf("--out must name a folder")
	}
	var err error
	if c.Workloads, err = choose("--workloads", *workloads, overload.Workloads()); err != nil {
		return o, err
	}
	c.Ways, err = choose("--ways", *ways, overload.Ways())
	return o, err
}

// choose returns those of all that were named, in the order of all.
func choose[T ~string](flag string, named []string, all []T) (chosen []T, err error) {
	for _, name := range named {
		if !slices.Contains(all, T(name)) {
			return nil, fmt.Errorf("%s: unknown %q; choose from %s", flag, name, strings.Join(names(all), ", "))
		}
	}
	for _, one := range all {
		if slices.Contains(named, string(one)) {
			chosen = append(chosen, one)
		}
	}
	if len(chosen) == 0 {
		return nil, fmt.Errorf("%s is empty; choose from %s", flag, strings.Join(names(all), ", "))
	}
	return chosen, nil
}

func names[T ~string](all []T) []string {
	names := make([]string, len(all))
	for i, one := range all {
		names[i] = string(one)
	}
	return names
}
