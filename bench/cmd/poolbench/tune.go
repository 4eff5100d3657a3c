package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/pflag"

	"github.com/poolgate/poolgate/bench"
	"github.com/poolgate/poolgate/bench/internal/outdir"
	"github.com/poolgate/poolgate/bench/tune"
	"github.com/poolgate/poolgate/internal/connstring"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

const tuneUsage = `poolbench tune finds the limit at which a database serves a statement best. It
sweeps the number of statements in flight, in random order and again and again,
until the answer no longer depends on chance.

Without --dsn, and unless the environment has POOLGATE_DSN, it starts a
PostgreSQL of its own. In a database that it is given, it writes nothing: the
connections are read only unless --write is given.

Examples
  poolbench tune                                       the workload, on its own server
  poolbench tune --dsn postgres://me@db.example/shop --query "SELECT * FROM orders WHERE id = 7"
  poolbench tune --dsn postgres://me@db.example/shop --file checkout.sql --write

Flags
`

// tuneOptions is what the command line of poolbench tune asks for.
type tuneOptions struct {
	dsn      string
	drivers  []bench.Driver
	form     bench.Form
	query    string
	file     string
	write    bool
	workload bool // no statement was given
	out      string
	config   tune.Config
}

func parseTune(args []string, stderr io.Writer) (o tuneOptions, err error) {
	flags := pflag.NewFlagSet("poolbench tune", pflag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.SortFlags = false
	flags.Usage = func() { fmt.Fprint(stderr, tuneUsage, flags.FlagUsages()) }
	flags.StringVar(&o.dsn, "dsn", "", "server to use, a postgres:// URL or a list of key=value")
	drivers := flags.StringSlice("drivers", []string{string(bench.PGX)}, "drivers to use: pgx, pq or both, one after the other")
	flags.StringVar(&o.query, "query", "", "a statement without parameters, whose rows are read")
	flags.StringVar(&o.file, "file", "", "a file with one or several statements, which are sent together")
	flags.BoolVar(&o.write, "write", false, "let the statement write to the database")
	form := flags.String("form", string(bench.Idiomatic), "form of the workload, where no statement is given")
	flags.IntVar(&o.config.Max, "max", tune.DefaultMax, "highest number in flight; less if the server has fewer connections")
	flags.DurationVar(&o.config.Window, "window", tune.DefaultWindow, "how long each try lasts")
	flags.DurationVar(&o.config.Longest, "longest", tune.DefaultLongest, "when to end although the answer is not certain")
	flags.StringVar(&o.out, "out", "poolbench-tune", "folder for report.html, tune.json and the picture")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.dsn == "" {
		o.dsn = os.Getenv("POOLGATE_DSN")
	}
	o.workload = o.query == "" && o.file == ""
	switch {
	case o.query != "" && o.file != "":
		return o, errors.New("--query and --file exclude each other")
	case o.workload && o.dsn != "" && !o.write:
		return o, errors.New("the workload writes to the database: add --write to allow it, or give a --query or a --file")
	case o.config.Max < 1:
		return o, fmt.Errorf("--max must be at least 1, got %d", o.config.Max)
	case o.config.Window < 10*time.Millisecond:
		return o, fmt.Errorf("--window must be at least 10ms, got %v", o.config.Window)
	case o.config.Longest < o.config.Window:
		return o, fmt.Errorf("--longest must be at least --window, got %v", o.config.Longest)
	case o.out == "":
		return o, errors.New("--out must name a folder")
	}
	if o.file != "" {
		text, err := os.ReadFile(o.file)
		if err != nil {
			return o, fmt.Errorf("--file: %w", err)
		}
		if strings.TrimSpace(string(text)) == "" {
			return o, fmt.Errorf("--file: %s is empty", o.file)
		}
		o.file = string(text)
	}
	if o.drivers, err = choose("--drivers", *drivers, bench.SQLDrivers()); err != nil {
		return o, err
	}
	forms, err := choose("--form", []string{*form}, bench.Forms())
	if err == nil {
		o.form = forms[0]
	}
	return o, err
}

func runTune(ctx context.Context, o tuneOptions, stdout, stderr io.Writer) (err error) {
	if err := outdir.Check(o.out); err != nil {
		return err
	}
	if o.dsn == "" {
		server, err := pgserver.Start(ctx, pgserver.Config{MaxConnections: 2*tune.DefaultMax + 10})
		if err != nil {
			return err
		}
		defer func() { closing(&err, server.Close()) }()
		o.dsn = server.DSN()
	}
	free, version, err := freeConnections(ctx, o.dsn)
	if err != nil {
		return err
	}
	if free < 1 {
		return errors.New("the server has no connection to spare")
	}
	if o.config.Max > free {
		fmt.Fprintf(stderr, "at most %d in flight: the server has no more connections to spare\n", free)
		o.config.Max = free
	}
	least, most := o.config.Estimate()
	fmt.Fprintf(stderr, "PostgreSQL %s: %v to %v for each driver, longer if the statement takes more than %v\n",
		version, least.Round(time.Second), most.Round(time.Second), o.config.Window/5)
	all := tuning{Started: time.Now().UTC(), Server: version, Statement: o.statement(), Machine: machine()}
	for _, d := range o.drivers {
		r, err := o.sweep(ctx, d, stderr)
		if err != nil {
			return fmt.Errorf("%s: %w", d, err)
		}
		all.Runs = append(all.Runs, driverTuned{d, r})
		if err := printTuned(stdout, d, r); err != nil {
			return err
		}
	}
	files, err := all.write(o.out)
	if len(files) > 0 {
		fmt.Fprintf(stdout, "\nwritten:\n  %s\n", strings.Join(files, "\n  "))
	}
	return err
}

func (o tuneOptions) statement() string {
	switch {
	case o.query != "":
		return o.query
	case o.file != "":
		return o.file
	}
	return "the workload, " + string(o.form)
}

// freeConnections returns how many connections the server has for us.
func freeConnections(ctx context.Context, dsn string) (free int, version string, err error) {
	db, err := bench.PGX.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1}})
	if err != nil {
		return 0, "", err
	}
	defer db.Close()
	err = db.QueryRowContext(ctx, `
		SELECT current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
		       - (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') - 4,
		       current_setting('server_version')`).Scan(&free, &version)
	return free, version, err
}

