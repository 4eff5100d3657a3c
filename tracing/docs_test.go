package tracing_test

import (
	"context"
	"fmt"
	"maps"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"

	"github.com/poolgate/poolgate/poolgate/fleet"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/session"
	"github.com/poolgate/poolgate/tracing"
)

// TestDocs compares the tables in docs/observability.md with what is seen when
// everything has happened once: neither may have what the other lacks.
func TestDocs(t *testing.T) {
	spans := table(t, "Span")
	attributes := table(t, "Attribute")
	metrics := table(t, "Metric")
	t.Run("each name of the conventions has their version, and ours have none", func(t *testing.T) {
		version := path.Base(semconv.SchemaURL)
		for _, row := range slices.Concat(attributes, metrics) {
			name, want := row["Attribute"]+row["Metric"], version
			if strings.HasPrefix(name, "poolgate.") {
				want = ""
			}
			if row["Convention"] != want {
				t.Errorf("%s: the docs have %q, the code %q", name, row["Convention"], want)
			}
		}
	})
	onBoth(t, gate.Config{Limit: 1, MaxWaiting: 1}, func(t *testing.T, f *fixture) {
		f.everything()
		v := slices.DeleteFunc(f.View(), func(s seen) bool { return s.Name == "request" })

		t.Run("every span is there, and of its kind", func(t *testing.T) {
			found := map[string]string{}
			for _, s := range v {
				found[s.Name] = s.Kind
			}
			wanted := map[string]string{}
			for _, row := range spans {
				if row["Span"] != spanBatch || f.pipelines() {
					wanted[row["Span"]] = row["Kind"]
				}
			}
			same(t, found, wanted)
		})

		t.Run("every attribute is there, on its spans and of its type", func(t *testing.T) {
			found := map[string]string{} // "attribute on span", or a pattern of it, to type
			for _, s := range v {
				for key, value := range s.Attributes {
					for _, row := range attributes {
						for _, pattern := range row.list("On") {
							if ok, _ := path.Match(pattern, s.Name); ok && row["Attribute"] == key {
								found[key+" on "+pattern] = typeName(value)
							}
						}
					}
					if !slices.ContainsFunc(attributes, func(r row) bool { return r["Attribute"] == key && r.on(s.Name) }) {
						t.Errorf("%s on %s is not in the docs", key, s.Name)
					}
				}
			}
			wanted := map[string]string{}
			for _, row := range attributes {
				for _, pattern := range row.list("On") {
					if pattern == spanBatch && !f.pipelines() {
						continue
					}
					wanted[row["Attribute"]+" on "+pattern] = row["Type"]
				}
			}
			same(t, found, wanted)
		})

		t.Run("every metric is there, with its instrument, unit and attributes", func(t *testing.T) {
			found, wanted := map[string]string{}, map[string]string{}
			for name, m := range f.Metrics() {
				instrument, keys := instrument(m)
				found[name] = fmt.Sprintf("%s in %s with %v", instrument, m.Unit, slices.Sorted(maps.Keys(keys)))
			}
			for _, row := range metrics {
				keys := row.list("Attributes")
				slices.Sort(keys)
				wanted[row["Metric"]] = fmt.Sprintf("%s in %s with %v", row["Instrument"], row["Unit"], keys)
			}
			same(t, found, wanted)
		})
	})
}

const spanBatch = "sql.conn.batch"

// pipelines reports whether the driver has a pipeline.
func (f *fixture) pipelines() bool { return strings.Contains(f.T.Name(), "/pgx") }

