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
		r.printTimes(&b, f)
		r.printLatencies(&b, f)
		printFailures(&b, r.runsOf(f))
	}
	fmt.Fprintf(&b, "%d operations, seed %d, limit %d; PostgreSQL %s, max_connections %d, synchronous_commit %s, fsync %s;\n",
		r.Ops, r.Seed, r.Limit, r.Server.Version, r.Server.MaxConnections,
		r.Server.Settings["synchronous_commit"], r.Server.Settings["fsync"])
	fmt.Fprintf(&b, "client on %d CPUs, %s, %s/%s\n", r.Machine.CPUs, r.Machine.Go, r.Machine.OS, r.Machine.Arch)
	fmt.Fprintln(&b, articleTimes)
	_, err := io.WriteString(w, b.String())
	return err
}

// A table is aligned text. The first two columns are words.
type table struct{ *tabwriter.Writer }

func newTable(w io.Writer) table {
	return table{tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)}
}

func (t table) row(driver, strategy string, cells ...string) {
	// Right-aligned like the rest, but all of one width.
	fmt.Fprintf(t, "%-7s\t%-12s\t%s\t\n", driver, strategy, strings.Join(cells, "\t"))
}

func (r *Report) printTimes(w io.Writer, f Form) {
	t := newTable(w)
	best, referenced := r.best(f)
	heads := []string{"seconds", "ops/s", "waited ms", "worked ms", "peak conns", "mean conns", "errors", "client CPU s"}
	if referenced {
		heads = append(heads, "of pgbench")
	}
	t.row("driver", "strategy", heads...)
	for _, run := range r.runsOf(f) {
		cells := []string{
			fmt.Sprintf("%.1f", run.Seconds), fmt.Sprintf("%.0f", run.OpsPerSecond),
			millis(run.Waited), millis(run.Worked),
			fmt.Sprint(run.PeakConnections), fmt.Sprintf("%.1f", run.MeanConnections),
			fmt.Sprint(run.Errors), "-",
		}
		if run.ClientCPU > 0 {
			cells[len(cells)-1] = fmt.Sprintf("%.1f", run.ClientCPU)
		}
		if referenced {
			cells = append(cells, fmt.Sprintf("%.2f", run.OpsPerSecond/best.OpsPerSecond))
		}
		t.row(string(run.Driver), string(run.Strategy), cells...)
	}
	for _, ref := range r.referencesOf(f) {
		t.row("pgbench", fmt.Sprintf("%s %d", ref.Protocol, ref.Clients),
			fmt.Sprintf("%.1f", ref.Seconds), fmt.Sprintf("%.0f", ref.OpsPerSecond), "-", millis(ref.Mean),
			fmt.Sprint(ref.PeakConnections), fmt.Sprintf("%.1f", ref.MeanConnections), fmt.Sprint(ref.Errors), "-",
			fmt.Sprintf("%.2f", ref.OpsPerSecond/best.OpsPerSecond))
	}
	t.Flush()
	fmt.Fprintln(w, "\nwaited, worked: mean time of an operation before and after it had its connection or permit")
	fmt.Fprintln(w)
}

func (r *Report) printLatencies(w io.Writer, f Form) {
	t := newTable(w)
	t.row("driver", "strategy", "read p50", "p95", "p99", "max", "write p50", "p95", "p99", "max")
	for _, run := range r.runsOf(f) {
		var cells []string
		for _, l := range []Latency{run.Read, run.Write} {
			cells = append(cells, millis(l.P50), millis(l.P95), millis(l.P99), millis(l.Max))
		}
		t.row(string(run.Driver), string(run.Strategy), cells...)
	}
	t.Flush()
	fmt.Fprintln(w, "\nlatency in ms as the caller sees it, waiting included, of the operations that succeeded")
	fmt.Fprintln(w)
}

func printFailures(w io.Writer, runs []Run) {
	any := false
	for _, run := range runs {
		for _, kind := range slices.Sorted(maps.Keys(run.ErrorsByKind)) {
			fmt.Fprintf(w, "%s %s: %d × %s\n", run.Driver, run.Strategy, run.ErrorsByKind[kind], kind)
			any = true
		}
		if run.Unknown > 0 {
			fmt.Fprintf(w, "%s %s: of these, %d writes may have been committed\n", run.Driver, run.Strategy, run.Unknown)
		}
		if !run.Verified {
			fmt.Fprintf(w, "%s %s: NOT WHAT WAS WRITTEN: %s\n", run.Driver, run.Strategy, run.Problem)
			any = true
		}
	}
	if any {
		fmt.Fprintln(w)
	}
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
