package bench

import (
	"slices"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
)

func TestTraces(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	const ops, limit = 40, 4
	b := openTest(t, Config{Ops: ops, Limit: limit, Seed: 1, Traces: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))})
	for _, c := range Cases([]Form{Idiomatic}, Drivers(), Strategies()) {
		t.Run(c.String()+" has a span of each operation, with what is below it", func(t *testing.T) {
			spans.Reset()
			run, err := b.Run(t.Context(), c)
			if err != nil || !run.Verified {
				t.Fatal(err, run.Problem)
			}
			names := map[string]int{}
			roots := map[string]bool{}
			suffix := " " + string(c.Driver) + " " + string(c.Strategy)
			for _, s := range spans.Ended() {
				names[s.Name()]++
				if !s.Parent().IsValid() && strings.HasSuffix(s.Name(), suffix) { // and not what is prepared before
					roots[s.SpanContext().TraceID().String()] = true
				}
			}
			if n := names["read"+suffix] + names["write"+suffix]; n != ops || len(roots) != ops {
				t.Errorf("%d spans of operations in %d traces, want %d: %v", n, len(roots), ops, names)
			}
			gated := slices.Contains([]Strategy{Semaphore, Chunked, Adaptive}, c.Strategy)
			if leases := names["poolgate.lease"]; gated != (leases >= ops) || gated != (names["poolgate.wait"] > 0) {
				t.Errorf("%d leases and %d waits", leases, names["poolgate.wait"])
			}
		})
	}
}
