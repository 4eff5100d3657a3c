package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

func TestCommand(t *testing.T) {
	out := t.TempDir()
	var stdout, stderr bytes.Buffer
	args := []string{"--dsn", pgserver.ForTest(t).CreateDatabase(t), "--workloads", "wait", "--ways", "pool,gate", "--limit", "2",
		"--rates", "2", "--rounds", "1", "--floods", "2", "--warmup", "100ms", "--window", "300ms", "--out", out}
	if code := run(args, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	for _, want := range []string{"pg_sleep", "gate", "alone", "written:"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("%q is not in\n%s", want, &stdout)
		}
	}
	for _, name := range []string{"report.json", "goodput.svg", "classes.svg"} {
		if _, err := os.Stat(filepath.Join(out, name)); err != nil {
			t.Error(err)
		}
	}
}

func TestCommandFails(t *testing.T) {
	for _, test := range []struct {
		name string
		args []string
		code int
		want string
	}{
		{"help", []string{"--help"}, 0, "Workloads"},
		{"unknown way", []string{"--ways", "prayer"}, exitUsage, "prayer"},
		{"no workload", []string{"--workloads", ""}, exitUsage, "--workloads"},
		{"argument", []string{"now"}, exitUsage, "now"},
		{"quick and yet not", []string{"--quick", "--rates", "2"}, exitUsage, "--rates"},
		{"bad value", []string{"--dsn", "postgres://me:hidden@127.0.0.1:1/x", "--web", "2"}, exitFailed, "WebShare"},
		{"a file in place of the folder", []string{"--out", "main.go"}, exitFailed, "--out: "},
		{"server not there", []string{"--dsn", "postgres://me:hidden@127.0.0.1:1/x?sslmode=disable"}, exitFailed, "127.0.0.1"},
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
