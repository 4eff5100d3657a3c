package bench

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"html"
	"image/png"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestReport does a few runs and looks at what is printed and written of them.
func TestReport(t *testing.T) {
	b := openTest(t, Config{Ops: 60, Limit: 3, MaxOpen: 10, Seed: 5})
	report := NewReport(b.config, b.Server())
	cases := Cases(Forms(), Drivers(), []Strategy{Sequential, Semaphore})
	for _, c := range cases {
		run, err := b.Run(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		report.Runs = append(report.Runs, run)
	}
	report.Runs[1].Errors, report.Runs[1].ErrorsByKind = 3, map[string]int{"53300 too_many_connections": 3}
	report.Reference = []Reference{{PgbenchCase: PgbenchCase{Faithful, "simple", 4}, Ops: 60, Seconds: 0.5, OpsPerSecond: 120}}
	folder := filepath.Join(t.TempDir(), "new", "folder")
	files, err := report.Write(folder)
	if err != nil {
		t.Fatal(err)
	}

	t.Run("the files that it names are there, and no others", func(t *testing.T) {
		entries, err := os.ReadDir(folder)
		if err != nil || len(entries) != len(files) {
			t.Errorf("%d files, named %q, error %v", len(entries), files, err)
		}
		for _, name := range files {
			if info, err := os.Stat(name); err != nil || info.Size() == 0 {
				t.Errorf("%s: %v", name, err)
			}
		}
		if last := files[len(files)-1]; filepath.Base(last) != "report.html" {
			t.Errorf("the last is %s", last)
		}
	})

	t.Run("the page is complete and loads nothing", func(t *testing.T) {
		text, err := os.ReadFile(filepath.Join(folder, "report.html"))
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"pgx semaphore: 3 × 53300 too_many_connections", "pgx through a gate of 3", "--seed 5",
			"data:image/png;base64,", "PostgreSQL " + b.Server().Version, "102.2 s", "shared_buffers"} {
			if !strings.Contains(html.UnescapeString(string(text)), want) {
				t.Errorf("no %q", want)
			}
		}
		if match := regexp.MustCompile(`(src|href)="[^d#]|url\(|<script`).Find(text); match != nil {
			t.Errorf("it has %q", match)
		}
	})

	t.Run("report.json has what readers rely on", func(t *testing.T) {
		text, err := os.ReadFile(filepath.Join(folder, "report.json"))
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"started", "interrupted", "ops", "seed", "limit", "max_open", "machine", "server", "runs", "reference"} {
			if _, ok := got[name]; !ok {
				t.Errorf("no %q", name)
			}
		}
		runs := got["runs"].([]any)
		if len(runs) != len(cases) {
			t.Fatalf("%d runs instead of %d", len(runs), len(cases))
		}
		for i, r := range runs {
			run := r.(map[string]any)
			for _, name := range []string{"ops", "seconds", "ops_per_second", "peak_connections", "mean_connections",
				"errors", "waited_mean_ms", "worked_mean_ms", "client_cpu_seconds"} {
				if _, ok := run[name].(float64); !ok {
					t.Errorf("run %d: %s is %v", i, name, run[name])
				}
			}
			for name, want := range map[string]any{
				"driver": string(cases[i].Driver), "strategy": string(cases[i].Strategy), "form": string(cases[i].Form),
				"ops": 60.0, "verified": true,
			} {
				if run[name] != want {
					t.Errorf("run %d: %s is %v, want %v", i, name, run[name], want)
				}
			}
			if len(run["connections"].([]any)) == 0 || len(run["read"].(map[string]any)) != 6 {
				t.Errorf("run %d: connections %v, read %v", i, run["connections"], run["read"])
			}
		}
	})

	t.Run("it can be read back", func(t *testing.T) {
		text, err := os.ReadFile(filepath.Join(folder, "report.json"))
		if err != nil {
			t.Fatal(err)
		}
		var got Report
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if got.Seed != 5 || len(got.Runs) != len(cases) || got.Runs[0].Case != cases[0] {
			t.Errorf("read back: %+v", got)
		}
	})

	t.Run("the pictures are whole", func(t *testing.T) {
		for _, name := range []string{"connections", "times"} {
			picture, err := os.Open(filepath.Join(folder, name+".png"))
			if err != nil {
				t.Fatal(err)
			}
			defer picture.Close()
			if image, err := png.Decode(picture); err != nil || image.Bounds().Dx() < 500 {
				t.Errorf("%s.png: %v", name, err)
			}
			text, err := os.ReadFile(filepath.Join(folder, name+".svg"))
			if err != nil {
				t.Fatal(err)
			}
			for parser := xml.NewDecoder(bytes.NewReader(text)); ; {
				if _, err := parser.Token(); errors.Is(err, io.EOF) {
					break
				} else if err != nil {
					t.Fatalf("%s.svg: %v", name, err)
				}
			}
			for _, word := range []string{"<svg", "faithful", "idiomatic", "semaphore"} {
				if !bytes.Contains(text, []byte(word)) {
					t.Errorf("%s.svg does not mention %s", name, word)
				}
			}
		}
	})

	t.Run("the tables are aligned and complete", func(t *testing.T) {
		var out strings.Builder
		if err := report.Print(&out); err != nil {
			t.Fatal(err)
		}
		var width int
		for line := range strings.Lines(out.String()) {
			fields := strings.Fields(line)
			switch {
			case len(fields) == 0:
				width = 0
			case fields[0] == "driver":
				width = len(line)
			case width > 0 && (fields[0] == "pgx" || fields[0] == "pq" || fields[0] == "pgbench") && len(line) != width:
				t.Errorf("not aligned: %q", line)
			}
		}
		for _, want := range []string{"faithful: ", "idiomatic: ", "pgbench", "seed 5", "102.2 s",
			"pgx semaphore: 3 × 53300 too_many_connections"} {
			if !strings.Contains(out.String(), want) {
				t.Errorf("%q is not in\n%s", want, &out)
			}
		}
	})
}

func TestReportOfNoRuns(t *testing.T) {
	report := NewReport(Config{Ops: 1, Limit: 1}, Server{})
	folder := t.TempDir()
	earlier := filepath.Join(folder, "report.json")
	if err := os.WriteFile(earlier, []byte("earlier"), 0o644); err != nil {
		t.Fatal(err)
	}
	if files, err := report.Write(folder); err != nil || len(files) > 0 {
		t.Errorf("files %q, error %v", files, err)
	}
	if text, err := os.ReadFile(earlier); err != nil || string(text) != "earlier" {
		t.Errorf("the earlier report is now %q, error %v", text, err)
	}
	var out strings.Builder
	if err := report.Print(&out); err != nil {
		t.Error(err)
	}
}
