//go:build unix

package pgxpoolgate_test

import (
	"context"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolgate/poolgate/adapters/pgxpoolgate"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// querier is what is measured, with a gate and without.
type querier interface {
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

func selectOne(q querier) error {
	var n int
	return q.QueryRow(context.Background(), "select 1").Scan(&n)
}

// pair returns a bare pool and a gated one, with 8 connections each.
func pair(b *testing.B, dsn string) (bare *pgxpool.Pool, gated *pgxpoolgate.Pool) {
	b.Helper()
	const limit = 8
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		b.Fatal(err)
	}
	config.MaxConns = limit
	if bare, err = pgxpool.NewWithConfig(b.Context(), config); err != nil {
		b.Fatal(err)
	}
	if gated, err = pgxpoolgate.Open(dsn, pgxpoolgate.Config{Gate: gate.Config{Limit: limit}}); err != nil {
		b.Fatal(err)
	}
	return bare, gated
}

// BenchmarkSelect1 compares pgxpool with the same behind a gate, on 8 connections,
// in turns within one run. ratio is of the throughput, cpu-ratio of what a call
// takes of this process's CPU time, which other processes disturb less, and
// cpu-over-ns the difference of the latter. All are medians. To compare a bare pool
// with another says how good the comparison is.
func BenchmarkSelect1(b *testing.B) {
	const (
		rounds = 6 // pairs of pools
		turns  = 8 // of four measurements each: bare, other, other, bare
		turn   = 40 * time.Millisecond
	)
	dsn := pgserver.ForTest(b).CreateDatabase(b)
	for _, callers := range []int{1, 8, 64} {
		for _, other := range []string{"gated", "bare"} {
			b.Run(fmt.Sprintf("callers=%d/other=%s", callers, other), func(b *testing.B) {
				var ratios, cpuRatios, over []float64
				for b.Loop() {
					for range rounds {
						bare, gated := pair(b, dsn)
						second := querier(gated)
						if other == "bare" {
							again, unused := pair(b, dsn)
							unused.Close()
							b.Cleanup(again.Close)
							second = again
						}
						load(b, bare, callers, turn) // opens the connections
						load(b, second, callers, turn)
						for range turns {
							x1, u1 := load(b, bare, callers, turn)
							y1, v1 := load(b, second, callers, turn)
							y2, v2 := load(b, second, callers, turn)
							x2, u2 := load(b, bare, callers, turn)
							ratios = append(ratios, (y1+y2)/(x1+x2))
							cpuRatios = append(cpuRatios, (v1+v2)/(u1+u2))
							over = append(over, (v1+v2-u1-u2)/2*1e9)
						}
						bare.Close()
						gated.Close()
					}
				}
				b.ReportMetric(0, "ns/op")
				b.ReportMetric(median(ratios), "ratio")
				b.ReportMetric(median(cpuRatios), "cpu-ratio")
				b.ReportMetric(median(over), "cpu-over-ns")
			})
		}
	}
}

// load has callers select as long as a turn lasts. It returns how often in a
// second, and what each time took of this process's CPU time, in seconds.
func load(b *testing.B, q querier, callers int, turn time.Duration) (perSecond, cpu float64) {
	b.Helper()
	var done sync.WaitGroup
	var calls atomic.Int64
	before, start := cpuTime(), time.Now()
	for range callers {
		done.Go(func() {
			own := int64(0)
			for time.Since(start) < turn {
				if err := selectOne(q); err != nil {
					b.Error(err)
					return
				}
				own++
			}
			calls.Add(own)
		})
	}
	done.Wait()
	n := float64(calls.Load())
	return n / time.Since(start).Seconds(), (cpuTime() - before).Seconds() / n
}

// cpuTime is what this process has used of the CPUs.
func cpuTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

func median(values []float64) float64 {
	slices.Sort(values)
	return (values[(len(values)-1)/2] + values[len(values)/2]) / 2
}

// BenchmarkSelect1Profile is for a profile: gated only, and bare only.
func BenchmarkSelect1Profile(b *testing.B) {
	bare, gated := pair(b, pgserver.ForTest(b).CreateDatabase(b))
	defer bare.Close()
	defer gated.Close()
	for _, callers := range []int{1, 8, 64} {
		for name, q := range map[string]querier{"bare": bare, "gated": gated} {
			b.Run(fmt.Sprintf("pool=%s/callers=%d", name, callers), func(b *testing.B) {
				b.ReportAllocs()
				b.SetParallelism((callers + runtime.GOMAXPROCS(0) - 1) / runtime.GOMAXPROCS(0))
				before := cpuTime()
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						if err := selectOne(q); err != nil {
							b.Error(err)
							return
						}
					}
				})
				b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// BenchmarkAcquire is what a gate adds to a checkout, without a server's time.
func BenchmarkAcquire(b *testing.B) {
	_, gated := pair(b, pgserver.ForTest(b).CreateDatabase(b))
	defer gated.Close()
	ctx := context.Background()
	b.Run("pool=bare", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			conn, err := gated.Inner().Acquire(ctx)
			if err != nil {
				b.Fatal(err)
			}
			conn.Release()
		}
	})
	b.Run("pool=gated", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			conn, err := gated.Acquire(ctx)
			if err != nil {
				b.Fatal(err)
			}
			conn.Release()
		}
	})
}

// BenchmarkWait has 200 goroutines share 8 connections, each for 2 ms at a time,
// and reports how evenly they wait.
func BenchmarkWait(b *testing.B) {
	const goroutines, work, checkouts = 200, 2 * time.Millisecond, 4000
	bare, gated := pair(b, pgserver.ForTest(b).CreateDatabase(b))
	defer bare.Close()
	defer gated.Close()
	for _, pool := range []struct {
		name    string
		acquire func(context.Context) (interface{ Release() }, error)
	}{
		{"bare", func(ctx context.Context) (interface{ Release() }, error) { return bare.Acquire(ctx) }},
		{"gated", func(ctx context.Context) (interface{ Release() }, error) { return gated.Acquire(ctx) }},
	} {
		b.Run("goroutines=200/conns=8/work=2ms/pool="+pool.name, func(b *testing.B) {
			var mu sync.Mutex // guards waits
			var waits []float64
			for b.Loop() {
				var left atomic.Int64
				left.Store(checkouts)
				var done sync.WaitGroup
				for range goroutines {
					done.Go(func() {
						for try := 0; left.Add(-1) >= 0; try++ {
							start := time.Now()
							conn, err := pool.acquire(b.Context())
							if err != nil {
								b.Error(err)
								return
							}
							waited := time.Since(start)
							time.Sleep(work)
							conn.Release()
							if try == 0 {
								continue // not all have come yet
							}
							mu.Lock()
							waits = append(waits, waited.Seconds()*1000)
							mu.Unlock()
						}
					})
				}
				done.Wait()
			}
			slices.Sort(waits)
			at := func(percent int) float64 { return waits[(len(waits)-1)*percent/100] }
			b.ReportMetric(at(50), "p50-ms")
			b.ReportMetric(at(99), "p99-ms")
			b.ReportMetric(at(99)/at(50), "p99/p50")
		})
	}
}
