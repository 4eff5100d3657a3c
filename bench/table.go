package bench

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// articleTimes are the article's results, for context.
const articleTimes = "The article's 35,000 operations took 202 s one after another, 116 s all at once and\n" +
	"102.2 s in chunks of 40: on another machine, in another language (Python, SQLAlchemy 1.4)."

var formTitles = map[Form]string{
	Faithful:  "faithful: what SQLAlchemy sends, without an index on b(a_id)",
	Idiomatic: "idiomatic: with that index, autocommit, one round trip for each operation",
}

// Print writes the report as text: two tables for each form, what failed, and
// what it was measured on.
func (r *Report) Print(w io.Writer) error {
	var b strings.Builder
	for _, f := range r.forms() {
		fmt.Fprintf(&b, "%s\n\n", formTitles[f])
		for _, t := range []table{r.times(f), r.latencies(f)} {
			t.print(&b)
			fmt.Fprintf(&b, "\n%s\n\n", t.caption)
		}
		if lines := failures(r.runsOf(f)); len(lines) > 0 {
			fmt.Fprintf(&b, "%s\n\n", strings.Join(lines, "\n"))
		}
	}
	fmt.Fprintf(&b, "%d operations, seed %d, limit %d; PostgreSQL %s, max_connections %d, synchronous_commit %s, fsync %s;\n",
		r.Ops, r.Seed, r.Limit, r.Server.Version, r.Server.MaxConnections,
		r.Server.Settings["synchronous_commit"], r.Server.Settings["fsync"])
	fmt.Fprintf(&b, "client on %d CPUs, %s, %s/%s\n", r.Machine.CPUs, r.Machine.Go, r.Machine.OS, r.Machine.Arch)
	fmt.Fprintln(&b, articleTimes)
	_, err := io.WriteString(w, b.String())
	return err
}

// A table has a row of heads and rows of cells. The first two columns are the
// driver and the strategy, the others are figures.
type table struct {
	heads   []string
	rows    [][]string
	caption string
}

// print writes the table as aligned text.
func (t table) print(w io.Writer) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	for _, row := range append([][]string{t.heads}, t.rows...) {
		// Right-aligned like the rest, but all of one width.
		fmt.Fprintf(tw, "%-7s\t%-12s\t%s\t\n", row[0], row[1], strings.Join(row[2:], "\t"))
	}
	tw.Flush()
}

func (r *Report) times(f Form) table {
	t := table{
		heads:   []string{"driver", "strategy", "seconds", "ops/s", "waited ms", "worked ms", "peak conns", "mean conns", "errors", "client CPU s"},
		caption: "waited, worked: mean time of an operation before and after it had its connection or permit",
	}
	best, referenced := r.best(f)
	if referenced {
		t.heads = append(t.heads, "of pgbench")
	}
	for _, run := range r.runsOf(f) {
		if run.Strategy == Adaptive {
			t.caption += fmt.Sprintf("\n%s adaptive: the limit was %d at the end", run.Driver, run.Limit)
		}
		cpu := "-"
		if run.ClientCPU > 0 {
			cpu = fmt.Sprintf("%.1f", run.ClientCPU)
		}
		row := []string{
			string(run.Driver), string(run.Strategy),
			fmt.Sprintf("%.1f", run.Seconds), fmt.Sprintf("%.0f", run.OpsPerSecond),
			millis(run.Waited), millis(run.Worked),
			fmt.Sprint(run.PeakConnections), fmt.Sprintf("%.1f", run.MeanConnections),
			fmt.Sprint(run.Errors), cpu,
		}
		if referenced {
			row = append(row, fmt.Sprintf("%.2f", run.OpsPerSecond/best.OpsPerSecond))
		}
		t.rows = append(t.rows, row)
	}
	for _, ref := range r.referencesOf(f) {
		t.rows = append(t.rows, []string{
			"pgbench", fmt.Sprintf("%s %d", ref.Protocol, ref.Clients),
			fmt.Sprintf("%.1f", ref.Seconds), fmt.Sprintf("%.0f", ref.OpsPerSecond), "-", millis(ref.Mean),
			fmt.Sprint(ref.PeakConnections), fmt.Sprintf("%.1f", ref.MeanConnections), fmt.Sprint(ref.Errors), "-",
			fmt.Sprintf("%.2f", ref.OpsPerSecond/best.OpsPerSecond),
		})
	}
	return t
}

func (r *Report) latencies(f Form) table {
	t := table{
		heads:   []string{"driver", "strategy", "read p50", "p95", "p99", "max", "write p50", "p95", "p99", "max"},
		caption: "latency in ms as the caller sees it, waiting included, of the operations that succeeded",
	}
	for _, run := range r.runsOf(f) {
		row := []string{string(run.Driver), string(run.Strategy)}
		for _, l := range []Latency{run.Read, run.Write} {
			row = append(row, millis(l.P50), millis(l.P95), millis(l.P99), millis(l.Max))
		}
		t.rows = append(t.rows, row)
	}
	return t
}

// failures returns a line for each kind of failure of each run.
func failures(runs []Run) (lines []string) {
	for _, run := range runs {
		for _, kind := range slices.Sorted(maps.Keys(run.ErrorsByKind)) {
			lines = append(lines, fmt.Sprintf("%s %s: %d × %s", run.Driver, run.Strategy, run.ErrorsByKind[kind], kind))
		}
		if run.Unknown > 0 {
			lines = append(lines, fmt.Sprintf("%s %s: of these, %d writes may have been committed", run.Driver, run.Strategy, run.Unknown))
		}
		if !run.Verified {
			lines = append(lines, fmt.Sprintf("%s %s: NOT WHAT WAS WRITTEN: %s", run.Driver, run.Strategy, run.Problem))
		}
	}
	return lines
}

// millis formats milliseconds with about three digits.
func millis(ms float64) string {
	switch {
	case ms >= 100:
		return fmt.Sprintf("%.0f", ms)
	case ms >= 10:
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.2f", ms)
}
