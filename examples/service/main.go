// Command service is an HTTP service on a gated database, to copy from: classes by
// route, spans and metrics, a debug page, and a shutdown that loses no request.
//
//	DATABASE_URL=postgres://localhost/postgres go run ./examples/service
//
// docs/shutdown.md explains the order in which it stops.
package main

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/debugpage"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/tracing"
)

// config has two classes: pages, which somebody waits for, and reports.
var config = poolgate.Config{Gate: gate.Config{
	Limit: 40,
	Classes: []gate.Class{
		{Name: "pages", Reserved: 30},
		{Name: "reports", Max: 8, Priority: -1},
	},
	LeakAfter:  10 * time.Second,
	StackEvery: 1,
}}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	public, err := net.Listen("tcp", "localhost:8080")
	if err != nil {
		log.Fatal(err)
	}
	internal, err := net.Listen("tcp", "localhost:6060")
	if err != nil {
		log.Fatal(err)
	}
	log.Printf("serving http://%s, and the debug page at http://%s", public.Addr(), internal.Addr())
	if err := run(ctx, os.Getenv("DATABASE_URL"), public, internal); err != nil {
		log.Fatal(err)
	}
}

// run serves until ctx ends, and then stops in order.
func run(ctx context.Context, dsn string, public, internal net.Listener) error {
	db, err := tracing.Open(pgxgate.NewConnector, dsn, config, tracing.WithGlobalProviders())
	if err != nil {
		return err
	}
	defer db.Close()

	server := &http.Server{Handler: newHandler(db.DB)}
	debug := &http.Server{Handler: debugpage.New(map[string]*gate.Gate{"orders": db.Gate()})}
	defer debug.Close() // the last to stop, since it shows what the others wait for
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(public) }()
	go func() { failed <- debug.Serve(internal) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}

	// First the gate: requests that wait for a permit get a 503 at once.
	db.Gate().Close()
	deadline, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	// Then the server: no new requests, and the running ones finish.
	err = server.Shutdown(deadline)
	// Then the database: work outside of requests finishes, and the connections close.
	return errors.Join(err, db.Gate().Drain(deadline), db.Close())
}
