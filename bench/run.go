package bench

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"time"
)

// A Run is the result of sending the workload through one strategy on one
// driver in one form.
type Run struct {
	Case

	Ops          int     `json:"ops"`
	Seconds      float64 `json:"seconds"`
	OpsPerSecond float64 `json:"ops_per_second"` // of the operations that succeeded

	Errors       int            `json:"errors"` // operations that failed; none is tried again
	ErrorsByKind map[string]int `json:"errors_by_kind"`
	// Unknown is how many of the errors are writes that lost their connection
	// when they committed, so that their rows may be there.
	Unknown int `json:"outcome_unknown"`

	Read  Latency `json:"read"`
	Write Latency `json:"write"`

	// Waited is the mean time for which an operation waited for a permit or
	// for a connection of the pool, Worked that of the rest, failed
	// operations included. To open a connection is work.
	Waited float64 `json:"waited_mean_ms"`
	Worked float64 `json:"worked_mean_ms"`

	PeakConnections int      `json:"peak_connections"`
	MeanConnections float64  `json:"mean_connections"`
	Connections     []Sample `json:"connections"`

	// ClientCPU is the CPU time of this process in seconds, 0 where the
	// system does not tell.
	ClientCPU float64 `json:"client_cpu_seconds"`

	// Verified says that exactly the rows of the writes that succeeded were
	// found afterwards, and no connection in use; if not, Problem says what
	// was.
	Verified bool   `json:"verified"`
	Problem  string `json:"problem,omitempty"`

	// Settings are those of the DSN that the benchmark has chosen for the
	// driver and the form.
	Settings map[string]string `json:"dsn_settings,omitempty"`

	Limit   int `json:"limit,omitempty"`    // of semaphore and chunked; of adaptive the one it had found at the end
	MaxOpen int `json:"max_open,omitempty"` // of unbounded; 0 is unlimited
}

// attempt is what became of one operation.
type attempt struct {
	took time.Duration
	err  error
}

// Run does one run on fresh tables, with a pool of its own, and checks the
// tables afterwards. It returns an error if there is no result: because ctx
// ended, or because the server is not to be had. Operations that fail are
// counted in the Run.
func (b *Bench) Run(ctx context.Context, c Case) (Run, error) {
	run, err := b.run(ctx, c)
	if err != nil {
		return Run{}, fmt.Errorf("bench: %s: %w", c, err)
	}
	return run, nil
}

func (b *Bench) run(ctx context.Context, c Case) (_ Run, err error) {
	b.Done.Store(0)
	dsn, err := c.Driver.connectionString(b.config.DSN, b.config.Schema, c.Form)
	if err != nil {
		return Run{}, err
	}
	if err := b.fresh(ctx, c.Form); err != nil {
		return Run{}, err
	}
	p, err := c.pool(ctx, dsn, len(b.plan), b.config, b.server.MaxConnections)
	if err != nil {
		return Run{}, err
	}
	defer p.close()

	runtime.GC() // not on this run's time what the last one has left
	cpuBefore, _ := CPUTime()
	start := time.Now()
	sampler := startSampler(b.observer, start)
	attempts := b.attempt(ctx, c, p)
	elapsed := time.Since(start)
	cpuAfter, _ := CPUTime()
	samples, err := sampler.finish()
	if ctx.Err() != nil {
		return Run{}, ctx.Err()
	}
	if err != nil {
		return Run{}, err
	}

	run := Run{Case: c, Ops: len(b.plan), Seconds: elapsed.Seconds(), Connections: samples,
		ClientCPU: (cpuAfter - cpuBefore).Seconds(), Settings: c.Driver.Settings(c.Form)}
	run.Limit = p.limit()
	if c.Strategy == Unbounded {
		run.MaxOpen = b.config.MaxOpen
	}
	if run.PeakConnections, run.MeanConnections, err = peakAndMean(samples); err != nil {
		return Run{}, err
	}
	outcomes := run.count(b.plan, attempts, p.waited())
	problem := errors.Join(p.unused(), b.tables.verify(ctx, b.plan, outcomes))
	if ctx.Err() != nil {
		return Run{}, ctx.Err()
	}
	if run.Verified = problem == nil; !run.Verified {
		run.Problem = problem.Error()
	}
	return run, nil
}

// attempt sends every operation of the plan through the pool and returns what
// became of each.
func (b *Bench) attempt(ctx context.Context, c Case, p pool) []attempt {
	attempts := make([]attempt, len(b.plan))

	// The operations get a context that does not end: one that can is watched
	// by a goroutine in each call of database/sql and the drivers, which
	// pgbench has not to pay for either. If ctx ends, the pool is closed
	// instead: that turns away all who wait, and those at work finish.
	defer context.AfterFunc(ctx, func() { p.close() })()
	background := context.WithoutCancel(ctx)

	traced := b.traced(c)
	one := func(i int) {
		start := time.Now()
		ctx, end := traced(background, b.plan[i])
		err := p.do(ctx, b.plan[i])
		end(err)
		attempts[i] = attempt{time.Since(start), err}
		b.Done.Add(1)
	}
	if c.Strategy == Sequential {
		for i := range b.plan {
			if ctx.Err() != nil {
				break
			}
			one(i)
		}
		return attempts
	}
	var all sync.WaitGroup
	for i := range b.plan {
		all.Go(func() { one(i) })
	}
	all.Wait()
	return attempts
}

// count fills in what follows from the attempts, and returns the outcome of
// each.
func (r *Run) count(plan []Op, attempts []attempt, waited time.Duration) []outcome {
	outcomes := make([]outcome, len(plan))
	reads, writes := newRecorder(), newRecorder()
	r.ErrorsByKind = map[string]int{}
	var total time.Duration
	for i, a := range attempts {
		total += a.took
		switch {
		case a.err == nil && plan[i].Kind == Write:
			outcomes[i] = done
			writes.record(a.took)
		case a.err == nil:
			outcomes[i] = done
			reads.record(a.took)
		default:
			r.Errors++
			r.ErrorsByKind[failureKind(a.err)]++
			if maybeCommitted(a.err) {
				outcomes[i] = unknown
				r.Unknown++
			}
		}
	}
	r.OpsPerSecond = float64(r.Ops-r.Errors) / r.Seconds
	r.Read, r.Write = reads.latency(), writes.latency()
	ops := float64(len(plan))
	r.Waited = waited.Seconds() * 1000 / ops
	r.Worked = max(0, (total-waited).Seconds()*1000/ops)
	return outcomes
}
