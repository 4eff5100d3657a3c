package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

func TestTune(t *testing.T) {
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	file := filepath.Join(t.TempDir(), "both.sql")
	if err := os.WriteFile(file, []byte("SELECT 1; SELECT 2"), 0o644); err != nil {
		t.Fatal(err)
	}
	for name, args := range map[string][]string{
		"a query":    {"--query", "SELECT generate_series(1, 10)", "--drivers", "pgx,pq"},
		"a file":     {"--file", file},
		"a workload": {"--write"},
	} {
		t.Run(name, func(t *testing.T) {
			out := t.TempDir()
			var stdout, stderr bytes.Buffer
			args := append([]string{"tune", "--dsn", dsn, "--max", "3", "--window", "20ms", "--longest", "100ms", "--out", out}, args...)
			if code := run(args, &stdout, &stderr); code != 0 {
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
			for _, r := range all.Runs {
				if r.Recommended < 1 || r.Recommended > 3 || len(r.Levels) != 3 {
					t.Errorf("%s: %d of %d levels", r.Driver, r.Recommended, len(r.Levels))
				}
				if want := "Recommended limit with " + string(r.Driver); !strings.Contains(stdout.String(), want) {
					t.Errorf("there is no %q in\n%s", want, &stdout)
				}
			}
			page := filepath.Join(out, "report.html")
			if text, err = os.ReadFile(page); err != nil || !bytes.Contains(text, []byte("data:image/png;base64")) {
				t.Errorf("the page has no picture (%v)", err)
			}
			if !strings.HasSuffix(stdout.String(), page+"\n") {
				t.Errorf("the last line is not %s:\n%s", page, &stdout)
			}
		})
	}
}

func TestTuneFails(t *testing.T) {
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	for _, test := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"the workload without leave to write", nil, exitUsage, "--write"},
		{"two statements", []string{"--query", "SELECT 1", "--file", "x"}, exitUsage, "exclude"},
		{"a file that is missing", []string{"--file", "none.sql"}, exitUsage, "none.sql"},
		{"no connection", []string{"--query", "SELECT 1", "--max", "0"}, exitUsage, "--max"},
		{"a driver that is unknown", []string{"--query", "SELECT 1", "--drivers", "odbc"}, exitUsage, "odbc"},
		{"a statement that writes", []string{"--query", "CREATE TABLE t (id int)"}, exitFailed, "25006"},
		{"a statement that fails", []string{"--query", "SELECT 1/0"}, exitFailed, "22012"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			args := append([]string{"tune", "--dsn", dsn, "--out", t.TempDir()}, test.args...)
			if code := run(args, &stdout, &stderr); code != test.code || !strings.Contains(stderr.String(), test.want) {
				t.Errorf("exit code %d, want %d, and %q in\n%s", code, test.code, test.want, &stderr)
			}
		})
	}
}
