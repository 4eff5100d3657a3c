package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"go.opentelemetry.io/contrib/instrumentation/net/http/otelhttp"
	"go.opentelemetry.io/otel/trace"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gatehttp"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/session"
)

// service takes orders, shows them, and makes reports of them.
type service struct {
	db      *poolgate.DB
	story   story
	cured   bool
	metrics http.Handler
}

func (s *service) prepare(ctx context.Context) error {
	_, err := s.db.ExecContext(ctx, `
		CREATE SCHEMA IF NOT EXISTS tracing_example;
		CREATE TABLE IF NOT EXISTS tracing_example.orders (id bigserial PRIMARY KEY, item text NOT NULL, paid boolean NOT NULL DEFAULT false);
		INSERT INTO tracing_example.orders (item) SELECT 'tea' FROM generate_series(1, 100)`)
	return err
}

func (s *service) handler(traces trace.TracerProvider) http.Handler {
	mux := http.NewServeMux()
	handle := func(route, class string, work http.HandlerFunc) {
		classed := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			work(w, r.WithContext(gate.WithClass(r.Context(), class)))
		})
		mux.Handle(route, otelhttp.NewHandler(classed, route, otelhttp.WithTracerProvider(traces)))
	}
	handle("GET /order", web, s.show)
	handle("POST /order", web, s.order)
	handle("GET /report", reports, s.report)
	mux.Handle("GET /metrics", s.metrics)
	return mux
}

func (s *service) show(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseInt(r.FormValue("id"), 10, 64)
	if err != nil {
		http.Error(w, "id must be a number", http.StatusBadRequest)
		return
	}
	var item string
	err = s.db.QueryRowContext(r.Context(),
		"SELECT item FROM tracing_example.orders, pg_sleep($2) WHERE id = $1", id, readTakes.Seconds()).Scan(&item)
	if errors.Is(err, sql.ErrNoRows) {
		http.NotFound(w, r)
		return
	}
	if err != nil {
		gatehttp.WriteError(w, err) // a refusal is a 503 with Retry-After
		return
	}
	fmt.Fprintln(w, item)
}

// order takes an order and has it paid, both or none. Where it calls the payment
// service is what the story of the held transaction is about.
func (s *service) order(w http.ResponseWriter, r *http.Request) {
	err := func(ctx context.Context) error {
		if s.story.pays && s.cured {
			pay()
		}
		return session.Run(ctx, func(ctx context.Context) error {
			db := session.DB(ctx, s.db.DB)
			var id int64
			err := db.QueryRowContext(ctx, "INSERT INTO tracing_example.orders (item) VALUES ($1) RETURNING id", "coffee").Scan(&id)
			if err != nil {
				return err
			}
			if s.story.pays && !s.cured {
				pay()
			}
			_, err = db.ExecContext(ctx, "UPDATE tracing_example.orders SET paid = true WHERE id = $1", id)
			return err
		})
	}(r.Context())
	if err != nil {
		gatehttp.WriteError(w, err)
		return
	}
	w.WriteHeader(http.StatusCreated)
}

// pay is the call of somebody else's service.
func pay() { time.Sleep(paymentTakes) }

// report adds up the orders in several statements, side by side.
func (s *service) report(w http.ResponseWriter, r *http.Request) {
	counts := make([]int, reportParts)
	parts := make([]gather.Statement, reportParts)
	for i := range parts {
		parts[i] = gather.One(&counts[i], "SELECT count(*) FROM tracing_example.orders, pg_sleep($3) WHERE id % $2 = $1",
			i, reportParts, reportTakes.Seconds())
	}
	if err := gather.Run(r.Context(), s.db, gather.Options{}, parts...); err != nil {
		gatehttp.WriteError(w, err)
		return
	}
	fmt.Fprintln(w, counts)
}
