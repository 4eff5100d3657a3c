package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/poolgate/poolgate/bench"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

func TestCommand(t *testing.T) {
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	out := t.TempDir()
	var stdout, stderr bytes.Buffer
	args := []string{"--dsn", dsn, "--ops", "80", "--limit", "4", "--max-open", "20", "--form", "both", "--seed", "9", "--out", out}
	if _, err := bench.FindPgbench(""); err == nil {
		args = append(args, "--reference")
	}
	if code := run(args, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	report := readReport(t, out)
	if len(report.Runs) != 16 || report.Interrupted || report.Seed != 9 {
		t.Errorf("%d runs, interrupted %v, seed %d", len(report.Runs), report.Interrupted, report.Seed)
	}
	if slices.Contains(args, "--reference") && len(report.Reference) != 3 {
		t.Errorf("%d references", len(report.Reference))
	}
	for _, want := range []string{"faithful", "idiomatic", "semaphore", "seed 9"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("%q is not in\n%s", want, &stdout)
		}
	}
	if strings.Contains(stderr.String(), "\r") {
		t.Errorf("a bar where there is no terminal: %q", &stderr)
	}
}

func TestCommandFails(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"bad flag", []string{"--limit", "0"}, exitUsage, "--limit"},
		{"server not there", []string{"--dsn", "postgres://me:hidden@127.0.0.1:1/x?sslmode=disable", "--out", t.TempDir()}, exitFailed, "127.0.0.1"},
		{"DSN with a typing error", []string{"--dsn", "postgres://me:hidden@127.0.0.1:port/x", "--out", t.TempDir()}, exitFailed, "URL"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if code := run(test.args, &stdout, &stderr); code != test.code {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			if !strings.Contains(stderr.String(), test.want) || strings.Contains(stderr.String(), "hidden") {
				t.Errorf("it says %q", &stderr)
			}
		})
	}
}

func readReport(t *testing.T, folder string) bench.Report {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(folder, "report.json"))
	if err != nil {
		t.Fatal(err)
	}
	var report bench.Report
	if err := json.Unmarshal(text, &report); err != nil {
		t.Fatal(err)
	}
	return report
}
