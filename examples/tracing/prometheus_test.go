package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

// program returns the path of one of Prometheus's programs, and skips the test
// where it is not installed; with POOLGATE_REQUIRE_PROMETHEUS=1 the test fails.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err == nil {
		return path
	}
	if os.Getenv("POOLGATE_REQUIRE_PROMETHEUS") == "1" {
		t.Fatal(err)
	}
	t.Skipf("%s is not installed: Debian's package prometheus has it", name)
	return ""
}

// TestAlerts has Prometheus read its configuration with the alerts, and fire each
// of them.
func TestAlerts(t *testing.T) {
	promtool := program(t, "promtool")
	for _, args := range [][]string{{"check", "config", "prometheus.yml"}, {"test", "rules", "testdata/alerts_test.yml"}} {
		t.Run(strings.Join(args, " "), func(t *testing.T) {
			if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
	t.Run("each alert is fired by the test", func(t *testing.T) {
		rules, err := os.ReadFile("alerts.yml")
		must(t, err)
		test, err := os.ReadFile("testdata/alerts_test.yml")
		must(t, err)
		for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllSubmatch(rules, -1) {
			if !strings.Contains(string(test), "alertname: "+string(m[1])+"\n") {
				t.Errorf("%s is not", m[1])
			}
		}
	})
}

// TestDashboard has a real Prometheus watch the service, and asks it what the
// dashboard asks.
func TestDashboard(t *testing.T) {
	prometheus := program(t, "prometheus")
	t.Setenv(pgserver.EnvDSN, pgserver.ForTest(t).CreateDatabase(t))
	collector := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body) }))
	defer collector.Close()
	t.Setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.URL)
	defer http.DefaultClient.CloseIdleConnections()

	_, metrics, stop := start(t)
	target, err := url.Parse(metrics)
	must(t, err)
	server := startPrometheus(t, prometheus, target.Host)
	for _, panel := range readDashboard(t).Panels {
		for _, target := range panel.Targets {
			t.Run(panel.Title, func(t *testing.T) {
				query := strings.NewReplacer("$pool", ".*", "$__rate_interval", "10s").Replace(target.Expr)
				await(t, "there is something to draw", func() (string, bool) {
					values, problem := ask(t, server, query)
					if problem != "" {
						t.Fatalf("%s: %s", query, problem)
					}
					// In a service that is well nobody is refused.
					return "no series for " + query, len(values) > 0 || strings.HasSuffix(query, "> 0")
				})
			})
		}
	}
	t.Run("an exemplar leads to a trace", func(t *testing.T) {
		await(t, "there is one", func() (string, bool) {
			query := url.Values{
				"query": {"db_client_operation_duration_seconds_bucket"},
				"start": {fmt.Sprint(time.Now().Add(-time.Minute).Unix())},
				"end":   {fmt.Sprint(time.Now().Unix())},
			}
			page := get(t, server+"/api/v1/query_exemplars?"+query.Encode())
			return page, regexp.MustCompile(`"trace_id":"[0-9a-f]{32}"`).MatchString(page)
		})
	})
	stop()
}

// startPrometheus starts one that scrapes target each second, and returns its
// address.
func startPrometheus(t *testing.T, path, target string) string {
	t.Helper()
	dir := t.TempDir()
	config := filepath.Join(dir, "prometheus.yml")
	must(t, os.WriteFile(config, fmt.Appendf(nil,
		"global: {scrape_interval: 1s}\nscrape_configs: [{job_name: orders, static_configs: [{targets: [%q]}]}]\n", target), 0o600))
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	address := l.Addr().String()
	must(t, l.Close())
	command := exec.CommandContext(t.Context(), path, "--config.file", config, "--storage.tsdb.path", filepath.Join(dir, "data"), "--web.listen-address", address,
		"--enable-feature=exemplar-storage")
	log, err := os.Create(filepath.Join(dir, "log"))
	must(t, err)
	command.Stdout, command.Stderr = log, log
	must(t, command.Start())
	t.Cleanup(func() {
		command.Process.Kill()
		command.Wait()
		log.Close()
	})
	server := "http://" + address
	await(t, "Prometheus has scraped", func() (string, bool) {
		answer, err := http.Get(server + "/-/ready")
		if err != nil {
			return err.Error(), false
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusOK { // it reads what it has on disk
			return answer.Status, false
		}
		values, problem := ask(t, server, "up == 1")
		return problem, len(values) > 0
	})
	return server
}

// ask returns what a query has for an answer now, or what is wrong with it.
func ask(t *testing.T, server, query string) (values []any, problem string) {
	t.Helper()
	var answer struct {
		Error string
		Data  struct{ Result []any }
	}
	must(t, json.Unmarshal([]byte(get(t, server+"/api/v1/query?query="+url.QueryEscape(query))), &answer))
	return answer.Data.Result, answer.Error
}
