package bench

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"runtime/metrics"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/connstring"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// facadeLimit is how many connections the pools have that are compared.
const facadeLimit = 8

// BenchmarkFacadeThroughput compares a bare pool with another on as many
// connections, in turns within one run: one of poolgate.Wrap, one of
// poolgate.OpenDB, both with the bare driver, and one of the adapter. To compare
// it with a second bare one says how good the comparison is: ratio should then
// be 1.
func BenchmarkFacadeThroughput(b *testing.B) {
	bench := openBenchmark(b, Config{Ops: 1, Limit: facadeLimit})
	for _, d := range SQLDrivers() {
		for _, s := range []struct {
			name string
			do   func(context.Context, *sql.DB) error
		}{
			{"select1", selectOne},
			{"parameter", selectParameter},
			{"prepared", nil},
			{"faithful-read", faithfulRead},
			{"faithful-write", func(ctx context.Context, db *sql.DB) error { return faithfulWrite(ctx, db, Op{Kind: Write}) }},
		} {
			for _, callers := range []int{facadeLimit, 8 * facadeLimit} {
				for _, other := range []string{"Wrap", "OpenDB", "adapter", "bare"} {
					b.Run(fmt.Sprintf("driver=%s/statement=%s/limit=%d/callers=%d/other=%s", d, s.name, facadeLimit, callers, other), func(b *testing.B) {
						fresh(b, bench, Idiomatic) // the index keeps the read from being all there is to measure
						fill(b, bench, halfway)
						dsn, err := d.connectionString(bench.config.DSN, DefaultSchema, Faithful)
						if err != nil {
							b.Fatal(err)
						}
						compare(b, callers, s.do, func(kind string) *sql.DB {
							return openPool(b, d, dsn, kind, poolgate.Config{})
						}, other)
					})
				}
			}
		}
	}
}

// BenchmarkPrepareQueries compares lib/pq as it is by itself, which takes two
// round trips for a query with an argument, with a pool of the adapter that
// prepares its queries.
func BenchmarkPrepareQueries(b *testing.B) {
	bench := openBenchmark(b, Config{Ops: 1, Limit: facadeLimit})
	dsn, err := connstring.With(bench.config.DSN, map[string]string{"binary_parameters": "no"})
	if err != nil {
		b.Fatal(err)
	}
	for _, callers := range []int{facadeLimit, 8 * facadeLimit} {
		b.Run(fmt.Sprintf("driver=%s/limit=%d/callers=%d", PQ, facadeLimit, callers), func(b *testing.B) {
			compare(b, callers, selectParameter, func(kind string) *sql.DB {
				return openPool(b, PQ, dsn, kind, poolgate.Config{PrepareQueries: true})
			}, "adapter")
		})
	}
}

// compare compares what callers achieve on pools of the kinds "bare" and other.
// Pools that are opened first or used first are not alike, so both change places
// again and again. cpu-ratio compares what an operation takes of the client's CPU
// time, which other processes disturb less. If do is nil, callers execute a
// statement that is prepared.
func compare(b *testing.B, callers int, do func(context.Context, *sql.DB) error, open func(kind string) *sql.DB, other string) {
	const (
		rounds = 6 // pairs of pools
		turns  = 8 // of four measurements each: bare, other, other, bare
		turn   = 25 * time.Millisecond
	)
	var ratios, cpuRatios, cpu, allocations []float64
	for b.Loop() {
		for round := range rounds {
			var pools [2]*sql.DB // the bare one, and the other
			for i := range pools {
				i = (i + round) % 2
				pools[i] = open([]string{"bare", other}[i])
			}
			var takes [2]func() costs
			for i, db := range pools {
				do := do
				if do == nil {
					do = prepared(b, db)
				}
				takes[i] = func() costs { return measure(b, db, callers, turn, do) }
			}
			for range turns {
				x1, y1 := takes[0](), takes[1]()
				y2, x2 := takes[1](), takes[0]()
				ratios = append(ratios, (y1.perSecond+y2.perSecond)/(x1.perSecond+x2.perSecond))
				cpuRatios = append(cpuRatios, (y1.cpu+y2.cpu)/(x1.cpu+x2.cpu))
				cpu = append(cpu, (y1.cpu+y2.cpu)/2*1e6)
				allocations = append(allocations, (y1.allocations+y2.allocations-x1.allocations-x2.allocations)/2)
			}
			for _, db := range pools {
				db.Close()
			}
		}
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(ratios), "ratio")
	b.ReportMetric(median(cpuRatios), "cpu-ratio")
	b.ReportMetric(median(cpu), "cpu-µs/op")
	b.ReportMetric(median(allocations), "more-allocs/op")
}

// costs are what an operation takes of this process.
type costs struct{ perSecond, cpu, allocations float64 }

func measure(b *testing.B, db *sql.DB, callers int, during time.Duration, do func(context.Context, *sql.DB) error) (c costs) {
	b.Helper()
	start, made := time.Now(), allocated()
	cpu, _ := CPUTime()
	c.perSecond = throughput(b, db, callers, during, do)
	end, _ := CPUTime()
	made = allocated() - made
	operations := c.perSecond * time.Since(start).Seconds()
	c.cpu, c.allocations = (end-cpu).Seconds()/operations, float64(made)/operations
	return c
}

// allocated returns how many objects this process has allocated so far.
func allocated() uint64 {
	samples := []metrics.Sample{{Name: "/gc/heap/allocs:objects"}, {Name: "/gc/heap/tiny/allocs:objects"}}
	metrics.Read(samples)
	return samples[0].Value.Uint64() + samples[1].Value.Uint64()
}

// prepared returns an execution of a statement that is prepared on db.
func prepared(b *testing.B, db *sql.DB) func(context.Context, *sql.DB) error {
	b.Helper()
	stmt, err := db.PrepareContext(b.Context(), "SELECT $1::int")
	if err != nil {
		b.Fatal(err)
	}
	return func(ctx context.Context, _ *sql.DB) error {
		var n int
		return stmt.QueryRowContext(ctx, 42).Scan(&n)
	}
}

// openPool opens a pool with facadeLimit connections, all of which are open then.
func openPool(b *testing.B, d Driver, dsn, kind string, config poolgate.Config) *sql.DB {
	b.Helper()
	config.Gate, config.CloseInner = gate.Config{Limit: facadeLimit}, true
	var gated *poolgate.DB
	db, err := d.openBare(dsn)
	if err != nil {
		b.Fatal(err)
	}
	db.SetMaxOpenConns(facadeLimit)
	db.SetMaxIdleConns(facadeLimit)
	switch kind {
	case "Wrap":
		gated, err = poolgate.Wrap(db, config)
	case "OpenDB":
		gated, err = poolgate.OpenDB(dsnConnector{db.Driver(), dsn}, config)
		db.Close()
	case "adapter":
		gated, err = d.openGated(dsn, config)
		db.Close()
	}
	if err != nil {
		b.Fatal(err)
	}
	if gated != nil {
		db = gated.DB
	}
	throughput(b, db, 4*facadeLimit, 50*time.Millisecond, selectOne)
	return db
}

// dsnConnector opens what sql.Open opens.
type dsnConnector struct {
	driver driver.Driver
	dsn    string
}

func (c dsnConnector) Connect(context.Context) (driver.Conn, error) { return c.driver.Open(c.dsn) }
func (c dsnConnector) Driver() driver.Driver                        { return c.driver }
