// Command tracing runs an HTTP service on a gated PostgreSQL under load. It sends
// its traces by OTLP and exports its metrics to Prometheus. See README.md.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/pflag"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/adapters/pqgate"
	"github.com/poolgate/poolgate/internal/testing/jaeger"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/logging"
	"github.com/poolgate/poolgate/tracing"
)

type options struct {
	address string
	driver  string
	story   story
	cured   bool
	jaeger  bool
	period  time.Duration
	log     string
}

func main() {
	o, err := parse(os.Args[1:])
	if errors.Is(err, pflag.ErrHelp) {
		return
	}
	if err == nil {
		ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
		defer stop()
		err = run(ctx, o, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "tracing:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	o := options{}
	flags := pflag.NewFlagSet("tracing", pflag.ContinueOnError)
	flags.SortFlags = false
	flags.StringVar(&o.address, "address", "127.0.0.1:8080", "where the service listens; port 0 is a free one")
	flags.StringVar(&o.driver, "driver", "pgx", "pgx or pq")
	name := flags.String("story", "healthy", "what goes wrong: "+strings.Join(storyNames(), ", "))
	flags.BoolVar(&o.cured, "cured", false, "with the problem fixed")
	flags.BoolVar(&o.jaeger, "jaeger", false, "build Jaeger, the first time for ten minutes, and start it")
	flags.DurationVar(&o.period, "for", 0, "end after this time; 0 runs until it is interrupted")
	flags.StringVar(&o.log, "log", "warn", "level of the log: debug has every statement")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	at := slices.IndexFunc(stories, func(s story) bool { return s.name == *name })
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case at < 0:
		return o, fmt.Errorf("--story: unknown %q; choose from %s", *name, strings.Join(storyNames(), ", "))
	case o.driver != "pgx" && o.driver != "pq":
		return o, fmt.Errorf("--driver must be pgx or pq, not %q", o.driver)
	}
	o.story = stories[at]
	return o, nil
}

// run runs the service until ctx ends, or the time is up, and says what it saw.
func run(ctx context.Context, o options, out io.Writer) (err error) {
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.log)); err != nil {
		return fmt.Errorf("--log: %w", err)
	}
	server, err := pgserver.Start(ctx, pgserver.Config{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, server.Close()) }()

	var traces *jaeger.Server
	if o.jaeger {
		if traces, err = startJaeger(ctx, out); err != nil {
			return err
		}
		defer func() { err = errors.Join(err, traces.Close()) }()
	}
	t, err := newTelemetry(ctx, traces)
	if err != nil {
		return err
	}
	defer t.close()

	db, err := open(o, server.DSN(), t)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	logger := slog.New(slog.NewTextHandler(out, &slog.HandlerOptions{Level: level}))
	defer db.Observe(logging.New(logger, logging.Config{}))()
	s := &service{db: db, story: o.story, cured: o.cured, metrics: t.metricsPage}
	if err := s.prepare(ctx); err != nil {
		return err
	}

	listener, err := net.Listen("tcp", o.address)
	if err != nil {
		return err
	}
	base := "http://" + listener.Addr().String()
	web := &http.Server{Handler: s.handler(t.traces), BaseContext: func(net.Listener) context.Context {
		return tracing.Operations(context.Background(), t.traces)
	}}
	go web.Serve(listener)
	defer web.Close()
	fmt.Fprintf(out, "%s\n\n", where(base, traces))

	if o.period > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.period)
		defer cancel()
	}
	fmt.Fprint(out, load(ctx, base, o.story))
	if traces != nil {
		t.flush()
		return slowest(traces, o.story, out)
	}
	return nil
}

func open(o options, dsn string, t *telemetry) (*poolgate.DB, error) {
	config := poolgate.Config{Gate: o.story.gate(o.cured)}
	opts := []tracing.Option{
		tracing.WithTracerProvider(t.traces),
		tracing.WithMeterProvider(t.metrics),
		tracing.WithPoolName("orders"),
	}
	if o.driver == "pq" {
		return tracing.Open(pqgate.NewConnector, dsn, config, opts...)
	}
	return tracing.Open(pgxgate.NewConnector, dsn, config, opts...)
}

func startJaeger(ctx context.Context, out io.Writer) (*jaeger.Server, error) {
	if jaeger.Built() == "" {
		fmt.Fprintf(out, "building Jaeger %s, once: this takes about ten minutes\n", jaeger.Version)
	}
	path, err := jaeger.Build(ctx, out)
	if err != nil {
		return nil, err
	}
	return jaeger.Start(ctx, path, 4318, 16686)
}

func where(base string, traces *jaeger.Server) string {
	text := "The service:  " + base + "/order?id=1, and /report\n" +
		"Its metrics:  " + base + "/metrics\n"
	if traces == nil {
		return text + "Its traces:   sent to " + endpoint() + ", service \"" + serviceName + "\";\n" +
			"              in Jaeger see http://localhost:16686/search?service=" + serviceName
	}
	return text + "Its traces:   " + traces.Query() + "/api/traces?service=" + serviceName + "&limit=20\n" +
		"              (this Jaeger is built without the assets of its page: it answers by its API)"
}

// slowest shows a long trace of each route that the story is about.
func slowest(traces *jaeger.Server, s story, out io.Writer) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for _, route := range s.watch {
		found, err := traces.Find(ctx, serviceName, route, 0, 1000)
		if err != nil {
			return err
		}
		if len(found) == 0 {
			return fmt.Errorf("no trace of %s is in Jaeger", route)
		}
		// Not the longest of all, which is an accident: one in twenty is longer.
		fmt.Fprintf(out, "\n%s: a slow one of %d traces\n\n%s", route, len(found), found[len(found)/20])
	}
	return nil
}
