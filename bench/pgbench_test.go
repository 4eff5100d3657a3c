package bench

import (
	"strings"
	"testing"
)

func TestPgbench(t *testing.T) {
	path, err := FindPgbench("")
	if err != nil {
		t.Skip(err)
	}
	b := openTest(t, Config{Ops: 101, Limit: 4, Seed: 1})
	for _, c := range PgbenchCases(Forms(), 4) {
		t.Run(c.String(), func(t *testing.T) {
			ref, err := b.Pgbench(t.Context(), path, c)
			if err != nil {
				t.Fatal(err)
			}
			if ref.Ops != 100 || ref.Errors != 0 || ref.OpsPerSecond <= 0 || ref.Mean <= 0 || ref.PeakConnections > 4 {
				t.Errorf("%d operations, %d errors, %.1f per second, %.3f ms, %d connections",
					ref.Ops, ref.Errors, ref.OpsPerSecond, ref.Mean, ref.PeakConnections)
			}
			if got := float64(ref.Ops) / ref.Seconds; got/ref.OpsPerSecond < 0.99 || got/ref.OpsPerSecond > 1.01 {
				t.Errorf("%.0f operations per second, %d in %.3f s", ref.OpsPerSecond, ref.Ops, ref.Seconds)
			}
			// Its writes are the workload's: 2, 1 and 2 children.
			var parents, children, singles int
			if err := b.admin.QueryRowContext(t.Context(), `
				SELECT count(*), sum(n), count(*) FILTER (WHERE n = 1)
				FROM (SELECT count(b.id) AS n FROM poolbench.a LEFT JOIN poolbench.b ON a_id = a.id GROUP BY a.id) f`,
			).Scan(&parents, &children, &singles); err != nil {
				t.Fatal(err)
			}
			if parents == 0 || parents%parentsPerWrite != 0 || children*parentsPerWrite != parents*childrenPerWrite || singles*parentsPerWrite != parents {
				t.Errorf("%d parents, %d of them with one child, %d children", parents, singles, children)
			}
		})
	}
	t.Run("a failure is told with what pgbench says", func(t *testing.T) {
		_, err := b.Pgbench(t.Context(), path, PgbenchCase{Faithful, "telepathic", 4})
		if err == nil || !strings.Contains(err.Error(), "telepathic") {
			t.Errorf("error %v", err)
		}
	})
}

func TestPgbenchCases(t *testing.T) {
	for limit, want := range map[int]int{1: 1, 4: 1, 5: 2, 16: 3, 40: 4} {
		if got := PgbenchCases([]Form{Faithful}, limit); len(got) != want || got[len(got)-1].Clients != limit {
			t.Errorf("limit %d: %v", limit, got)
		}
	}
}

func TestReferenceParse(t *testing.T) {
	for _, test := range []struct {
		name, output string
		want         Reference
		ok           bool
	}{
		{"PostgreSQL 15", "number of failed transactions: 3 (0.1%)\nlatency average = 2.500 ms\ninitial connection time = 9 ms\ntps = 400.5 (without initial connection time)\n",
			Reference{OpsPerSecond: 400.5, Mean: 2.5, Errors: 3}, true},
		{"PostgreSQL 13", "latency average = 2.500 ms\ntps = 399.0 (including connections establishing)\ntps = 400.5 (excluding connections establishing)\n",
			Reference{OpsPerSecond: 400.5, Mean: 2.5}, true},
		{"something else", "hello\n", Reference{}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := Reference{}
			err := got.parse(test.output)
			if (err == nil) != test.ok {
				t.Fatal(err)
			}
			got.Seconds = 0
			if err == nil && got != test.want {
				t.Errorf("%+v, want %+v", got, test.want)
			}
		})
	}
}
