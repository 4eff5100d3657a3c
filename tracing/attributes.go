package tracing

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/poolgate/poolgate/poolgate/gate"
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
	if state := sqlState(err); state != "" {
		return []attribute.KeyValue{semconv.ErrorTypeKey.String(state), semconv.DBResponseStatusCode(state)}
	}
	return []attribute.KeyValue{errorType(err)}
}

func errorType(err error) attribute.KeyValue {
	if rejected, ok := errors.AsType[*gate.RejectedError](err); ok {
		return reasonAttribute(rejected.Reason)
	}
	for _, known := range []struct {
		error
		name string
	}{
		{context.Canceled, "context.Canceled"},
		{context.DeadlineExceeded, "context.DeadlineExceeded"},
		{driver.ErrBadConn, "driver.ErrBadConn"},
		{gate.ErrUnknownClass, "unknown_class"},
	} {
		if errors.Is(err, known.error) {
			return semconv.ErrorTypeKey.String(known.name)
		}
	}
	return semconv.ErrorType(err)
}

// reasonAttribute is "queue_full" for gate.ErrQueueFull, and so on.
func reasonAttribute(reason error) attribute.KeyValue {
	return semconv.ErrorTypeKey.String(strings.ReplaceAll(reason.Error(), " ", "_"))
}

// sqlState returns the SQLSTATE of an error of the server, which both drivers'
// errors have, or "".
func sqlState(err error) string {
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return e.SQLState()
	}
	return ""
}
