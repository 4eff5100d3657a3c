package tracing

import (
	"database/sql/driver"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/poolgate/poolgate/internal/errortype"
	"github.com/poolgate/poolgate/internal/sqlstate"
)

// Attributes outside of the conventions. Durations are in seconds, as in metrics.
const (
	keyClass      = attribute.Key("poolgate.class")
	keyLimit      = attribute.Key("poolgate.gate.limit")
	keyInFlight   = attribute.Key("poolgate.gate.in_flight")
	keyWaiting    = attribute.Key("poolgate.gate.waiting")
	keyRetryAfter = attribute.Key("poolgate.retry_after")
	keyWaited     = attribute.Key("poolgate.waited")
	keyConnecting = attribute.Key("poolgate.connecting")
	keyHeld       = attribute.Key("poolgate.lease.held")
	keyBusy       = attribute.Key("poolgate.lease.busy")
	keyBetween    = attribute.Key("poolgate.lease.between_calls")
	keyCalls      = attribute.Key("poolgate.lease.calls")
	keyDiscarded  = attribute.Key("poolgate.lease.discarded")
)

// fail marks a span as failed, without the text of err, which can contain the value
// of a parameter, as in: invalid input syntax for type integer.
func fail(span trace.Span, err error) {
	span.SetAttributes(errorAttributes(err)...)
	span.SetStatus(codes.Error, "")
}

// errorAttributes describes err: by the reason of a refusal, the SQLSTATE of an error
// of the server, or otherwise its type.
func errorAttributes(err error) []attribute.KeyValue {
	if errors.Is(err, driver.ErrSkip) { // not an error: the driver wants the call in another way
		return nil
	}
	attributes := []attribute.KeyValue{semconv.ErrorTypeKey.String(errortype.Of(err))}
	if state := sqlstate.Of(err); state != "" {
		attributes = append(attributes, semconv.DBResponseStatusCode(state))
	}
	return attributes
}
