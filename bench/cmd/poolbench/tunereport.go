package main

import (
	"bytes"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"html/template"
	"image/color"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/poolgate/poolgate/bench"
	"github.com/poolgate/poolgate/bench/internal/chart"
	"github.com/poolgate/poolgate/bench/tune"
)

//go:embed tune.html
var tunePage string

var tuneTemplate = template.Must(template.New("tune").Funcs(template.FuncMap{
	"half": func(l tune.Level) float64 { return (l.High - l.Low) / 2 },
}).Parse(tunePage))

// tuning is what tune.json holds.
type tuning struct {
	Started   time.Time     `json:"started"`
	Server    string        `json:"server_version"`
	Statement string        `json:"statement"`
	Machine   bench.Machine `json:"machine"`
	Runs      []driverTuned `json:"runs"`
}

type driverTuned struct {
	Driver bench.Driver `json:"driver"`
	*tune.Result
}

// Notes says in sentences what a sweep has found.
func (r driverTuned) Notes() []string { return notes(r.Result) }

// write creates the files of a report in a folder, which it creates too, and
// returns their names.
func (t tuning) write(folder string) (files []string, err error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	write := func(name string, content []byte) error {
		name = filepath.Join(folder, name)
		files = append(files, name)
		return os.WriteFile(name, content, 0o644)
	}
	text, err := json.MarshalIndent(t, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := write("tune.json", append(text, '\n')); err != nil {
		return files, err
	}
	picture, err := t.picture()
	if err != nil {
		return files, err
	}
	var svg, png, page bytes.Buffer
	if err := picture.SVG(&svg); err != nil {
		return files, err
	}
	if err := picture.PNG(&png); err != nil {
		return files, err
	}
	if err := write("tune.svg", svg.Bytes()); err != nil {
		return files, err
	}
	err = tuneTemplate.Execute(&page, struct {
		tuning
		Picture template.URL
	}{t, template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(png.Bytes()))})
	if err != nil {
		return files, err
	}
	return files, write("report.html", page.Bytes())
}

func machine() bench.Machine {
	return bench.Machine{OS: runtime.GOOS, Arch: runtime.GOARCH, CPUs: runtime.GOMAXPROCS(0), Go: runtime.Version()}
}

// picture draws throughput and median time against what is in flight.
func (t tuning) picture() (chart.Picture, error) {
	throughput := chart.New("Throughput")
	throughput.Y.Label.Text = "operations a second"
	latency := chart.New("Median time of an operation")
	latency.Y.Label.Text = "milliseconds"
	mostThroughput, mostTime := 0.0, 0.0
	for _, run := range t.Runs {
		c := bench.DriverColor(run.Driver)
		var x, y plotter.XYs
		var bounds plotter.YErrors
		for _, l := range run.Levels {
			n := float64(l.InFlight)
			x = append(x, plotter.XY{X: n, Y: l.Throughput})
			y = append(y, plotter.XY{X: n, Y: l.P50})
			bounds = append(bounds, struct{ Low, High float64 }{l.Throughput - max(0, l.Low), l.High - l.Throughput})
			mostThroughput, mostTime = max(mostThroughput, l.High), max(mostTime, l.P50)
		}
		bars, err := plotter.NewYErrorBars(struct {
			plotter.XYer
			plotter.YErrorer
		}{x, bounds})
		if err != nil {
			return chart.Picture{}, err
		}
		bars.Color = c
		throughput.Add(bars)
		law := plotter.NewFunction(func(n float64) float64 { return run.Law.At(max(1, n)) })
		law.Color, law.Dashes = c, []vg.Length{vg.Points(2), vg.Points(3)}
		law.XMin, law.XMax, law.Samples = 1, x[len(x)-1].X, 300
		throughput.Add(law)
		if err := addLine(throughput, string(run.Driver), x, c); err != nil {
			return chart.Picture{}, err
		}
		throughput.Legend.Add("scalability law", law)
		if err := addLine(latency, string(run.Driver), y, c); err != nil {
			return chart.Picture{}, err
		}
		atThroughput, atTime := run.At(run.Recommended)
		for p, value := range map[*chart.Panel]float64{throughput: atThroughput, latency: atTime} {
			mark, err := plotter.NewScatter(plotter.XYs{{X: float64(run.Recommended), Y: value}})
			if err != nil {
				return chart.Picture{}, err
			}
			mark.Color, mark.Radius = c, vg.Points(6)
			p.Add(mark)
			p.Legend.Add(fmt.Sprintf("recommended: %d", run.Recommended), mark)
		}
	}
	chart.Linear(&throughput.Y, mostThroughput)
	chart.Linear(&latency.Y, mostTime)
	picture := chart.Picture{Width: 26 * vg.Centimeter, Height: 9 * vg.Centimeter}
	for _, p := range []*chart.Panel{throughput, latency} {
		p.X.Label.Text = "operations in flight"
		p.X.Scale = plot.LogScale{}
		var ticks plot.ConstantTicks
		for _, l := range t.Runs[0].Levels {
			ticks = append(ticks, plot.Tick{Value: float64(l.InFlight), Label: fmt.Sprint(l.InFlight)})
		}
		p.X.Tick.Marker = ticks
		picture.Panels = append(picture.Panels, p)
	}
	return picture, nil
}

func addLine(p *chart.Panel, name string, xy plotter.XYs, c color.Color) error {
	line, points, err := plotter.NewLinePoints(xy)
	if err != nil {
		return err
	}
	line.Color, points.Color, line.Width = c, c, vg.Points(1.5)
	p.Add(line, points)
	p.Legend.Add(name, line)
	return nil
}
