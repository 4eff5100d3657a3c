package bench

import (
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"time"
)

// A Report is everything that a benchmark has found out.
type Report struct {
	Started     time.Time `json:"started"`
	Interrupted bool      `json:"interrupted"` // before all runs were done

	Ops     int    `json:"ops"`
	Seed    uint64 `json:"seed"`
	Limit   int    `json:"limit"`
	MaxOpen int    `json:"max_open"`

	Machine Machine `json:"machine"`
	Server  Server  `json:"server"`

	Runs      []Run       `json:"runs"`
	Reference []Reference `json:"reference,omitempty"` // by pgbench, if asked for
}

// Machine is where the benchmark's client ran; the server too, unless the DSN
// named another.
type Machine struct {
	OS   string `json:"os"`
	Arch string `json:"arch"`
	CPUs int    `json:"cpus"` // that the client may use
	Go   string `json:"go"`
}

// NewReport returns the report of a benchmark that begins now.
func NewReport(config Config, server Server) *Report {
	return &Report{
		Started: time.Now().UTC().Truncate(time.Second),
		Ops:     config.Ops,
		Seed:    config.Seed,
		Limit:   config.Limit,
		MaxOpen: config.MaxOpen,
		Machine: Machine{runtime.GOOS, runtime.GOARCH, runtime.GOMAXPROCS(0), runtime.Version()},
		Server:  server,
		Runs:    []Run{},
	}
}

// The files that Write makes.
const (
	reportFile      = "report.json"
	connectionsFile = "connections"
	timesFile       = "times"
)

// Write writes the report and, if there is a run, its pictures into the
// folder, which is made if need be. Files of an earlier report are replaced.
func (r *Report) Write(folder string) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(folder, reportFile), append(text, '\n'), 0o644); err != nil {
		return err
	}
	if len(r.Runs) == 0 {
		return nil
	}
	if err := r.plotConnections(filepath.Join(folder, connectionsFile)); err != nil {
		return err
	}
	return r.plotTimes(filepath.Join(folder, timesFile))
}

// forms returns the forms that there are runs of, in their usual order.
func (r *Report) forms() []Form {
	var forms []Form
	for _, f := range Forms() {
		if len(r.runsOf(f)) > 0 {
			forms = append(forms, f)
		}
	}
	return forms
}

func (r *Report) runsOf(f Form) []Run {
	var runs []Run
	for _, run := range r.Runs {
		if run.Form == f {
			runs = append(runs, run)
		}
	}
	return runs
}

func (r *Report) referencesOf(f Form) []Reference {
	var references []Reference
	for _, ref := range r.Reference {
		if ref.Form == f {
			references = append(references, ref)
		}
	}
	return references
}

// best returns pgbench's best run of a form.
func (r *Report) best(f Form) (best Reference, ok bool) {
	for _, ref := range r.referencesOf(f) {
		if ref.OpsPerSecond > best.OpsPerSecond {
			best, ok = ref, true
		}
	}
	return best, ok
}
