package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.yaml.in/yaml/v3"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestService runs the service under its load, sees that it is well, that its
// traces are sent, and that the dashboard and the alerts use nothing that its
// metrics have not got.
func TestService(t *testing.T) {
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	leaks := goleak.IgnoreCurrent()
	t.Setenv(pgserver.EnvDSN, dsn)
	var sent atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/v1/traces" {
			sent.Add(n)
		}
	}))
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	for _, driver := range []string{"pgx", "pq"} {
		t.Run(driver, func(t *testing.T) {
			sent.Store(0)
			out, metrics, stop := start(t, "--driver="+driver)

			await(t, "all that is used is measured", func() (string, bool) {
				page := get(t, metrics)
				missing := missing(t, page)
				return strings.Join(missing, ", "), len(missing) == 0 && reported.MatchString(page)
			})
			stop()
			if sent.Load() == 0 {
				t.Error("no traces were sent")
			}
			for _, route := range []string{"GET /order", "POST /order", "GET /report"} {
				line := out.find(t, regexp.MustCompile(`(?m)^`+route+`.*$`))
				if cells := strings.Fields(line); cells[2] == "0" || cells[len(cells)-1] != "0" || cells[len(cells)-2] != "0" {
					t.Errorf("the load says %q", line)
				}
			}
		})
	}
	collector.Close()
	http.DefaultClient.CloseIdleConnections()
	goleak.VerifyNone(t, leaks)
}

// start runs the service under its load until stop is called, and returns what it
// prints and where its metrics are.
func start(t *testing.T, args ...string) (out *output, metrics string, stop func()) {
	t.Helper()
	o, err := parse(append(args, "--address=127.0.0.1:0"))
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	out = new(output)
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, o, out) }()
	return out, out.find(t, regexp.MustCompile(`http://\S+/metrics`)), func() {
		cancel()
		must(t, <-ended)
	}
}

var (
	used = regexp.MustCompile(`\b(?:db_client|poolgate)_\w+`)
	// reported is there once a report was made, the rarest of the requests.
	reported = regexp.MustCompile(`hold_time_seconds_count\{[^}]*poolgate_class="reports"`)
	braces   = regexp.MustCompile(`\{\{.*?\}\}`)
)

// missing returns the names of metrics and labels that the dashboard and the
// alerts use and that are not on the page of metrics.
func missing(t *testing.T, page string) []string {
	t.Helper()
	all := slices.Concat(dashboardQueries(t), alertQueries(t))
	if len(all) < 20 {
		t.Fatalf("only %d queries were found", len(all))
	}
	there := map[string]bool{}
	for _, name := range used.FindAllString(page, -1) {
		there[name] = true
	}
	var missing []string
	for _, query := range all {
		for _, name := range used.FindAllString(braces.ReplaceAllString(query, ""), -1) {
			if !there[name] && !slices.Contains(missing, name) {
				missing = append(missing, name)
			}
		}
	}
	return missing
}

// A target is one thing that a panel of the dashboard draws.
type target struct{ Expr, LegendFormat string }

type dashboard struct {
	Panels []struct {
		Title   string
		Targets []target
	}
	Templating struct {
		List []struct{ Query struct{ Query string } }
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	text, err := os.ReadFile("grafana/poolgate.json")
	must(t, err)
	must(t, json.Unmarshal(text, &d))
	return d
}

func dashboardQueries(t *testing.T) []string {
	t.Helper()
	d := readDashboard(t)
	var queries []string
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			if target.Expr == "" {
				t.Errorf("panel %q has a target without a query", p.Title)
			}
			// The names in a legend have to be labels, too.
			queries = append(queries, target.Expr, strings.NewReplacer("{{", "", "}}", "").Replace(target.LegendFormat))
		}
	}
	for _, v := range d.Templating.List {
		queries = append(queries, v.Query.Query)
	}
	return queries
}

func alertQueries(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("alerts.yml")
	must(t, err)
	var alerts struct {
		Groups []struct {
			Rules []struct {
				Alert, Expr string
				Annotations map[string]string
			}
		}
	}
	must(t, yaml.Unmarshal(text, &alerts))
	var queries []string
	for _, g := range alerts.Groups {
		for _, r := range g.Rules {
			queries = append(queries, r.Expr, strings.NewReplacer("{{ $labels.", " ", "}}", " ").Replace(r.Annotations["summary"]))
		}
	}
	return queries
}

// TestFiles reads those that only Docker would.
func TestFiles(t *testing.T) {
	for _, name := range []string{"compose.yaml", "prometheus.yml", "grafana/provisioning/datasources/all.yaml", "grafana/provisioning/dashboards/all.yaml"} {
		t.Run(name, func(t *testing.T) {
			text, err := os.ReadFile(name)
			must(t, err)
			var v map[string]any
			must(t, yaml.Unmarshal(text, &v))
			if len(v) == 0 {
				t.Error("it is empty")
			}
		})
	}
	t.Run("what compose.yaml mounts is there", func(t *testing.T) {
		text, err := os.ReadFile("compose.yaml")
		must(t, err)
		mounts := regexp.MustCompile(`- \./(\S+?):`).FindAllSubmatch(text, -1)
		if len(mounts) < 4 {
			t.Errorf("%d mounts were found", len(mounts))
		}
		for _, m := range mounts {
			if _, err := os.Stat(string(m[1])); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestOptions(t *testing.T) {
	for _, args := range [][]string{{"--story=none"}, {"--driver=none"}, {"more"}} {
		t.Run(fmt.Sprint(args, " is refused"), func(t *testing.T) {
			if _, err := parse(args); err == nil {
				t.Error("no error")
			}
		})
	}
}

func get(t *testing.T, url string) string {
	t.Helper()
	answer, err := http.Get(url)
	must(t, err)
	defer answer.Body.Close()
	page, err := io.ReadAll(answer.Body)
	must(t, err)
	return string(page)
}

func await(t *testing.T, what string, reached func() (problem string, ok bool)) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		problem, ok := reached()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within 30 s: %s: %s", what, problem)
		}
	}
}

// output is what the program prints.
type output struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.Write(p)
}

func (o *output) find(t *testing.T, pattern *regexp.Regexp) (found string) {
	t.Helper()
	await(t, "the program prints "+pattern.String(), func() (string, bool) {
		o.mu.Lock()
		defer o.mu.Unlock()
		found = pattern.FindString(o.b.String())
		return o.b.String(), found != ""
	})
	return found
}
