package promgate_test

import (
	"context"
	"database/sql/driver"
	"fmt"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/promgate"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func newGate(t testing.TB, config gate.Config) *gate.Gate {
	t.Helper()
	g, err := gate.New(config)
	must(t, err)
	return g
}

func TestCollector(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		orders := newGate(t, gate.Config{Limit: 2, LeakAfter: time.Second, OutOfBand: gate.NoOutOfBand,
			Classes: []gate.Class{{Name: "web", MaxWaiting: 1}}})
		stock := newGate(t, gate.Config{Limit: 7})
		c := promgate.New(map[string]*gate.Gate{"stock": stock, "orders": orders})
		registry := prometheus.NewPedanticRegistry() // which checks what is collected against Describe
		must(t, registry.Register(c))

		web := gate.WithClass(t.Context(), "web")
		first, err := orders.Acquire(web)
		must(t, err)
		second, err := orders.Acquire(web)
		must(t, err)
		leaving, leave := context.WithCancel(web)
		go orders.Acquire(leaving)
		synctest.Wait()
		orders.Acquire(web)                                     // queue full
		orders.Acquire(gate.WithClass(t.Context(), "a secret")) // unknown class
		time.Sleep(3 * time.Second)                             // two leaks, and a waiter of three seconds

		must(t, testutil.GatherAndCompare(registry, strings.NewReader(`
# HELP poolgate_gate_in_flight Permits that are out.
# TYPE poolgate_gate_in_flight gauge
poolgate_gate_in_flight{db_client_connection_pool_name="orders",poolgate_class="default"} 0
poolgate_gate_in_flight{db_client_connection_pool_name="orders",poolgate_class="out-of-band"} 0
poolgate_gate_in_flight{db_client_connection_pool_name="orders",poolgate_class="web"} 2
poolgate_gate_in_flight{db_client_connection_pool_name="stock",poolgate_class="default"} 0
poolgate_gate_in_flight{db_client_connection_pool_name="stock",poolgate_class="out-of-band"} 0
# HELP poolgate_gate_leaks_total Permits that were held longer than LeakAfter.
# TYPE poolgate_gate_leaks_total counter
poolgate_gate_leaks_total{db_client_connection_pool_name="orders",poolgate_class="default"} 0
poolgate_gate_leaks_total{db_client_connection_pool_name="orders",poolgate_class="out-of-band"} 0
poolgate_gate_leaks_total{db_client_connection_pool_name="orders",poolgate_class="web"} 2
poolgate_gate_leaks_total{db_client_connection_pool_name="stock",poolgate_class="default"} 0
poolgate_gate_leaks_total{db_client_connection_pool_name="stock",poolgate_class="out-of-band"} 0
# HELP poolgate_gate_limit Permits that may be out at once.
# TYPE poolgate_gate_limit gauge
poolgate_gate_limit{db_client_connection_pool_name="orders"} 2
poolgate_gate_limit{db_client_connection_pool_name="stock"} 7
# HELP poolgate_gate_oldest_wait_seconds How long the longest waiter has waited.
# TYPE poolgate_gate_oldest_wait_seconds gauge
poolgate_gate_oldest_wait_seconds{db_client_connection_pool_name="orders",poolgate_class="default"} 0
poolgate_gate_oldest_wait_seconds{db_client_connection_pool_name="orders",poolgate_class="out-of-band"} 0
poolgate_gate_oldest_wait_seconds{db_client_connection_pool_name="orders",poolgate_class="web"} 3
poolgate_gate_oldest_wait_seconds{db_client_connection_pool_name="stock",poolgate_class="default"} 0
poolgate_gate_oldest_wait_seconds{db_client_connection_pool_name="stock",poolgate_class="out-of-band"} 0
`), "poolgate_gate_in_flight", "poolgate_gate_leaks_total", "poolgate_gate_limit", "poolgate_gate_oldest_wait_seconds"))

		leave()
		synctest.Wait()
		first.Release()
		second.Release()
		page := scrape(registry)
		for _, line := range []string{
			`poolgate_gate_refusals_total{db_client_connection_pool_name="orders",error_type="queue_full",poolgate_class="web"} 1`,
			`poolgate_gate_refusals_total{db_client_connection_pool_name="orders",error_type="unknown_class",poolgate_class=""} 1`,
			`poolgate_gate_wait_time_seconds_count{db_client_connection_pool_name="orders",error_type="",poolgate_class="web"} 2`,
			`poolgate_gate_wait_time_seconds_count{db_client_connection_pool_name="orders",error_type="queue_full",poolgate_class="web"} 1`,
			`poolgate_gate_wait_time_seconds_sum{db_client_connection_pool_name="orders",error_type="context.Canceled",poolgate_class="web"} 3`,
			`poolgate_gate_wait_time_seconds_count{db_client_connection_pool_name="orders",error_type="unknown_class",poolgate_class=""} 1`,
			`poolgate_gate_hold_time_seconds_sum{db_client_connection_pool_name="orders",poolgate_class="web"} 6`,
			`poolgate_gate_hold_time_seconds_bucket{db_client_connection_pool_name="orders",poolgate_class="web",le="2"} 0`,
			`poolgate_gate_hold_time_seconds_bucket{db_client_connection_pool_name="orders",poolgate_class="web",le="5"} 2`,
		} {
			if !strings.Contains(page, line+"\n") {
				t.Errorf("there is no %s in\n%s", line, page)
			}
		}
		if strings.Contains(page, "a secret") {
			t.Error("the name of an unknown class is a label")
		}
		if problems, err := testutil.GatherAndLint(registry); err != nil || len(problems) > 0 {
			t.Errorf("%v, %v", problems, err)
		}

		c.Close()
		p, err := orders.Acquire(web)
		must(t, err)
		p.Release()
		if after := scrape(registry); !strings.Contains(after, `poolgate_gate_wait_time_seconds_count{db_client_connection_pool_name="orders",error_type="",poolgate_class="web"} 2`+"\n") {
			t.Errorf("after Close a permit is observed:\n%s", after)
		}
	})
}

