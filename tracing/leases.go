package tracing

import (
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/trace"
)

// leases are those under way that have a span, for the statements under them.
type leases struct {
	byID sync.Map // of uint64 to *leased
}

type leased struct {
	span   trace.SpanContext
	parent trace.SpanContext
	used   atomic.Bool // a statement has told of the wait
}

func (l *leases) add(id uint64, span trace.Span, parent trace.SpanContext) {
	l.byID.Store(id, &leased{span: span.SpanContext(), parent: parent})
}

func (l *leases) remove(id uint64) { l.byID.Delete(id) }

// get returns nil if the lease has no span.
func (l *leases) get(id uint64) *leased {
	one, _ := l.byID.Load(id)
	found, _ := one.(*leased)
	return found
}
