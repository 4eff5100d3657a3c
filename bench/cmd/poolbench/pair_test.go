package main

import (
	"strings"
	"testing"

	"github.com/poolgate/poolgate/bench"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

func TestPair(t *testing.T) {
	if _, err := bench.FindPgbench(""); err != nil {
		t.Skip(err)
	}
	var stdout, stderr strings.Builder
	args := []string{"pair", "--ops", "60", "--rounds", "2", "--limit", "4", "--dsn", pgserver.ForTest(t).CreateDatabase(t)}
	if code := run(args, &stdout, &stderr); code != 0 {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	for _, form := range bench.Forms() {
		_, table, ok := strings.Cut(stdout.String(), string(form)+", medians of 2 rounds of 60 operations\n")
		if !ok {
			t.Fatalf("no table of %s in\n%s", form, &stdout)
		}
		lines := strings.Split(table, "\n")[2:]
		if !strings.HasPrefix(lines[0], "pgbench ") {
			t.Errorf("%s", lines[0])
		}
		for i, d := range bench.Drivers() {
			for j, way := range []string{"gated", "bare"} {
				cells := strings.Fields(lines[1+2*i+j])
				if len(cells) != 5 || cells[0] != string(d) || cells[1] != way || cells[2] == "0" || cells[3] == "0.00" {
					t.Errorf("%s: %v", form, cells)
				}
			}
		}
	}
}

func TestPairRefuses(t *testing.T) {
	for args, want := range map[string]string{
		"--ops 0":           "--ops must be at least 1, got 0",
		"--rounds 0":        "--rounds must be at least 1, got 0",
		"--limit 0":         "--limit must be at least 1, got 0",
		"--drivers mysql":   `--drivers: unknown "mysql"`,
		"--form orm":        `--form: unknown "orm"`,
		"something":         `unexpected argument "something"`,
		"--parallel":        "unknown flag: --parallel",
		"--seed yesterday":  "--seed",
		"--drivers pgx,pq,": `--drivers: unknown ""`,
	} {
		if _, err := parsePair(strings.Fields(args), &strings.Builder{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", args, err, want)
		}
	}
}