func scrape(r *prometheus.Registry) string {
	w := httptest.NewRecorder()
	promhttp.HandlerFor(r, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	return w.Body.String()
}

// The alerts of the example look at metrics of gates, most of which the collector
// has under the same names.
func TestAlertsFit(t *testing.T) {
	g := newGate(t, gate.Config{Limit: 1})
	c := promgate.New(map[string]*gate.Gate{"orders": g})
	p, err := g.Acquire(t.Context())
	must(t, err)
	p.Release()
	registry := prometheus.NewPedanticRegistry()
	must(t, registry.Register(c))
	page := scrape(registry)
	alerts, err := os.ReadFile("../examples/tracing/alerts.yml")
	must(t, err)
	used := 0
	for _, name := range []string{"poolgate_gate_refusals_total", "poolgate_gate_wait_time_seconds_bucket",
		"poolgate_gate_hold_time_seconds_sum", "poolgate_gate_leaks_total", "poolgate_gate_in_flight", "poolgate_gate_limit"} {
		if strings.Contains(string(alerts), name) {
			used++
		}
		if !strings.Contains(page, "\n"+name+"{") {
			t.Errorf("there is no %s", name)
		}
	}
	if used < 5 {
		t.Errorf("the alerts use %d of the names", used)
	}
}

// nothing opens no connections.
type nothing struct{ driver.Connector }

func (nothing) Driver() driver.Driver { return nil }

// The linter of Prometheus wants no _count here, but that is the name that the
// semantic conventions give it.
func TestDBs(t *testing.T) {
	db, err := poolgate.OpenDB(nothing{}, poolgate.Config{Gate: gate.Config{Limit: 8}})
	must(t, err)
	defer db.Close()
	c := promgate.NewDB(map[string]*poolgate.DB{"orders": db})
	defer c.Close()
	registry := prometheus.NewPedanticRegistry()
	must(t, registry.Register(c))
	page := scrape(registry)
	for _, line := range []string{
		`db_client_connection_count{db_client_connection_pool_name="orders",db_client_connection_state="idle"} 0`,
		`db_client_connection_count{db_client_connection_pool_name="orders",db_client_connection_state="used"} 0`,
		`db_client_connection_max{db_client_connection_pool_name="orders"} 10`, // 8, and 2 out of band
		`db_client_connection_pending_requests{db_client_connection_pool_name="orders"} 0`,
		`poolgate_gate_limit{db_client_connection_pool_name="orders"} 8`,
	} {
		if !strings.Contains(page, line+"\n") {
			t.Errorf("there is no %s in\n%s", line, page)
		}
	}
}

// A member of a fleet shows its share, and others show nothing of one.
func TestFleet(t *testing.T) {
	db, err := poolgate.OpenDB(nothing{}, poolgate.Config{Gate: gate.Config{Limit: 8}})
	must(t, err)
	defer db.Close()
	c := promgate.NewDB(map[string]*poolgate.DB{"orders": db})
	defer c.Close()
	registry := prometheus.NewPedanticRegistry()
	must(t, registry.Register(c))
	if page := scrape(registry); strings.Contains(page, "poolgate_fleet") {
		t.Errorf("without a fleet there is\n%s", page)
	}
	db.SetShare(5, time.Time{})
	db.Gate().ReportFleet(gate.FleetStats{Budget: 40, Target: 6, Demand: 2.5, Members: 7, Active: 3, Heartbeats: 11, Failures: 2})
	page := scrape(registry)
	for name, want := range map[string]string{
		"poolgate_fleet_share": "5", "poolgate_fleet_target": "6", "poolgate_fleet_demand": "2.5", "poolgate_fleet_budget": "40",
		"poolgate_fleet_members": "7", "poolgate_fleet_active_members": "3",
		"poolgate_fleet_heartbeats_total": "11", "poolgate_fleet_failures_total": "2",
		"db_client_connection_max": "5", "poolgate_gate_limit": "4",
	} {
		if line := name + `{db_client_connection_pool_name="orders"} ` + want + "\n"; !strings.Contains(page, line) {
			t.Errorf("there is no %s in\n%s", line, page)
		}
	}
}

func TestANilGatePanics(t *testing.T) {
	defer func() {
		if p := fmt.Sprint(recover()); !strings.Contains(p, `"orders"`) {
			t.Errorf("the panic is %q", p)
		}
	}()
	promgate.New(map[string]*gate.Gate{"orders": nil})
}

func ExampleNew() {
	g, err := gate.New(gate.Config{Limit: 40})
	if err != nil {
		panic(err)
	}
	registry := prometheus.NewRegistry()
	registry.MustRegister(promgate.New(map[string]*gate.Gate{"orders": g}))

	permit, _ := g.Acquire(context.Background())
	defer permit.Release()
	page := httptest.NewRecorder()
	promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(page, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(page.Body.String()) {
		if strings.HasPrefix(line, "poolgate_gate_limit") {
			fmt.Print(line)
		}
	}
	// Output: poolgate_gate_limit{db_client_connection_pool_name="orders"} 40
}

func BenchmarkAcquire(b *testing.B) {
	for _, collected := range []bool{false, true} {
		b.Run(fmt.Sprintf("collected=%v", collected), func(b *testing.B) {
			g := newGate(b, gate.Config{Limit: 1})
			if collected {
				defer promgate.New(map[string]*gate.Gate{"orders": g}).Close()
			}
			b.ReportAllocs()
			for b.Loop() {
				p, _ := g.Acquire(b.Context())
				p.Release()
			}
		})
	}
}