// everything does all that leaves a trace, once at least.
func (f *fixture) everything() {
	t := f.T
	f.In("request", func(ctx context.Context) {
		ctx = tracing.Operations(ctx, f.Traces)
		f.MustExec(ctx, "CREATE TABLE t (id int PRIMARY KEY)")
		f.behindAnother(ctx, time.Millisecond)

		// refused at once, and for too long a wait
		holder := f.Hold()
		waiting, cancel := context.WithCancel(ctx)
		done := make(chan struct{})
		go func() {
			defer close(done)
			f.ExecContext(waiting, "SELECT 1")
		}()
		f.Queued(1)
		if _, err := f.ExecContext(ctx, "SELECT 1"); err == nil {
			t.Error("no refusal")
		}
		cancel()
		<-done
		hurried, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		if _, err := f.ExecContext(hurried, "SELECT 1"); err == nil {
			t.Error("no end of the wait")
		}
		must(t, holder.Close())

		// a unit of work that is committed, and one that fails
		query := func(ctx context.Context, query string) error {
			_, err := session.DB(ctx, f.DB.DB).ExecContext(ctx, query)
			return err
		}
		must(t, session.Run(ctx, func(ctx context.Context) error {
			return session.Run(ctx, func(ctx context.Context) error { return query(ctx, "INSERT INTO t VALUES (1)") })
		}))
		if session.Run(ctx, func(ctx context.Context) error { return query(ctx, "INSERT INTO t VALUES (1)") }) == nil {
			t.Error("no error")
		}

		if f.pipelines() {
			must(t, gather.Run(ctx, f.DB, gather.Options{Consistency: gather.Pipelined}, gather.Discard("SELECT 1"), gather.Discard("SELECT 2")))
		}

		// a gather that fails
		if gather.Run(ctx, f.DB, gather.Options{}, gather.Discard("SELECT 1/0")) == nil {
			t.Error("no error")
		}

		stmt, err := f.PrepareContext(ctx, "SELECT id FROM t WHERE id = $1")
		must(t, err)
		_, err = stmt.ExecContext(ctx, 1)
		must(t, err)
		var id int
		must(t, stmt.QueryRowContext(ctx, 1).Scan(&id))
		must(t, f.QueryRowContext(ctx, "SELECT id FROM t").Scan(&id))
		must(t, stmt.Close())
	})

	// a member of a fleet
	member, err := fleet.Join(t.Context(), f.DB, fleet.Config{Name: "orders", Budget: 5})
	must(t, err)
	eventually(t, "a heartbeat is answered", func() bool { return member.Stats().Heartbeats > 0 })
	must(t, member.Leave(t.Context()))

	// a server that is not there
	away := newFixture(t, f.Driver, "postgres://me:secret@127.0.0.1:1/none?sslmode=disable", gate.Config{Limit: 1})
	defer away.Close()
	f.More = append(f.More, away.In("request", func(ctx context.Context) { away.PingContext(ctx) })...)
}

func instrument(m metricdata.Metrics) (name string, keys map[string]bool) {
	keys = map[string]bool{}
	add := func(s attribute.Set) {
		for _, a := range s.ToSlice() {
			keys[string(a.Key)] = true
		}
	}
	switch data := m.Data.(type) {
	case metricdata.Sum[int64]:
		name = "updowncounter"
		if data.IsMonotonic {
			name = "counter"
		}
		for _, p := range data.DataPoints {
			add(p.Attributes)
		}
	case metricdata.Gauge[float64]:
		name = "gauge"
		for _, p := range data.DataPoints {
			add(p.Attributes)
		}
	case metricdata.Gauge[int64]:
		name = "gauge"
		for _, p := range data.DataPoints {
			add(p.Attributes)
		}
	case metricdata.Histogram[float64]:
		name = "histogram"
		for _, p := range data.DataPoints {
			add(p.Attributes)
		}
	}
	return name, keys
}

// typeName is how the docs call the type of a value; all numbers that are no
// counts are seconds.
func typeName(value any) string {
	switch value.(type) {
	case float64:
		return "s"
	case int64:
		return "int"
	}
	return fmt.Sprintf("%T", value)
}

// A row of a table of the docs has its cells by the heads of their columns.
type row map[string]string

// list returns the names in a cell.
func (r row) list(column string) []string { return strings.Fields(r[column]) }

func (r row) on(span string) bool {
	return slices.ContainsFunc(r.list("On"), func(pattern string) bool {
		ok, _ := path.Match(pattern, span)
		return ok
	})
}

var separator = regexp.MustCompile(`\s*\|\s*`)

// table returns the rows of the table in docs/observability.md whose first
// column has this head.
func table(t *testing.T, head string) []row {
	t.Helper()
	text, err := os.ReadFile("../docs/observability.md")
	must(t, err)
	var heads []string
	var rows []row
	for _, line := range strings.Split(string(text), "\n") {
		line = strings.ReplaceAll(line, "`", "")
		cells := separator.Split(strings.Trim(line, "| "), -1)
		switch {
		case strings.HasPrefix(line, "| "+head+" |"):
			heads = cells
		case heads == nil || strings.HasPrefix(line, "|---"):
		case !strings.HasPrefix(line, "|"):
			return rows
		default:
			r := row{}
			for i, cell := range cells {
				r[heads[i]] = cell
			}
			rows = append(rows, r)
		}
	}
	t.Fatalf("docs/observability.md has no table of %s", head)
	return nil
}

func same(t *testing.T, found, wanted map[string]string) {
	t.Helper()
	for _, key := range slices.Sorted(maps.Keys(found)) {
		if found[key] != wanted[key] {
			t.Errorf("%s: there is %q, the docs have %q", key, found[key], wanted[key])
		}
	}
	for _, key := range slices.Sorted(maps.Keys(wanted)) {
		if _, ok := found[key]; !ok {
			t.Errorf("%s: the docs have it, but it was not seen", key)
		}
	}
}
