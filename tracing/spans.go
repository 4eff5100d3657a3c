package tracing

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/poolgate/poolgate/internal/operation"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// Names of spans.
const (
	spanWait  = "poolgate.wait"
	spanLease = "poolgate.lease"
)

// unsampled reports whether ctx has a span of this process that is not sampled.
// Starting a child of it, which is not sampled either, takes half a microsecond, and
// a statement has several.
func unsampled(ctx context.Context) bool {
	parent := trace.SpanContextFromContext(ctx)
	return parent.IsValid() && !parent.IsSampled() && !parent.IsRemote()
}

// spans makes a span of each wait and of each lease. An observer is called when
// they are over, or have begun, so their beginnings are dated back.
type spans struct {
	tracer     trace.Tracer
	attributes []attribute.KeyValue // on every span
}

func newSpans(s *settings) *spans {
	attributes := []attribute.KeyValue{semconv.DBClientConnectionPoolName(s.pool)}
	return &spans{
		tracer:     s.traces.Tracer(scope, trace.WithSchemaURL(semconv.SchemaURL)),
		attributes: append(attributes, s.statement()...),
	}
}

func (s *spans) observer() poolgate.Observer {
	return poolgate.Observer{
		Gate:     gate.Observer{AcquireEnd: s.acquireEnd},
		Filter:   func(ctx context.Context) bool { return !unsampled(ctx) },
		Lease:    s.lease,
		LeaseEnd: s.leaseEnd,
	}
}

// acquireEnd makes the span of a wait. A caller that got a permit at once has none,
// and one that was refused at once has one without length.
func (s *spans) acquireEnd(ctx context.Context, a gate.AcquireEnd) {
	rejected, refused := errors.AsType[*gate.RejectedError](a.Err)
	if !a.Queued && !refused || a.Optional && a.Err != nil || unsampled(ctx) {
		return
	}
	end := time.Now()
	_, span := s.tracer.Start(ctx, spanWait, trace.WithTimestamp(end.Add(-a.Waited)))
	if span.IsRecording() {
		if refused && !a.Queued {
			a.Limit, a.InFlight, a.Waiting = rejected.Limit, rejected.InFlight, rejected.Waiting
		}
		span.SetAttributes(s.attributes...)
		span.SetAttributes(
			keyClass.String(a.Class),
			keyLimit.Int(a.Limit),
			keyInFlight.Int(a.InFlight),
			keyWaiting.Int(a.Waiting),
			keyWaited.Float64(a.Waited.Seconds()),
		)
		if a.Err != nil {
			fail(span, a.Err)
		}
		if refused && rejected.RetryAfter > 0 {
			span.SetAttributes(keyRetryAfter.Float64(rejected.RetryAfter.Seconds()))
		}
	}
	span.End(trace.WithTimestamp(end))
}

// lease makes the span of a lease: from the permit on, for as long as it is
// held. A checkout that got no permit has none.
func (s *spans) lease(ctx context.Context, l poolgate.LeaseStart) context.Context {
	if l.Err != nil && (l.Connecting == 0 || operation.IsOptional(ctx)) {
		return ctx
	}
	_, span := s.tracer.Start(ctx, spanLease, trace.WithTimestamp(time.Now().Add(-l.Connecting)))
	if !span.IsRecording() {
		return ctx
	}
	span.SetAttributes(s.attributes...)
	span.SetAttributes(
		keyClass.String(l.Class),
		keyWaited.Float64(l.Waited.Seconds()),
		keyConnecting.Float64(l.Connecting.Seconds()),
	)
	if l.Err != nil {
		fail(span, l.Err)
		span.End()
		return ctx
	}
	return context.WithValue(ctx, leaseKey{}, &lease{start: l, span: span, parent: trace.SpanContextFromContext(ctx)})
}

func (s *spans) leaseEnd(ctx context.Context, e poolgate.LeaseEnd) {
	l := leaseOf(ctx)
	if l == nil {
		return
	}
	l.span.SetAttributes(
		keyHeld.Float64(e.Held.Seconds()),
		keyBusy.Float64(e.Busy.Seconds()),
		keyBetween.Float64(betweenCalls(e).Seconds()),
		keyCalls.Int(e.Calls),
		keyDiscarded.Bool(e.Discarded),
	)
	l.span.End()
}

// betweenCalls returns how long a lease was held with no call to the driver under
// way, while the caller did something else or read rows.
func betweenCalls(e poolgate.LeaseEnd) time.Duration { return max(0, e.Held-e.Busy) }
