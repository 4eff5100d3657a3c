package debugpage_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// What it costs a query that its holder can be found on the page: medians, of
// queries that are made in turn.
func BenchmarkQuery(b *testing.B) {
	dsn := pgserver.ForTest(b).CreateDatabase(b)
	kinds := []struct {
		name       string
		leakAfter  time.Duration
		stackEvery int
		db         *poolgate.DB
		took       []time.Duration
	}{
		{name: "off"},
		{name: "leaks", leakAfter: 10 * time.Second},
		{name: "leaks+stacks", leakAfter: 10 * time.Second, stackEvery: 1},
	}
	for i := range kinds {
		k := &kinds[i]
		db, err := pgxgate.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 4, LeakAfter: k.leakAfter, StackEvery: k.stackEvery}})
		must(b, err)
		defer db.Close()
		k.db = db
	}
	for b.Loop() {
		for i := range kinds {
			k := &kinds[i]
			start := time.Now()
			var n int
			must(b, k.db.QueryRowContext(b.Context(), "SELECT 1").Scan(&n))
			k.took = append(k.took, time.Since(start))
		}
	}
	for _, k := range kinds {
		slices.Sort(k.took)
		b.ReportMetric(float64(k.took[len(k.took)/2]), k.name+"-ns/query")
	}
}

// What the page costs.
func BenchmarkPage(b *testing.B) {
	g := newGate(b, gate.Config{Limit: 40, StackEvery: 1, Classes: []gate.Class{{Name: "web"}, {Name: "reports"}}})
	for range 40 {
		defer acquire(b, g, gate.Request{Holder: statement("SELECT name FROM customers WHERE id = $1")}).Release()
	}
	h := only("shop", g)
	for _, extra := range []int{0, 1000} {
		stop := make(chan struct{})
		for range extra {
			go func() { <-stop }()
		}
		for _, target := range []string{"/", "/?format=json", "/?goroutines=show"} {
			b.Run(fmt.Sprintf("get=%s/goroutines=%d", target[1:], extra), func(b *testing.B) {
				for b.Loop() {
					get(b, h, target)
				}
			})
		}
		close(stop)
	}
}
