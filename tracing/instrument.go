package tracing

import (
	"github.com/poolgate/poolgate/poolgate"
)

// Instrument makes spans and metrics of what db does from now on: waits for permits,
// refusals, leases, and the state of the gate and of the pool. Only a DB of [Open]
// also has spans for statements, and measures how long connections take to open.
//
// Calling stop ends it; call it when db is no longer used. It may be called more
// than once. Instrument returns an error if no provider is given, or if the meter
// refuses an instrument.
//
// Instrument may be called while db is in use. docs/observability.md says what it
// costs.
func Instrument(db *poolgate.DB, opts ...Option) (stop func(), err error) {
	s, err := newSettings(opts)
	if err != nil {
		return nil, err
	}
	return instrument(db, s)
}

func instrument(db *poolgate.DB, s *settings) (stop func(), err error) {
	if s.pool == "" {
		s.pool = "poolgate"
	}
	var stops []func()
	if s.metrics != nil {
		m, err := newMetrics(db, s)
		if err != nil {
			return nil, err
		}
		stops = append(stops, m.unregister, db.Observe(m.observer()))
	}
	if s.traces != nil {
		stops = append(stops, db.Observe(newSpans(s).observer()))
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}, nil
}
