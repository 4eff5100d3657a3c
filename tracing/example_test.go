package tracing_test

import (
	"context"
	"fmt"
	"log"
	"os"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/tracing"
)

func ExampleOpen() {
	exporter := tracetest.NewInMemoryExporter() // in a program otlptracehttp.New, for example
	traces := sdktrace.NewTracerProvider(sdktrace.WithSyncer(exporter))

	db, err := tracing.Open(pgxgate.NewConnector, os.Getenv("DATABASE_URL"),
		poolgate.Config{Gate: gate.Config{Limit: 40}}, tracing.WithTracerProvider(traces))
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()

	ctx, span := traces.Tracer("example").Start(context.Background(), "GET /orders")
	_, err = db.ExecContext(ctx, "SELECT 'a secret'")
	span.End()
	if err != nil {
		log.Fatal(err)
	}
	for _, s := range exporter.GetSpans() {
		fmt.Print(s.Name)
		for _, a := range s.Attributes {
			if a.Key == "db.query.text" {
				fmt.Print(": ", a.Value.AsString())
			}
		}
		fmt.Println()
	}
	// Unordered output:
	// sql.connector.connect
	// sql.conn.exec: SELECT ?
	// poolgate.lease
	// GET /orders
}
