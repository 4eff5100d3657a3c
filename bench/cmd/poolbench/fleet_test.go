package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/poolgate/poolgate/bench"
	"github.com/poolgate/poolgate/bench/scale"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

// fleetStep names the environment variable with how long a stage of TestFleet
// lasts.
const fleetStep = "POOLGATE_FLEET_STEP"

func needsOwnServer(t *testing.T) {
	t.Helper()
	pgserver.ForTest(t) // skips where there is no PostgreSQL
	if os.Getenv(pgserver.EnvDSN) != "" {
		t.Skip("the server of " + pgserver.EnvDSN + " would be used")
	}
}

// fleetConfig is a short run with every fault, or a long one.
func fleetConfig(t *testing.T, d bench.Driver) scale.Config {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	config := scale.Config{
		Command: []string{self, memberCommand}, Driver: d, Chaos: true,
		Few: 2, Many: 4, Fewer: 2, Budget: 12, Step: 1500 * time.Millisecond, Longest: 2 * time.Second,
		Patience: 3 * time.Minute, // the machine may be busy
		Seed:     uint64(time.Now().UnixNano()),
	}
	if text := os.Getenv(fleetStep); text != "" {
		config.Few, config.Many, config.Fewer, config.Budget, config.Longest = 2, 10, 4, 40, 15*time.Second
		if config.Step, err = time.ParseDuration(text); err != nil {
			t.Fatalf("%s: %v", fleetStep, err)
		}
	}
	return config
}

// testFleet runs processes that share a budget while they are killed, stopped,
// continued and replaced, and while the server restarts. None is refused a
// connection, and none starves.
func testFleet(t *testing.T, config scale.Config, allowed func(kind string) bool) {
	t.Helper()
	r, err := scale.Run(t.Context(), config)
	if r != nil {
		defer func() {
			if t.Failed() {
				t.Logf("seed %d: %+v", r.Seed, r.Events)
			}
		}()
	}
	if err != nil {
		t.Fatal(err)
	}
	for kind, n := range r.Errors {
		// What a restart of the server causes, and nothing else.
		if kind != "connection lost" && !strings.HasPrefix(kind, "57P") && !allowed(kind) {
			t.Errorf("%d errors %q", n, kind)
		}
	}
	if n := len(r.Starved) + len(r.Failed); n > 0 {
		t.Errorf("starved: %q, failed: %q", r.Starved, r.Failed)
	}
	if r.Highest > r.MaxConnections || r.Highest < r.Budget/2 {
		t.Errorf("the server had %d connections, of %d", r.Highest, r.MaxConnections)
	}
	if len(r.Stages) != 5 || len(r.Samples) < 10 {
		t.Errorf("%d stages, %d samples", len(r.Stages), len(r.Samples))
	}
	var text bytes.Buffer
	if err := printFleet(&text, r); err != nil {
		t.Error(err)
	}
	t.Log(&text)
}

func TestFleet(t *testing.T) {
	needsOwnServer(t)
	for _, d := range bench.SQLDrivers() {
		t.Run(string(d), func(t *testing.T) {
			t.Parallel()
			testFleet(t, fleetConfig(t, d), func(string) bool { return false })
		})
	}
}

// Without a fleet the same processes ask for more connections than there are.
func TestFleetWithout(t *testing.T) {
	needsOwnServer(t)
	out := t.TempDir()
	var stdout, stderr bytes.Buffer
	args := []string{"fleet", "--without", "--many", "4", "--fewer", "2", "--budget", "12", "--limit", "12", "--margin", "8", "--step", "1s", "--out", out}
	if code := run(args, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	text, err := os.ReadFile(filepath.Join(out, "fleet.json"))
	if err != nil {
		t.Fatal(err)
	}
	var report struct {
		Runs []scale.Result `json:"runs"`
	}
	if err := json.Unmarshal(text, &report); err != nil || len(report.Runs) != 1 {
		t.Fatalf("%d runs (%v)", len(report.Runs), err)
	}
	if r := report.Runs[0]; r.Errors[scale.TooMany] == 0 {
		t.Errorf("the errors are %v", r.Errors)
	}
	for _, want := range []string{scale.TooMany, "fleet-pgx.svg", "fleet-pgx.png"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("%q is not in\n%s", want, &stdout)
		}
	}
}

func TestFleetOptions(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"--few", "0"}, "--few"},
		{[]string{"--many", "1"}, "--many"},
		{[]string{"--budget", "1"}, "--budget"},
		{[]string{"--limit", "3"}, "--without"},
		{[]string{"--step", "1ms"}, "--step"},
		{[]string{"--hold", "0s"}, "--hold"},
		{[]string{"--drivers", "odbc"}, "--drivers"},
		{[]string{"more"}, "more"},
	} {
		var stderr bytes.Buffer
		if _, err := parseFleet(test.args, &stderr); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v: %v", test.args, err)
		}
	}
}
