package main

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/poolgate/poolgate/bench"
)

const (
	fullOps     = 35000 // the article's number
	defaultOps  = fullOps / 10
	defaultOTLP = "http://localhost:4318"
)

// options is what the command line asks for.
type options struct {
	config     bench.Config
	forms      []bench.Form
	drivers    []bench.Driver
	strategies []bench.Strategy
	out        string
	reference  bool
	otlp       string  // where traces go; "" for no traces
	sample     float64 // the share of the operations that is traced
}

const usage = `poolbench sends the same reads and writes through a connection pool in five
ways, on three drivers, and compares them: time, latency, connections, errors.

Strategies
  sequential  one operation after another, on one connection
  unbounded   all at once, with nothing in front of the pool
  semaphore   all at once, through a gate that keeps --limit connections in use
  chunked     all at once, through a gate that lets them in by waves of --limit
  adaptive    all at once, through a gate that finds its limit while it runs

Drivers
  pgx         pgx through database/sql
  pq          lib/pq
  pgxpool     pgx with its own pool

Forms
  faithful    the statements that SQLAlchemy sends, without an index on b(a_id)
  idiomatic   with that index, autocommit, one round trip for each operation

Without --dsn, and unless the environment has POOLGATE_DSN, it starts a
PostgreSQL of its own with 2000 connections and stops it at the end. In the
database of --dsn it works in the tables a and b of --schema, and drops them at
the end. It never drops a table that it did not create.

The report is written to --out: as a page (report.html), as JSON, and as pictures.

Examples
  poolbench                                 3,500 operations, about a minute
  poolbench --full                          the article's 35,000, a quarter of an hour
  poolbench --reference                     compared with pgbench
  poolbench --drivers pgx --strategies semaphore,chunked --limit 20
  poolbench --dsn postgres://me@db.example/test --ops 5000
  poolbench --strategies semaphore --otlp   traces of one in a hundred operations

Flags
`

// parse reads the command line. It prints the help on stderr, if that is what
// is asked for, and returns pflag.ErrHelp.
func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	flags := pflag.NewFlagSet("poolbench", pflag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.SortFlags = false
	flags.Usage = func() { fmt.Fprint(stderr, usage, flags.FlagUsages()) }

	flags.IntVar(&o.config.Ops, "ops", defaultOps, "operations in each run, reads and writes half and half")
	flags.IntVar(&o.config.Limit, "limit", 40, "permits of the semaphore, and size of the waves")
	flags.IntVar(&o.config.MaxOpen, "max-open", defaultMaxOpen, "connections that the unbounded strategy may open; 0 for any\nnumber, which is the default of database/sql")
	drivers := flags.StringSlice("drivers", names(bench.Drivers()), "drivers to run on")
	strategies := flags.StringSlice("strategies", names(bench.Strategies()), "strategies to run")
	form := flags.String("form", "both", "faithful, idiomatic or both")
	flags.StringVar(&o.config.DSN, "dsn", "", "server to use, a postgres:// URL or a list of key=value")
	flags.StringVar(&o.config.Schema, "schema", bench.DefaultSchema, "schema to work in, created if need be")
	flags.Uint64Var(&o.config.Seed, "seed", 0, "seed of the workload; without it a random one, which is printed")
	flags.StringVar(&o.out, "out", "poolbench-out", "folder for the report")
	full := flags.Bool("full", false, fmt.Sprintf("the article's number of operations: --ops %d", fullOps))
	flags.BoolVar(&o.reference, "reference", false, "add runs of pgbench with the same statements, as an upper bound\nfor any client")

	flags.StringVar(&o.otlp, "otlp", "", "send traces by OTLP over HTTP, for example to Jaeger; this costs\ntime. --otlp=URL if it is not at "+defaultOTLP)
	flags.Lookup("otlp").NoOptDefVal = defaultOTLP
	flags.Float64Var(&o.sample, "otlp-sample", 0.01, "share of the operations that --otlp sends")

	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if *full {
		if flags.Changed("ops") {
			return o, fmt.Errorf("--full and --ops exclude each other")
		}
		o.config.Ops = fullOps
	}
	if !flags.Changed("seed") {
		o.config.Seed = uint64(rand.Uint32()) // short enough to be typed again
	}
	return o, o.check(*form, *drivers, *strategies)
}

func (o *options) check(form string, drivers, strategies []string) (err error) {
	switch {
	case o.config.Ops < 1:
		return fmt.Errorf("--ops must be at least 1, got %d", o.config.Ops)
	case o.config.Limit < 1:
		return fmt.Errorf("--limit must be at least 1, got %d", o.config.Limit)
	case o.config.MaxOpen < 0:
		return fmt.Errorf("--max-open must not be negative, got %d", o.config.MaxOpen)
	case !(o.sample > 0 && o.sample <= 1):
		return fmt.Errorf("--otlp-sample must be above 0 and at most 1, got %v", o.sample)
	case o.out == "":
		return fmt.Errorf("--out must name a folder")
	}
	if o.forms, err = chooseForms(form); err != nil {
		return err
	}
	if o.drivers, err = choose("--drivers", drivers, bench.Drivers()); err != nil {
		return err
	}
	o.strategies, err = choose("--strategies", strategies, bench.Strategies())
	return err
}

// chooseForms returns the form of that name, or both.
func chooseForms(name string) ([]bench.Form, error) {
	if name == "both" {
		return bench.Forms(), nil
	}
	forms, err := choose("--form", []string{name}, bench.Forms())
	if err != nil {
		err = fmt.Errorf("%w, or both", err)
	}
	return forms, err
}

// choose returns those of all that were named, in the order of all.
func choose[T ~string](flag string, named []string, all []T) ([]T, error) {
	if len(named) == 0 {
		return nil, fmt.Errorf("%s is empty; choose from %s", flag, strings.Join(names(all), ", "))
	}
	for _, name := range named {
		if !slices.Contains(all, T(name)) {
			return nil, fmt.Errorf("%s: unknown %q; choose from %s", flag, name, strings.Join(names(all), ", "))
		}
	}
	var chosen []T
	for _, one := range all {
		if slices.Contains(named, string(one)) {
			chosen = append(chosen, one)
		}
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

// defaultMaxOpen is the article's pool: 3000 connections and 20 more, before
// a server of 2000.
const defaultMaxOpen = 3020