// sweep tunes with one driver.
func (o tuneOptions) sweep(ctx context.Context, d bench.Driver, stderr io.Writer) (_ *tune.Result, err error) {
	config := o.config
	config.CPU = bench.CPUTime
	config.Progress = func(p tune.Progress) {
		so := ""
		if p.Recommended > 0 {
			so = fmt.Sprintf(", so far %d in flight, %.0f %% certain", p.Recommended, 100*p.Certainty)
		}
		fmt.Fprintf(stderr, "%s: round %d after %v%s\n", d, p.Rounds, p.Elapsed.Round(time.Second), so)
	}
	if o.workload {
		b, err := bench.Open(ctx, bench.Config{DSN: o.dsn, Schema: bench.DefaultSchema, Ops: 1, Limit: 1})
		if err != nil {
			return nil, err
		}
		defer func() { closing(&err, b.Close()) }()
		w, err := b.Workload(ctx, o.form, d)
		if err != nil {
			return nil, err
		}
		db, operation, err := w.Open(gate.Config{Limit: config.Max})
		if err != nil {
			return nil, err
		}
		defer db.Close()
		config.Operation = operation
		return tune.Run(ctx, config)
	}
	settings := d.Settings(bench.Idiomatic)
	if settings == nil {
		settings = map[string]string{}
	}
	settings["application_name"] = "poolbench tune"
	if !o.write {
		settings["default_transaction_read_only"] = "on"
	}
	dsn, err := connstring.With(o.dsn, settings)
	if err != nil {
		return nil, err
	}
	db, err := d.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: config.Max}})
	if err != nil {
		return nil, err
	}
	defer func() { closing(&err, db.Close()) }()
	config.Operation = func(ctx context.Context) error {
		if o.file != "" {
			_, err := db.ExecContext(ctx, o.file)
			return err
		}
		rows, err := db.QueryContext(ctx, o.query)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
		}
		return rows.Err()
	}
	return tune.Run(ctx, config)
}

// printTuned says what a sweep has found.
func printTuned(out io.Writer, d bench.Driver, r *tune.Result) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "\n%s in flight\top/s\t95 %%\tp50 ms\tp99 ms\tclient CPU\t\n", d)
	for _, l := range r.Levels {
		mark := ""
		if l.InFlight == r.Nearest() {
			mark = fmt.Sprintf(" <- %d is recommended", r.Recommended)
		}
		fmt.Fprintf(w, "%d\t%.0f\t±%.0f\t%.2f\t%.2f\t%.2f\t%s\n",
			l.InFlight, l.Throughput, (l.High-l.Low)/2, l.P50, l.P99, l.ClientCPU, mark)
	}
	if err := w.Flush(); err != nil {
		return err
	}
	fmt.Fprintf(out, "\nRecommended limit with %s: %d\n", d, r.Recommended)
	for _, note := range notes(r) {
		fmt.Fprintf(out, "  %s\n", note)
	}
	return nil
}

// notes says in sentences what a sweep has found.
func notes(r *tune.Result) []string {
	certain := "The answer is certain"
	if !r.Certain {
		certain = fmt.Sprintf("The time was up before the answer was certain (%.0f %%)", 100*r.Certainty)
	}
	all := []string{fmt.Sprintf("%s: 95 of 100 resamples of %d rounds say %d to %d.", certain, r.Rounds, r.Low, r.High)}
	throughput, p50 := r.At(r.Recommended)
	last := r.Levels[len(r.Levels)-1].InFlight
	for _, other := range []struct {
		name string
		n    int
	}{{"Half", r.Recommended / 2}, {"Double", 2 * r.Recommended}} {
		if x, t := r.At(other.n); other.n > 0 && other.n <= last {
			all = append(all, fmt.Sprintf("%s of it, %d, has %.0f %% of the throughput at %.1f times the median time.",
				other.name, other.n, 100*x/throughput, t/p50))
		}
	}
	law := r.Law
	peak := "no peak"
	if law.Peak > 0 {
		peak = fmt.Sprintf("a peak at %.0f", law.Peak)
	}
	all = append(all, fmt.Sprintf("Universal scalability law: %.0f a second alone, contention %.3f, coherency %.5f, %s (R² %.2f).",
		law.Lambda, law.Sigma, law.Kappa, peak, law.R2))
	if n := len(r.Levels); n > 1 && r.Recommended > r.Levels[n-2].InFlight {
		all = append(all, fmt.Sprintf("The throughput may still rise at %d: try a higher --max, if the server has the connections.", last))
	}
	if r.ClientBound {
		all = append(all, fmt.Sprintf("The load generator used nearly all of its %d cores: it, and not the database, may be the limit.", r.Cores))
	}
	return all
}
