// Command overload sends PostgreSQL more than it can do, and compares what is
// done in time through a bare pool, a semaphore and a gate. Without arguments it
// starts a PostgreSQL of its own; see overload -h.
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

	"github.com/poolgate/poolgate/bench/internal/outdir"
	"github.com/poolgate/poolgate/bench/overload"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

// The exit codes.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // as a shell has it: 128 + SIGINT
)

func main() {
	os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
}

func run(args []string, stdout, stderr io.Writer) int {
	o, err := parse(args, stderr)
	if errors.Is(err, pflag.ErrHelp) {
		return 0
	}
	if err != nil {
		fmt.Fprintf(stderr, "overload: %v\nSee overload -h.\n", err)
		return exitUsage
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	context.AfterFunc(ctx, stop) // a second signal ends it at once
	switch err := measure(ctx, o, stdout, stderr); {
	case err == nil:
		return 0
	case ctx.Err() != nil:
		fmt.Fprintln(stderr, "overload: interrupted")
		return exitInterrupted
	default:
		fmt.Fprintf(stderr, "overload: %v\n", err)
		return exitFailed
	}
}

// measure does everything. If it ends early, it prints and writes the runs that
// it has.
func measure(ctx context.Context, o options, stdout, stderr io.Writer) (err error) {
	if err := outdir.Check(o.out); err != nil {
		return err
	}
	if o.config.DSN == "" {
		server, err := pgserver.Start(ctx, pgserver.Config{})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, server.Close()) }()
		o.config.DSN = server.DSN()
	}
	b, err := overload.Open(ctx, o.config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	report, failed := b.Measure(ctx, func(r overload.Run) {
		for _, q := range r.Requests {
			fmt.Fprintf(stderr, "%-4s %-9s %5.2f×  %-5s %6.0f/s offered %6.0f/s in time\n",
				r.Workload, r.Way, r.Multiple, q.Class, q.Rate, q.Goodput)
		}
	})
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
