package tracing_test

import (
	"testing"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/internal/testing/traced"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/tracing"
)

func TestMain(m *testing.M) { pgserver.MainWithExamples(m) }

type (
	view = traced.View
	seen = traced.Span
)

// A fixture is a traced DB, and what it has sent.
type fixture struct{ *traced.Fixture }

func onBoth(t *testing.T, config gate.Config, test func(t *testing.T, f *fixture)) {
	t.Helper()
	traced.OnBoth(t, config, func(t *testing.T, f *traced.Fixture) { test(t, &fixture{f}) })
}

func newFixture(t *testing.T, d traced.Driver, dsn string, config gate.Config, opts ...tracing.Option) *fixture {
	t.Helper()
	return &fixture{traced.New(t, d, dsn, config, opts...)}
}

var (
	drivers    = traced.Drivers
	fromSDK    = traced.FromSDK
	number     = traced.Number
	must       = traced.Must
	is         = traced.Is
	adds       = traced.Adds
	eventually = traced.Eventually
)

// TestTraces checks what traces show, as the SDK has them. The benchmarks' module
// checks the same with a Jaeger.
func TestTraces(t *testing.T) {
	traced.OnBoth(t, traced.AcceptanceGate, traced.Acceptance)
}
