package main

import (
	"errors"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/poolgate/poolgate/bench"
)

func TestOptions(t *testing.T) {
	t.Run("without arguments it is a tenth of the article's benchmark", func(t *testing.T) {
		o, err := parse(nil, &strings.Builder{})
		if err != nil {
			t.Fatal(err)
		}
		if o.config.Ops != 3500 || o.config.Limit != 40 || o.config.DSN != "" {
			t.Errorf("%+v", o.config)
		}
		if !slices.Equal(o.drivers, bench.Drivers()) || !slices.Equal(o.strategies, bench.Strategies()) {
			t.Errorf("%v, %v", o.drivers, o.strategies)
		}
	})
	t.Run("two runs without a seed have different ones", func(t *testing.T) {
		a, _ := parse(nil, &strings.Builder{})
		b, _ := parse(nil, &strings.Builder{})
		if a.config.Seed == b.config.Seed {
			t.Errorf("both have %d", a.config.Seed)
		}
	})
	t.Run("a seed is taken, 0 too", func(t *testing.T) {
		for text, want := range map[string]uint64{"0": 0, "18446744073709551615": math.MaxUint64} {
			if o, err := parse([]string{"--seed", text}, &strings.Builder{}); err != nil || o.config.Seed != want {
				t.Errorf("--seed %s: %d, %v", text, o.config.Seed, err)
			}
		}
	})
	t.Run("full is the article's benchmark", func(t *testing.T) {
		if o, err := parse([]string{"--full"}, &strings.Builder{}); err != nil || o.config.Ops != 35000 {
			t.Errorf("%d, %v", o.config.Ops, err)
		}
	})
	t.Run("lists are put in the usual order", func(t *testing.T) {
		o, err := parse([]string{"--strategies", "chunked,sequential", "--drivers", "pq", "--form", "both"}, &strings.Builder{})
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(o.strategies, []bench.Strategy{bench.Sequential, bench.Chunked}) ||
			!slices.Equal(o.drivers, []bench.Driver{bench.PQ}) || !slices.Equal(o.forms, bench.Forms()) {
			t.Errorf("%+v", o)
		}
	})
	t.Run("-h explains every flag", func(t *testing.T) {
		var out strings.Builder
		if _, err := parse([]string{"-h"}, &out); !errors.Is(err, pflag.ErrHelp) {
			t.Fatal(err)
		}
		for _, want := range []string{"--ops", "--limit", "--max-open", "--drivers", "--strategies", "--form", "--dsn",
			"--seed", "--out", "--full", "--schema", "--reference", "Examples", "sequential", "idiomatic"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("no %s in\n%s", want, &out)
			}
		}
	})
}

func TestOptionsRefuse(t *testing.T) {
	for _, test := range []struct{ args, want string }{
		{"--ops 0", "--ops must be at least 1, got 0"},
		{"--ops many", "--ops"},
		{"--limit 0", "--limit must be at least 1, got 0"},
		{"--limit -4", "--limit must be at least 1, got -4"},
		{"--max-open -1", "--max-open must not be negative, got -1"},
		{"--drivers mysql", `--drivers: unknown "mysql"; choose from pgx, pq`},
		{"--drivers pgx,", `--drivers: unknown ""`},
		{"--drivers=", "--drivers is empty"},
		{"--strategies semafore", `--strategies: unknown "semafore"; choose from sequential, unbounded, semaphore, chunked`},
		{"--form orm", `--form: unknown "orm"; choose from faithful, idiomatic, or both`},
		{"--out=", "--out must name a folder"},
		{"--seed -1", "--seed"},
		{"--full --ops 10", "--full and --ops exclude each other"},
		{"--parallel", "unknown flag: --parallel"},
		{"semaphore", `unexpected argument "semaphore"`},
	} {
		t.Run(test.args, func(t *testing.T) {
			_, err := parse(strings.Fields(test.args), &strings.Builder{})
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want %q", err, test.want)
			}
		})
	}
}
