package main

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/poolgate/poolgate/bench"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

// TestMain runs the tests, or what a process of poolbench fleet does: the test
// binary starts itself.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == memberCommand {
		os.Exit(run(os.Args[1:], os.Stdout, os.Stderr))
	}
	pgserver.Main(m)
}

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
	if len(report.Runs) != 30 || report.Interrupted || report.Seed != 9 {
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
	if page := filepath.Join(out, "report.html"); !strings.HasSuffix(stdout.String(), page+"\n") {
		t.Errorf("the last line is not %s:\n%s", page, &stdout)
	}
	if strings.Contains(stderr.String(), "\r") {
		t.Errorf("a bar where there is no terminal: %q", &stderr)
	}
}

func TestCommandFails(t *testing.T) {
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	for _, test := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"bad flag", []string{"--limit", "0"}, exitUsage, "--limit"},
		{"server not there", []string{"--dsn", "postgres://me:hidden@127.0.0.1:1/x?sslmode=disable", "--out", t.TempDir()}, exitFailed, "127.0.0.1"},
		{"a file in place of the folder", []string{"--out", "main.go"}, exitFailed, "--out: "},
		{"a schema that needs quotes", []string{"--dsn", dsn, "--schema", "Mine", "--out", t.TempDir()}, exitFailed, "Schema"},
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

// Tables that somebody else has created are never dropped.
func TestForeignTables(t *testing.T) {
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	db, err := sql.Open("pgx", dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	count := func() (n int) {
		t.Helper()
		if err := db.QueryRow("SELECT count(*) FROM poolbench.b").Scan(&n); err != nil {
			t.Error(err)
		}
		return n
	}
	if _, err := db.Exec("CREATE SCHEMA poolbench; CREATE TABLE poolbench.b AS SELECT 1 AS precious"); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	args := []string{"--dsn", dsn, "--ops", "20", "--limit", "2", "--strategies", "semaphore", "--drivers", "pgx", "--out", out}
	var stdout, stderr bytes.Buffer
	code := run(args, &stdout, &stderr)
	for _, want := range []string{"poolbench.b", "--schema"} {
		if code != exitFailed || !strings.Contains(stderr.String(), want) {
			t.Errorf("exit code %d, without %s: %s", code, want, &stderr)
		}
	}
	if stdout.Len() > 0 || count() != 1 {
		t.Errorf("%d rows left; printed: %s", count(), &stdout)
	}

	stderr.Reset()
	if code := run(append(args, "--schema", "mine"), &stdout, &stderr); code != 0 {
		t.Errorf("exit code %d: %s", code, &stderr)
	}
	var left int
	if err := db.QueryRow("SELECT count(*) FROM pg_namespace WHERE nspname = 'mine'").Scan(&left); err != nil || left > 0 || count() != 1 {
		t.Errorf("left of schema mine: %d, error %v; %d rows", left, err, count())
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
