package tracing

import (
	"github.com/poolgate/poolgate/poolgate"
)

// Instrument has spans and metrics made of what db does from now on: waits for
// permits, refusals, leases, and the state of the gate and of the pool.
// Statements, and the time to open a connection, are seen only on a DB of [Open].
//
// stop ends it, and is to be called once db is no longer used; it may be called
// again. Instrument returns an error if no provider was given, or if the meter
// refuses an instrument.
//
// It is safe while db is in use. What it costs is in docs/observability.md.
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
