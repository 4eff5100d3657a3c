package bench

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/poolgate/poolgate/bench/internal/chart"
)

// A Report is everything that a benchmark has measured.
type Report struct {
	Started     time.Time `json:"started"`
	Interrupted bool      `json:"interrupted"` // before all runs had ended

	Ops     int    `json:"ops"`
	Seed    uint64 `json:"seed"`
	Limit   int    `json:"limit"`
	MaxOpen int    `json:"max_open"`

	Machine Machine `json:"machine"`
	Server  Server  `json:"server"`

	Runs      []Run       `json:"runs"`
	Reference []Reference `json:"reference,omitempty"` // by pgbench, if asked for
}

// Machine describes where the benchmark's client ran, and the server too unless
// the DSN named another machine.
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

// The files that Write creates. The pictures are there as .svg and .png.
const (
	jsonFile        = "report.json"
	htmlFile        = "report.html"
	connectionsFile = "connections"
	timesFile       = "times"
)

// Write writes the report into the folder, which it creates if need be: as
// JSON, as pictures, and as an HTML page that has all of it. It returns the
// paths of the files, the page last, and replaces those of an earlier report. A
// report without runs is not written, and replaces nothing.
func (r *Report) Write(folder string) (files []string, err error) {
	if len(r.Runs) == 0 {
		return nil, nil
	}
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	write := func(name string, content []byte) error {
		name = filepath.Join(folder, name)
		if err := os.WriteFile(name, content, 0o644); err != nil {
			return err
		}
		files = append(files, name)
		return nil
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := write(jsonFile, append(text, '\n')); err != nil {
		return files, err
	}
	pictures, err := r.draw()
	if err != nil {
		return files, err
	}
	for _, p := range pictures {
		if err := write(p.name+".svg", p.svg); err != nil {
			return files, err
		}
		if err := write(p.name+".png", p.png); err != nil {
			return files, err
		}
	}
	var html bytes.Buffer
	if err := r.writeHTML(&html, pictures); err != nil {
		return files, err
	}
	return files, write(htmlFile, html.Bytes())
}

// A picture is drawn, in two formats.
type picture struct {
	name     string
	svg, png []byte
}

func (r *Report) draw() ([]picture, error) {
	var drawn []picture
	for _, one := range []struct {
		name string
		draw func() (chart.Picture, error)
	}{
		{timesFile, r.timesPicture},
		{connectionsFile, r.connectionsPicture},
	} {
		p, err := one.draw()
		if err != nil {
			return nil, err
		}
		var svg, png bytes.Buffer
		if err := errors.Join(p.SVG(&svg), p.PNG(&png)); err != nil {
			return nil, fmt.Errorf("bench: drawing %s: %w", one.name, err)
		}
		drawn = append(drawn, picture{one.name, svg.Bytes(), png.Bytes()})
	}
	return drawn, nil
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
