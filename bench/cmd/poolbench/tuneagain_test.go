package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

// Runs of tune give the same answer, and that of a sweep of ten times the length.
// POOLGATE_TUNE_RUNS says how often to run it; 10 runs of a statement take a quarter of
// an hour.
func TestTuneAgrees(t *testing.T) {
	runs, _ := strconv.Atoi(os.Getenv("POOLGATE_TUNE_RUNS"))
	if runs == 0 {
		t.Skip("POOLGATE_TUNE_RUNS is not set")
	}
	for name, args := range map[string][]string{
		"workload": {"--write"},
		"sort":     {"--query", "SELECT count(*) FROM (SELECT g FROM generate_series(1, 3000) g ORDER BY md5(g::text)) s"},
		"sleep":    {"--query", "SELECT pg_sleep(0.003) FROM (SELECT pg_advisory_xact_lock(4711, (random() * 8)::int)) l"},
	} {
		t.Run(name, func(t *testing.T) {
			dsn := pgserver.ForTest(t).CreateDatabase(t)
			tune := func(more ...string) (knee, seconds float64) {
				t.Helper()
				out := t.TempDir()
				var stdout, stderr bytes.Buffer
				args := append([]string{"tune", "--dsn", dsn, "--max", "64", "--out", out}, args...)
				if code := run(append(args, more...), &stdout, &stderr); code != 0 {
					t.Fatalf("exit code %d: %s", code, &stderr)
				}
				text, err := os.ReadFile(filepath.Join(out, "tune.json"))
				if err != nil {
					t.Fatal(err)
				}
				var all tuning
				if err := json.Unmarshal(text, &all); err != nil {
					t.Fatal(err)
				}
				r := all.Runs[0]
				t.Logf("knee %.2f, limit %d (%d to %d), certain: %v, %d rounds, %.0f s", r.Knee, r.Recommended, r.Low, r.High, r.Certain, r.Rounds, r.Seconds)
				return r.Knee, r.Seconds
			}
			want, _ := tune("--window", "3s", "--longest", (30 * time.Minute).String())
			agree, longest := 0, 0.0
			for range runs {
				knee, seconds := tune()
				if knee < 1.2*want && want < 1.2*knee {
					agree++
				}
				longest = max(longest, seconds)
			}
			t.Logf("%d of %d runs are within 20 %% of the sweep of ten times the length; the longest took %.0f s", agree, runs, longest)
			if 10*agree < 9*runs {
				t.Errorf("%d of %d runs agree", agree, runs)
			}
		})
	}
}
