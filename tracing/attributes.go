package tracing

import (
	"database/sql/driver"
	"errors"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/poolgate/poolgate/internal/redact"
)

// Attributes of our own. Durations are in seconds, as in metrics.
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

// fail marks a span as failed. The text of err stays out of it, which may have
// a parameter's value in it, as in: invalid input syntax for type integer.
func fail(span trace.Span, err error) {
	span.SetAttributes(errorAttributes(err)...)
	span.SetStatus(codes.Error, "")
}

// errorAttributes says what kind of error err is: for a refusal by the gate why
// it refused, for an error of the server its SQLSTATE, otherwise its type.
func errorAttributes(err error) []attribute.KeyValue {
	if errors.Is(err, driver.ErrSkip) { // not an error: the driver wants to be asked in another way
		return nil
	}
	attributes := []attribute.KeyValue{semconv.ErrorTypeKey.String(redact.Error(err))}
	if state := redact.SQLState(err); state != "" {
		attributes = append(attributes, semconv.DBResponseStatusCode(state))
	}
	return attributes
}
