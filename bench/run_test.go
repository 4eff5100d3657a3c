package bench

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestRun(t *testing.T) {
	const ops, limit, maxOpen = 200, 8, 50
	b := openTest(t, Config{Ops: ops, Limit: limit, MaxOpen: maxOpen, Seed: 1})
	reads := 0
	for _, op := range b.plan {
		if op.Kind == Read {
			reads++
		}
	}
	peak := map[Strategy]int{Sequential: 1, Unbounded: maxOpen, Semaphore: limit, Chunked: limit, Adaptive: 100}
	for _, c := range Cases(Forms(), Drivers(), Strategies()) {
		t.Run(c.String(), func(t *testing.T) {
			run, err := b.Run(t.Context(), c)
			if err != nil {
				t.Fatal(err)
			}
			if !run.Verified || run.Errors > 0 {
				t.Errorf("%s; errors %v", run.Problem, run.ErrorsByKind)
			}
			if run.Case != c || run.Ops != ops || b.Done.Load() != ops {
				t.Errorf("%v, %d operations of %d, %d done", run.Case, run.Ops, ops, b.Done.Load())
			}
			if run.Read.Count != reads || run.Write.Count != ops-reads {
				t.Errorf("%d reads and %d writes instead of %d and %d", run.Read.Count, run.Write.Count, reads, ops-reads)
			}
			if run.PeakConnections < 1 || run.PeakConnections > peak[c.Strategy] {
				t.Errorf("the server has seen %d connections, %d are allowed", run.PeakConnections, peak[c.Strategy])
			}
			if c.Strategy != Sequential && run.Waited == 0 {
				t.Error("nobody has waited")
			}
			for _, l := range []Latency{run.Read, run.Write} {
				if !slices.IsSorted([]float64{0.001, l.P50, l.P95, l.P99, l.Max, run.Seconds*1000 + 2}) {
					t.Errorf("latency %+v in a run of %.3f s", l, run.Seconds)
				}
			}
			if rate := ops / run.Seconds; rate/run.OpsPerSecond < 0.99 || rate/run.OpsPerSecond > 1.01 {
				t.Errorf("%.0f operations per second, %d in %.3f s", run.OpsPerSecond, ops, run.Seconds)
			}
		})
	}
}

func TestRunCountsFailuresByKind(t *testing.T) {
	// Without a bound there are more connections than the server takes.
	b := openTest(t, Config{Ops: 1500, Limit: 8, Seed: 1})
	for _, d := range Drivers() {
		t.Run(string(d), func(t *testing.T) {
			run, err := b.Run(t.Context(), Case{Faithful, d, Unbounded})
			if err != nil {
				t.Fatal(err)
			}
			if !run.Verified {
				t.Error(run.Problem)
			}
			if run.ErrorsByKind["53300 too_many_connections"] == 0 {
				t.Errorf("errors %v, %d connections at most", run.ErrorsByKind, run.PeakConnections)
			}
			sum := 0
			for _, n := range run.ErrorsByKind {
				sum += n
			}
			if sum != run.Errors || run.Read.Count+run.Write.Count != run.Ops-run.Errors {
				t.Errorf("%d errors by kind, %d in all, %d operations of %d done",
					sum, run.Errors, run.Read.Count+run.Write.Count, run.Ops)
			}
		})
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	b := openTest(t, Config{Ops: 20000, Limit: 8, MaxOpen: 50, Seed: 1})
	for _, c := range Cases([]Form{Faithful}, Drivers(), Strategies()) {
		t.Run(c.String(), func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() {
				_, err := b.Run(ctx, c)
				ended <- err
			}()
			eventually(t, "operations are under way", func() bool { return b.Done.Load() > 20 })
			cancel()
			select {
			case err := <-ended:
				if !errors.Is(err, context.Canceled) {
					t.Errorf("Run returns %v", err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("Run does not end")
			}
			b.Done.Store(0)
		})
	}
}

func TestOpenRefuses(t *testing.T) {
	good := openTest(t, Config{Ops: 1, Limit: 1}).config
	for _, test := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no operations", func(c *Config) { c.Ops = 0 }, "Config.Ops must be at least 1, got 0"},
		{"a limit of 0", func(c *Config) { c.Limit = 0 }, "Config.Limit must be at least 1, got 0"},
		{"a limit above the server's", func(c *Config) { c.Limit = 5000 }, "max_connections"},
		{"a negative number of connections", func(c *Config) { c.MaxOpen = -1 }, "Config.MaxOpen must not be negative, got -1"},
		{"a DSN that is no URL", func(c *Config) { c.DSN = "postgres://me:hidden%zz@localhost/x" }, "not a valid URL"},
		{"a server that is not there", func(c *Config) { c.DSN = "postgres://me:hidden@127.0.0.1:1/x?sslmode=disable" }, "connecting"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := good
			test.change(&config)
			b, err := Open(t.Context(), config)
			if err == nil {
				b.Close()
				t.Fatal("no error")
			}
			if !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %q, want %q", err, test.want)
			}
			if strings.Contains(fmt.Sprintf("%v %+v", err, err), "hidden") {
				t.Errorf("the password is in %q", err)
			}
		})
	}
}
