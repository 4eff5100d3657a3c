package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"
)

// A Sample is the state of the run's connections at one moment.
type Sample struct {
	Seconds           float64 `json:"seconds"` // since the run began
	Total             int     `json:"total"`
	Active            int     `json:"active"`              // at work on a statement
	IdleInTransaction int     `json:"idle_in_transaction"` // waiting for the client in mid-transaction
}

const (
	sampleInterval = 50 * time.Millisecond

	// sampleShare bounds what sampling may take of the server: asking about
	// 2,000 connections costs it several milliseconds.
	sampleShare = 20

	sampleTimeout = 10 * time.Second
)

const countConnections = `
	SELECT count(*), count(*) FILTER (WHERE state = 'active'),
	       count(*) FILTER (WHERE state LIKE 'idle in transaction%')
	FROM pg_stat_activity
	WHERE application_name = '` + applicationName + `' AND datname = current_database()`

// A sampler repeatedly asks the server how many connections the run has. It has
// a connection of its own, so it can ask even if the server accepts no others.
type sampler struct {
	conn    *sql.Conn
	start   time.Time
	stop    chan struct{}
	stopped chan struct{}

	// Written by the sampling goroutine, to be read after stopped is closed.
	samples []Sample
	err     error
}

// startSampler begins to sample on conn, which it has for itself until finish.
func startSampler(conn *sql.Conn, start time.Time) *sampler {
	s := &sampler{conn: conn, start: start, stop: make(chan struct{}), stopped: make(chan struct{})}
	go s.run()
	return s
}

func (s *sampler) run() {
	defer close(s.stopped)
	for last := false; ; {
		asked := time.Now()
		sample, err := takeSample(s.conn)
		if err != nil {
			s.err = err
			return
		}
		sample.Seconds = time.Since(s.start).Seconds()
		s.samples = append(s.samples, sample)
		if last {
			return
		}
		select {
		case <-s.stop:
			last = true // one more, so that the shortest run has its connections seen
		case <-time.After(max(sampleInterval, sampleShare*time.Since(asked))):
		}
	}
}

// finish ends the sampling and returns the samples.
func (s *sampler) finish() ([]Sample, error) {
	close(s.stop)
	<-s.stopped
	return s.samples, s.err
}

// takeSample asks the server once. It has no caller's context: a run that is
// interrupted is sampled to its end.
func takeSample(conn *sql.Conn) (Sample, error) {
	ctx, cancel := context.WithTimeout(context.Background(), sampleTimeout)
	defer cancel()
	var s Sample
	err := conn.QueryRowContext(ctx, countConnections).Scan(&s.Total, &s.Active, &s.IdleInTransaction)
	if err != nil {
		return s, fmt.Errorf("counting the server's connections: %w", err)
	}
	return s, nil
}

// awaitNoConnections waits until the server has ended the connections of the
// previous run, which takes a while if there were many.
func awaitNoConnections(ctx context.Context, conn *sql.Conn) error {
	const patience = 30 * time.Second
	for begin := time.Now(); ; {
		s, err := takeSample(conn)
		if err != nil || s.Total == 0 {
			return err
		}
		if time.Since(begin) > patience {
			return fmt.Errorf("%d connections named %s are still there; is another benchmark running in this database?",
				s.Total, applicationName)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// peakAndMean returns the most connections that were seen, and how many there
// were on average over the time.
func peakAndMean(samples []Sample) (peak int, mean float64, err error) {
	if len(samples) == 0 {
		return 0, 0, errors.New("no sample of the server's connections")
	}
	var area float64
	for i, s := range samples {
		peak = max(peak, s.Total)
		if i > 0 {
			before := samples[i-1]
			area += float64(before.Total+s.Total) / 2 * (s.Seconds - before.Seconds)
		}
	}
	span := samples[len(samples)-1].Seconds - samples[0].Seconds
	if span <= 0 {
		return peak, float64(peak), nil
	}
	return peak, area / span, nil
}
