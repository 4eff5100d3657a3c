package overload

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

// small is a configuration that takes seconds.
func small(dsn string) Config {
	c := DefaultConfig()
	c.DSN = dsn
	c.Limit = 4
	c.Workloads = []Workload{Wait}
	c.Warmup, c.Window = 300*time.Millisecond, 700*time.Millisecond
	c.Rates, c.Floods, c.Rounds = []float64{2}, []float64{3}, 1
	return c
}

func openTest(t *testing.T, change func(*Config)) *Bench {
	t.Helper()
	server := pgserver.ForTest(t)
	before := goleak.IgnoreCurrent()
	c := small(server.CreateDatabase(t))
	change(&c)
	b, err := Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t, before)
	})
	return b
}

func TestMeasure(t *testing.T) {
	b := openTest(t, func(*Config) {})
	seen := 0
	report, err := b.Measure(t.Context(), func(Run) { seen++ })
	if err != nil {
		t.Fatal(err)
	}
	if want := 3*1 + 3*2; len(report.Runs) != want || seen != want {
		t.Fatalf("%d runs, %d seen, want %d", len(report.Runs), seen, want)
	}
	for _, r := range report.Runs {
		for _, q := range r.Requests {
			if q.Offered == 0 || q.Offered != q.InTime+q.Late+q.Refused+q.TimedOut+q.Failed {
				t.Errorf("%s %g×: they do not add up: %+v", r.Way, r.Multiple, q)
			}
			if q.Refused > 0 && r.Way != Gate {
				t.Errorf("%s refused %d", r.Way, q.Refused)
			}
		}
	}
	folder := filepath.Join(t.TempDir(), "out")
	files, err := report.Write(folder)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != 3 {
		t.Errorf("files %q", files)
	}
	for _, name := range []string{"goodput.svg", "classes.svg"} {
		if text, err := os.ReadFile(filepath.Join(folder, name)); err != nil || !strings.Contains(string(text), "<svg") {
			t.Errorf("%s: %v", name, err)
		}
	}
	text, err := os.ReadFile(filepath.Join(folder, "report.json"))
	var again Report
	if err == nil {
		err = json.Unmarshal(text, &again)
	}
	if err != nil || len(again.Runs) != len(report.Runs) {
		t.Errorf("report.json has %d runs, %v", len(again.Runs), err)
	}
	var printed strings.Builder
	if err := report.Print(&printed); err != nil || !strings.Contains(printed.String(), "0.3× in all") && !strings.Contains(printed.String(), "alone") {
		t.Errorf("%v:\n%s", err, &printed)
	}
}

// TestGate looks whether the gate does what docs/overload.md says, roughly: on
// a busy machine one attempt proves nothing.
func TestGate(t *testing.T) {
	const attempts = 5
	b := openTest(t, func(c *Config) { c.Ways, c.Rounds, c.Rates = []Way{Gate}, 0, []float64{0.9, 3} })
	for i := range attempts {
		report, err := b.Measure(t.Context(), func(Run) {})
		if err != nil {
			t.Fatal(err)
		}
		below, above := report.Runs[0].Requests[0], report.Runs[1].Requests[0]
		if above.Goodput > 0.7*below.Goodput {
			return
		}
		t.Logf("attempt %d: %.0f in time at 0.9×, %.0f at 3×", i, below.Goodput, above.Goodput)
	}
	t.Error("under three times the load much less is done in time")
}

func TestMeasureEnds(t *testing.T) {
	b := openTest(t, func(c *Config) { c.Window = time.Hour })
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if _, err := b.Measure(ctx, func(Run) {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestOpen(t *testing.T) {
	for _, test := range []struct {
		field  string
		change func(*Config)
	}{
		{"Workloads", func(c *Config) { c.Workloads = nil }},
		{"Ways", func(c *Config) { c.Ways = nil }},
		{"Limit", func(c *Config) { c.Limit = -1 }},
		{"Deadline", func(c *Config) { c.Deadline = 0 }},
		{"Rates", func(c *Config) { c.Rates = []float64{0} }},
		{"Floods", func(c *Config) { c.Floods = []float64{0.1} }},
		{"WebShare", func(c *Config) { c.WebShare = 1 }},
		{"Warmup", func(c *Config) { c.Warmup = -1 }},
		{"Window", func(c *Config) { c.Window = 0 }},
		{"Rounds", func(c *Config) { c.Rounds = -1 }},
	} {
		t.Run("a wrong "+test.field+" is refused by name", func(t *testing.T) {
			c := small("postgres://me:hidden@127.0.0.1:1/x")
			test.change(&c)
			if _, err := Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), "Config."+test.field) {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("a server that is not there is an error without the password", func(t *testing.T) {
		_, err := Open(t.Context(), small("postgres://me:hidden@127.0.0.1:1/x?sslmode=disable"))
		if err == nil || strings.Contains(err.Error(), "hidden") {
			t.Errorf("got %v", err)
		}
	})
}
