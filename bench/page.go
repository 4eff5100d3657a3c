package bench

import (
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"maps"
	"slices"
	"strings"
)

//go:embed page.html
var pageText string

var page = template.Must(template.New("page").Parse(pageText))

// pageData is what page.html shows.
type pageData struct {
	*Report
	Forms    []pageForm
	Times    template.URL // the pictures, as data: URLs
	Conns    template.URL
	Command  string
	Settings []setting
	Article  string
}

type pageForm struct {
	Title     string
	Findings  []string
	Times     pageTable
	Latencies pageTable
	Failures  []string
}

type pageTable struct {
	Caption string
	Heads   []string
	Rows    [][]string
}

type setting struct{ Name, Value string }

// writeHTML writes the report as one page that loads nothing.
func (r *Report) writeHTML(w io.Writer, pictures []picture) error {
	data := pageData{Report: r, Command: r.command(), Settings: r.settings(), Article: articleTimes}
	for _, p := range pictures {
		url := template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(p.png))
		switch p.name {
		case timesFile:
			data.Times = url
		case connectionsFile:
			data.Conns = url
		}
	}
	for _, f := range r.forms() {
		data.Forms = append(data.Forms, pageForm{
			Title:     formTitles[f],
			Findings:  r.findings(f),
			Times:     r.times(f).page(),
			Latencies: r.latencies(f).page(),
			Failures:  failures(r.runsOf(f)),
		})
	}
	if err := page.Execute(w, data); err != nil {
		return fmt.Errorf("bench: writing %s: %w", htmlFile, err)
	}
	return nil
}

func (t table) page() pageTable { return pageTable{t.caption, t.heads, t.rows} }

// findings compares the semaphore with the other strategies, driver by driver.
func (r *Report) findings(f Form) (lines []string) {
	byStrategy := map[Driver]map[Strategy]Run{}
	for _, run := range r.runsOf(f) {
		if byStrategy[run.Driver] == nil {
			byStrategy[run.Driver] = map[Strategy]Run{}
		}
		byStrategy[run.Driver][run.Strategy] = run
	}
	for _, d := range Drivers() {
		gated, ok := byStrategy[d][Semaphore]
		if !ok {
			continue
		}
		line := fmt.Sprintf("%s through a gate of %d: %.1f s, at most %d connections, %s.",
			d, r.Limit, gated.Seconds, gated.PeakConnections, countFailed(gated.Errors))
		if adaptive, ok := byStrategy[d][Adaptive]; ok {
			line += fmt.Sprintf(" Through a gate that finds its limit: %.1f s, at most %d connections.", adaptive.Seconds, adaptive.PeakConnections)
		}
		if all, ok := byStrategy[d][Unbounded]; ok {
			line += fmt.Sprintf(" All at once without a gate: %.1f s, %d connections, %s.", all.Seconds, all.PeakConnections, countFailed(all.Errors))
		}
		if one, ok := byStrategy[d][Sequential]; ok {
			line += fmt.Sprintf(" One after another: %.1f s.", one.Seconds)
		}
		lines = append(lines, line)
	}
	return lines
}

func countFailed(n int) string {
	switch n {
	case 0:
		return "no operation failed"
	case 1:
		return "1 operation failed"
	}
	return fmt.Sprintf("%d operations failed", n)
}

// command returns the command that repeats the report's runs, without the DSN,
// which may hold a password.
func (r *Report) command() string {
	var forms, drivers, strategies []string
	add := func(list *[]string, name string) {
		if !slices.Contains(*list, name) {
			*list = append(*list, name)
		}
	}
	for _, run := range r.Runs {
		add(&forms, string(run.Form))
		add(&drivers, string(run.Driver))
		add(&strategies, string(run.Strategy))
	}
	form := "both"
	if len(forms) == 1 {
		form = forms[0]
	}
	return fmt.Sprintf("go run ./bench/cmd/poolbench --ops %d --seed %d --limit %d --max-open %d --form %s --drivers %s --strategies %s",
		r.Ops, r.Seed, r.Limit, r.MaxOpen, form, strings.Join(drivers, ","), strings.Join(strategies, ","))
}

// settings returns what the results depend on.
func (r *Report) settings() []setting {
	maxOpen := "any number"
	if r.MaxOpen > 0 {
		maxOpen = fmt.Sprint(r.MaxOpen)
	}
	checkpoint := "no, the role may not"
	if r.Server.Checkpoint {
		checkpoint = "yes"
	}
	all := []setting{
		{"started", r.Started.Format("2006-01-02 15:04:05 MST")},
		{"operations in each run", fmt.Sprint(r.Ops)},
		{"seed of the workload", fmt.Sprint(r.Seed)},
		{"permits of the gate, and size of the waves", fmt.Sprint(r.Limit)},
		{"connections that unbounded may open", maxOpen},
		{"client", fmt.Sprintf("%d CPUs, %s, %s/%s", r.Machine.CPUs, r.Machine.Go, r.Machine.OS, r.Machine.Arch)},
		{"server", "PostgreSQL " + r.Server.Version},
		{"checkpoint before each run", checkpoint},
		{"max_connections", fmt.Sprint(r.Server.MaxConnections)},
	}
	for _, name := range slices.Sorted(maps.Keys(r.Server.Settings)) {
		all = append(all, setting{name, r.Server.Settings[name]})
	}
	seen := map[string]bool{}
	for _, run := range r.Runs {
		for _, name := range slices.Sorted(maps.Keys(run.Settings)) {
			label := fmt.Sprintf("%s in the DSN of %s, %s", name, run.Driver, run.Form)
			if !seen[label] {
				seen[label] = true
				all = append(all, setting{label, run.Settings[name]})
			}
		}
	}
	return all
}
