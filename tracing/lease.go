package tracing

import (
	"context"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"

	"github.com/poolgate/poolgate/poolgate"
)

// A lease is one that has a span. The contexts of the calls under it carry it.
type lease struct {
	start  poolgate.LeaseStart
	span   trace.Span
	parent trace.SpanContext
	used   atomic.Bool // a statement has said how long the wait was
}

type leaseKey struct{}

// leaseOf returns nil if ctx is not under a lease that has a span.
func leaseOf(ctx context.Context) *lease {
	l, _ := ctx.Value(leaseKey{}).(*lease)
	return l
}
