// Command poolbench sends the same reads and writes through a connection pool in
// five ways, on three drivers, and compares them in a report. Without arguments it
// starts a PostgreSQL of its own and takes about a minute; see poolbench -h.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/spf13/pflag"

	"github.com/poolgate/poolgate/bench"
	"github.com/poolgate/poolgate/bench/internal/outdir"
	"github.com/poolgate/poolgate/bench/scale"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

// The exit codes.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // as a shell has it: 128 + SIGINT
)

// serverConnections is what the article allowed its server.
const serverConnections = 2000

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	work, err := command(args, stdout, stderr)
	if errors.Is(err, pflag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "poolbench: %v\nSee poolbench -h.\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	switch err := work(ctx); {
	case err == nil:
		return 0
	case ctx.Err() != nil && errors.Is(err, context.Canceled):
		fmt.Fprintln(stderr, "poolbench: interrupted")
		return exitInterrupted
	default:
		fmt.Fprintf(stderr, "poolbench: %v\n", err)
		return exitFailed
	}
}

// command returns what the command line asks for.
func command(args []string, stdout, stderr io.Writer) (func(context.Context) error, error) {
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	switch name {
	case "tune":
		o, err := parseTune(args[1:], stderr)
		return func(ctx context.Context) error { return runTune(ctx, o, stdout, stderr) }, err
	case "fleet":
		o, err := parseFleet(args[1:], stderr)
		return func(ctx context.Context) error { return runFleet(ctx, o, stdout, stderr) }, err
	case "pair":
		o, err := parsePair(args[1:], stderr)
		return func(ctx context.Context) error { return runPair(ctx, o, stdout, stderr) }, err
	case memberCommand:
		return func(ctx context.Context) error { return scale.Member(ctx, os.Stdin, stdout) }, nil
	}
	o, err := parse(args, stderr)
	return func(ctx context.Context) error { return benchmark(ctx, o, stdout, stderr) }, err
}

// benchmark does everything. If it ends early, it prints and writes the runs
// that it has.
func benchmark(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	if err := outdir.Check(o.out); err != nil {
		return err
	}
	config := o.config
	binDir := ""
	if config.DSN == "" {
		var server *pgserver.Server
		if server, err = pgserver.Start(ctx, pgserver.Config{MaxConnections: serverConnections}); err != nil {
			return err
		}
		defer func() { closing(&err, server.Close()) }()
		config.DSN, binDir = server.DSN(), server.BinDir()
	}
	if o.otlp != "" {
		traces, err := sendTraces(ctx, o, stderr)
		if err != nil {
			return err
		}
		defer traces.close()
		config.Traces = traces.provider
	}
	pgbench := ""
	if o.reference {
		if pgbench, err = bench.FindPgbench(binDir); err != nil {
			return fmt.Errorf("--reference: %w", err)
		}
	}
	b, err := bench.Open(ctx, config)
	if errors.Is(err, bench.ErrOccupied) {
		return fmt.Errorf("%w; choose another schema with --schema", err)
	}
	if err != nil {
		return err
	}
	defer func() { closing(&err, b.Close()) }()

	report := bench.NewReport(config, b.Server())
	fmt.Fprintf(stderr, "PostgreSQL %s, %d operations in each run, seed %d\n", b.Server().Version, config.Ops, config.Seed)
	failed := measure(ctx, b, o, pgbench, report, stderr)
	report.Interrupted = ctx.Err() != nil
	if len(report.Runs) == 0 {
		fmt.Fprintln(stderr, "no run has ended, so there is no report")
		return failed
	}
	if err := report.Print(stdout); err != nil {
		return err
	}
	files, err := report.Write(o.out)
	if len(files) > 0 {
		fmt.Fprintf(stdout, "\nwritten:\n  %s\n", strings.Join(files, "\n  "))
	}
	return errors.Join(failed, err)
}

// measure does all runs and puts them into the report. It stops at the first
// that has no result, and goes on after one whose rows are wrong.
func measure(ctx context.Context, b *bench.Bench, o options, pgbench string, report *bench.Report, stderr io.Writer) error {
	cases := bench.Cases(o.forms, o.drivers, o.strategies)
	var references []bench.PgbenchCase
	if pgbench != "" {
		references = bench.PgbenchCases(o.forms, o.config.Limit)
	}
	progress := newProgress(stderr, &b.Done, cases, references, o.config.Ops)
	defer progress.close()
	var wrong error
	for _, c := range cases {
		progress.begin(c.String(), weight(c))
		run, err := b.Run(ctx, c)
		if err != nil {
			return err
		}
		progress.end(run.Seconds, run.OpsPerSecond, run.Errors)
		report.Runs = append(report.Runs, run)
		if !run.Verified {
			wrong = fmt.Errorf("%s: %s", c, run.Problem)
		}
	}
	for _, c := range references {
		progress.begin(c.String(), pgbenchWeight(c))
		ref, err := b.Pgbench(ctx, pgbench, c)
		if err != nil {
			return err
		}
		progress.end(ref.Seconds, ref.OpsPerSecond, ref.Errors)
		report.Reference = append(report.Reference, ref)
	}
	return wrong
}

// closing keeps the first error.
func closing(err *error, closed error) {
	if *err == nil {
		*err = closed
	}
}
