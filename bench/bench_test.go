package bench

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/connstring"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
)

// openBenchmark returns a Bench on a server as PostgreSQL ships it.
func openBenchmark(b *testing.B, config Config) *Bench {
	b.Helper()
	server, err := pgserver.Start(b.Context(), pgserver.Config{MaxConnections: 2000})
	if errors.Is(err, pgserver.ErrUnavailable) {
		b.Skip(err)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := server.Close(); err != nil {
			b.Error(err)
		}
	})
	config.DSN = server.DSN()
	bench, err := Open(b.Context(), config)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := bench.Close(); err != nil {
			b.Error(err)
		}
	})
	return bench
}

// BenchmarkStrategies is the command's matrix with few operations: each
// iteration is a run of 500 on fresh tables.
func BenchmarkStrategies(b *testing.B) {
	const ops, limit, maxOpen = 500, 40, 200
	bench := openBenchmark(b, Config{Ops: ops, Limit: limit, MaxOpen: maxOpen, Seed: 1})
	for _, c := range Cases(Forms(), Drivers(), Strategies()) {
		name := fmt.Sprintf("driver=%s/strategy=%s/limit=%d/form=%s", c.Driver, c.Strategy, limit, c.Form)
		b.Run(name, func(b *testing.B) {
			var sum Run
			for b.Loop() {
				run, err := bench.Run(b.Context(), c)
				if err != nil {
					b.Fatal(err)
				}
				if !run.Verified {
					b.Fatal(run.Problem)
				}
				sum.Seconds += run.Seconds
				sum.Errors += run.Errors
				sum.Waited += run.Waited
				sum.Worked += run.Worked
				sum.Read.P99 += run.Read.P99
				sum.Write.P99 += run.Write.P99
				sum.PeakConnections = max(sum.PeakConnections, run.PeakConnections)
				sum.MeanConnections += run.MeanConnections
				sum.ClientCPU += run.ClientCPU
			}
			n := float64(b.N)
			b.ReportMetric(0, "ns/op") // with the making of the tables in it
			b.ReportMetric((ops*n-float64(sum.Errors))/sum.Seconds, "ops/s")
			b.ReportMetric(sum.Read.P99/n, "read-p99-ms")
			b.ReportMetric(sum.Write.P99/n, "write-p99-ms")
			b.ReportMetric(sum.Waited/n, "waited-ms")
			b.ReportMetric(sum.Worked/n, "worked-ms")
			b.ReportMetric(float64(sum.PeakConnections), "peak-conns")
			b.ReportMetric(sum.MeanConnections/n, "mean-conns")
			b.ReportMetric(float64(sum.Errors)/n, "errors")
			b.ReportMetric(sum.ClientCPU*1000/n, "client-cpu-ms")
		})
	}
}

// fresh gives a benchmark empty tables that autovacuum leaves alone.
func fresh(b *testing.B, bench *Bench, form Form) {
	b.Helper()
	if err := bench.fresh(b.Context(), form); err != nil {
		b.Fatal(err)
	}
	execute(b, bench,
		"ALTER TABLE poolbench.a SET (autovacuum_enabled = off)",
		"ALTER TABLE poolbench.b SET (autovacuum_enabled = off)")
}

// fill adds the rows of so many writes.
func fill(b *testing.B, bench *Bench, writes int) {
	b.Helper()
	execute(b, bench,
		fmt.Sprintf(`WITH parent AS (
				INSERT INTO poolbench.a (data)
				SELECT n + (SELECT count(*) FROM poolbench.a) FROM generate_series(1, %d) n RETURNING id, data::int
			)
			INSERT INTO poolbench.b (a_id)
			SELECT id FROM parent UNION ALL SELECT id FROM parent WHERE data %% 3 <> 2`, writes*parentsPerWrite),
		"CHECKPOINT")
}

// halfway is how many writes the workload has done when half of its 35,000
// operations are done.
const halfway = 35000 / 2 / 2

func execute(b *testing.B, bench *Bench, statements ...string) {
	b.Helper()
	for _, s := range statements {
		if _, err := bench.admin.ExecContext(b.Context(), s); err != nil {
			b.Fatal(err)
		}
	}
}

// openGate opens a gated pool with this setting in the DSN besides the usual
// ones.
func openGate(b *testing.B, bench *Bench, d Driver, form Form, setting map[string]string) *sql.DB {
	b.Helper()
	dsn, err := d.connectionString(bench.config.DSN, DefaultSchema, form)
	if err != nil {
		b.Fatal(err)
	}
	if dsn, err = connstring.With(dsn, setting); err != nil {
		b.Fatal(err)
	}
	db, err := d.openGated(dsn, poolgate.Config{Gate: Semaphore.gate(1, bench.config.Limit, 0)})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { db.Close() })
	return db.DB
}

// repeat has as many callers as there are permits do it again and again.
func repeat(b *testing.B, bench *Bench, do func(context.Context) error) {
	procs := runtime.GOMAXPROCS(0)
	b.SetParallelism((bench.config.Limit + procs - 1) / procs)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if err := do(b.Context()); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
}

// BenchmarkFaithfulRead compares the ways in which the drivers can send the
// faithful read: why Driver.Settings chooses as it does. As in the workload,
// the connections are in use before the tables have grown: that is when the
// server settles on the plan of a statement that was prepared.
func BenchmarkFaithfulRead(b *testing.B) {
	bench := openBenchmark(b, Config{Ops: 1, Limit: 8})
	for _, m := range []struct {
		driver      Driver
		name, value string
	}{
		{PGX, "default_query_exec_mode", "cache_statement"},
		{PGX, "default_query_exec_mode", "cache_describe"},
		{PGX, "default_query_exec_mode", "describe_exec"},
		{PGX, "default_query_exec_mode", "exec"},
		{PGX, "default_query_exec_mode", "simple_protocol"},
		{PQ, "binary_parameters", "yes"},
		{PQ, "binary_parameters", "no"},
	} {
		b.Run(fmt.Sprintf("driver=%s/mode=%s", m.driver, m.value), func(b *testing.B) {
			fresh(b, bench, Faithful)
			fill(b, bench, parentsPerRead)
			db := openGate(b, bench, m.driver, Faithful, map[string]string{m.name: m.value})
			throughput(b, db, bench.config.Limit, 200*time.Millisecond, faithfulRead)
			fill(b, bench, halfway)
			repeat(b, bench, func(ctx context.Context) error { return faithfulRead(ctx, db) })
		})
	}
}

// throughput returns how many times a second the callers together do it.
func throughput(b *testing.B, db *sql.DB, callers int, during time.Duration, do func(context.Context, *sql.DB) error) float64 {
	counts := make([]int, callers)
	start := time.Now()
	var all sync.WaitGroup
	for i := range counts {
		all.Go(func() {
			for time.Since(start) < during {
				if err := do(b.Context(), db); err != nil {
					b.Error(err)
					return
				}
				counts[i]++
			}
		})
	}
	all.Wait()
	total := 0
	for _, n := range counts {
		total += n
	}
	return float64(total) / time.Since(start).Seconds()
}

func selectOne(ctx context.Context, db *sql.DB) error {
	var n int
	return db.QueryRowContext(ctx, "SELECT 1").Scan(&n)
}

func selectParameter(ctx context.Context, db *sql.DB) error {
	var n int
	return db.QueryRowContext(ctx, "SELECT $1::int", 42).Scan(&n)
}

func median(values []float64) float64 {
	slices.Sort(values)
	n := len(values)
	return (values[(n-1)/2] + values[n/2]) / 2
}
