package poolgate_test

import (
	"database/sql"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// BenchmarkWait has 200 goroutines share 4 connections, each for 2 ms at a
// time, and reports how evenly they wait: the bare pool serves its waiters in
// random order, the gate in the order in which they came.
func BenchmarkWait(b *testing.B) {
	const goroutines, connections, work, checkouts = 200, 4, 2 * time.Millisecond, 4000
	bare := sql.OpenDB(nullConnector{})
	defer bare.Close()
	bare.SetMaxOpenConns(connections)
	bare.SetMaxIdleConns(connections)
	gated, err := poolgate.Wrap(sql.OpenDB(nullConnector{}), poolgate.Config{
		Gate: gate.Config{Limit: connections}, CloseInner: true,
	})
	if err != nil {
		b.Fatal(err)
	}
	defer gated.Close()
	for _, pool := range []struct {
		name string
		db   *sql.DB
	}{{"bare", bare}, {"gated", gated.DB}} {
		b.Run("goroutines=200/conns=4/work=2ms/pool="+pool.name, func(b *testing.B) {
			var mu sync.Mutex // guards waits
			var waits []time.Duration
			for b.Loop() {
				var left atomic.Int64
				left.Store(checkouts)
				var wg sync.WaitGroup
				for range goroutines {
					wg.Go(func() {
						for left.Add(-1) >= 0 {
							start := time.Now()
							conn, err := pool.db.Conn(b.Context())
							if err != nil {
								b.Error(err)
								return
							}
							waited := time.Since(start)
							time.Sleep(work)
							conn.Close()
							mu.Lock()
							waits = append(waits, waited)
							mu.Unlock()
						}
					})
				}
				wg.Wait()
			}
			slices.Sort(waits)
			at := func(percent int) float64 { return waits[(len(waits)-1)*percent/100].Seconds() * 1000 }
			b.ReportMetric(at(50), "p50-ms")
			b.ReportMetric(at(99), "p99-ms")
			b.ReportMetric(at(100), "max-ms")
			b.ReportMetric(at(99)/at(50), "p99/p50")
			b.ReportMetric(checkouts*float64(b.N)/b.Elapsed().Seconds(), "checkouts/s")
		})
	}
}
