package main

import (
	"context"
	"os"
	"testing"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/internal/testing/jaeger"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/internal/testing/traced"
)

// TestTracesInJaeger sends the traces that the tests of package tracing check to
// a real Jaeger, and checks what Jaeger then has. Its first run builds that
// Jaeger, which takes about ten minutes:
//
//	POOLGATE_JAEGER=1 go test -timeout 40m -run Jaeger ./examples/tracing
func TestTracesInJaeger(t *testing.T) {
	if os.Getenv("POOLGATE_JAEGER") != "1" {
		t.Skip("set POOLGATE_JAEGER=1 to build and start a real Jaeger")
	}
	ctx := context.Background()
	pgserver.ForTest(t)
	leaks := goleak.IgnoreCurrent()
	path, err := jaeger.Build(ctx, os.Stderr)
	must(t, err)
	server, err := jaeger.Start(ctx, path, 0, 0)
	must(t, err)
	for _, d := range traced.Drivers {
		t.Run(d.Name, func(t *testing.T) {
			exporter, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(server.OTLP()+"/v1/traces"))
			must(t, err)
			f := traced.New(t, d, pgserver.ForTest(t).CreateDatabase(t), traced.AcceptanceGate)
			f.Traces.RegisterSpanProcessor(sdktrace.NewBatchSpanProcessor(exporter))
			f.Jaeger = server
			traced.Acceptance(t, f)
			f.AssertIdle()
			must(t, f.Close())
			must(t, f.Traces.Shutdown(ctx))
		})
	}
	must(t, server.Close())
	goleak.VerifyNone(t, leaks)
}
