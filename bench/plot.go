package bench

import (
	"fmt"
	"image/color"
	"io"
	"os"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The size of the panel that each form has in a picture; the panels are one
// below the other.
const (
	panelWidth  = 26 * vg.Centimeter
	panelHeight = 10 * vg.Centimeter
)

// Colours that those who cannot tell red from green can tell apart.
var strategyColors = map[Strategy]color.Color{
	Sequential: color.RGBA{0x00, 0x72, 0xB2, 0xFF},
	Unbounded:  color.RGBA{0xD5, 0x5E, 0x00, 0xFF},
	Semaphore:  color.RGBA{0x00, 0x9E, 0x73, 0xFF},
	Chunked:    color.RGBA{0xCC, 0x79, 0xA7, 0xFF},
}

// lineDashes tells the drivers apart where the colour tells the strategy.
var lineDashes = map[Driver][]vg.Length{
	PGX: nil,
	PQ:  {vg.Points(4), vg.Points(2)},
}

var driverColors = map[Driver]color.Color{
	PGX: color.RGBA{0x00, 0x72, 0xB2, 0xFF},
	PQ:  color.RGBA{0xE6, 0x9F, 0x00, 0xFF},
}

// plotConnections draws the server's connections over time. The runs of a form
// are on one graph, one after another as they ran.
func (r *Report) plotConnections(name string) error {
	const ground = 0.8 // a logarithmic axis has no zero
	var panels []*plot.Plot
	for _, f := range r.forms() {
		runs := r.runsOf(f)
		p := newPanel(fmt.Sprintf("Connections of the server over time, %s", f))
		p.X.Label.Text = "seconds, run after run"
		p.Y.Label.Text = "connections"
		p.Y.Scale = plot.LogScale{}
		p.Y.Tick.Marker = plot.LogTicks{Prec: -1}
		var total, begin float64
		peak := 1
		for _, run := range runs {
			total += run.Seconds
			peak = max(peak, run.PeakConnections)
		}
		gap := total / 100
		for _, run := range runs {
			line, err := plotter.NewLine(overTime(run, begin, ground))
			if err != nil {
				return fmt.Errorf("bench: drawing %s: %w", run.Case, err)
			}
			line.Color = strategyColors[run.Strategy]
			line.Dashes = lineDashes[run.Driver]
			line.Width = vg.Points(1.5)
			p.Add(line)
			p.Legend.Add(fmt.Sprintf("%s %s", run.Driver, run.Strategy), line)
			begin += run.Seconds + gap
		}
		p.X.Min, p.X.Max = 0, 1.15*begin // the legend is on the right
		p.Y.Min, p.Y.Max = ground, 2*float64(peak)
		panels = append(panels, p)
	}
	return save(panels, name)
}

// overTime returns the run's connections as points, from the ground to the
// ground.
func overTime(run Run, begin, ground float64) plotter.XYs {
	points := plotter.XYs{{X: begin, Y: ground}}
	for _, s := range run.Connections {
		points = append(points, plotter.XY{X: begin + s.Seconds, Y: max(float64(s.Total), ground)})
	}
	return append(points, plotter.XY{X: points[len(points)-1].X, Y: ground})
}

// plotTimes draws how long each run took, side by side.
func (r *Report) plotTimes(name string) error {
	var panels []*plot.Plot
	for _, f := range r.forms() {
		p := newPanel(fmt.Sprintf("Seconds for %d operations, %s", r.Ops, f))
		p.Y.Label.Text = "seconds"
		p.Y.Min = 0
		if err := r.addBars(p, f); err != nil {
			return fmt.Errorf("bench: drawing the times: %w", err)
		}
		panels = append(panels, p)
	}
	return save(panels, name)
}

// addBars adds a group of bars for each strategy, one bar for each driver.
func (r *Report) addBars(p *plot.Plot, f Form) error {
	const barWidth = 26
	place := map[Strategy]int{}
	var names []string
	seconds := map[Driver]plotter.Values{}
	for _, run := range r.runsOf(f) {
		if _, ok := place[run.Strategy]; !ok {
			place[run.Strategy] = len(names)
			names = append(names, string(run.Strategy))
		}
	}
	var drivers []Driver
	var labels plotter.XYLabels
	for _, run := range r.runsOf(f) {
		if seconds[run.Driver] == nil {
			seconds[run.Driver] = make(plotter.Values, len(names))
			drivers = append(drivers, run.Driver)
		}
		seconds[run.Driver][place[run.Strategy]] = run.Seconds
		label := fmt.Sprintf("%.1f", run.Seconds)
		if run.Errors > 0 {
			label += fmt.Sprintf("\n%d failed", run.Errors)
		}
		p.Y.Max = max(p.Y.Max, run.Seconds*1.15)
		labels.Labels = append(labels.Labels, label)
		labels.XYs = append(labels.XYs, plotter.XY{X: float64(place[run.Strategy]), Y: run.Seconds})
	}
	offset := func(d Driver) vg.Length {
		for i, other := range drivers {
			if other == d {
				return vg.Points(barWidth * 1.15 * (float64(i) - float64(len(drivers)-1)/2))
			}
		}
		return 0
	}
	for _, d := range drivers {
		bars, err := plotter.NewBarChart(seconds[d], vg.Points(barWidth))
		if err != nil {
			return err
		}
		bars.Color, bars.LineStyle.Width, bars.Offset = driverColors[d], 0, offset(d)
		p.Add(bars)
		p.Legend.Add(string(d), bars)
	}
	for i, run := range r.runsOf(f) {
		one := plotter.XYLabels{XYs: labels.XYs[i : i+1], Labels: labels.Labels[i : i+1]}
		label, err := plotter.NewLabels(one)
		if err != nil {
			return err
		}
		label.TextStyle[0].XAlign = draw.XCenter
		label.Offset = vg.Point{X: offset(run.Driver), Y: vg.Points(3)}
		p.Add(label)
	}
	if best, ok := r.best(f); ok {
		line := plotter.NewFunction(func(float64) float64 { return best.Seconds })
		line.Dashes = []vg.Length{vg.Points(3), vg.Points(3)}
		p.Add(line)
		p.Legend.Add(fmt.Sprintf("pgbench %s %d", best.Protocol, best.Clients), line)
	}
	p.NominalX(names...)
	return nil
}

func newPanel(title string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.Title.Padding = vg.Points(8)
	p.BackgroundColor = color.White
	p.Legend.Top = true
	p.Legend.Padding = vg.Points(1)
	p.Add(plotter.NewGrid())
	return p
}

// save draws the panels into name.svg and name.png.
func save(panels []*plot.Plot, name string) error {
	height := panelHeight * vg.Length(len(panels))
	for suffix, canvas := range map[string]interface {
		vg.CanvasSizer
		io.WriterTo
	}{
		".svg": vgsvg.New(panelWidth, height),
		".png": vgimg.PngCanvas{Canvas: vgimg.New(panelWidth, height)},
	} {
		var rows [][]*plot.Plot
		for _, p := range panels {
			rows = append(rows, []*plot.Plot{p})
		}
		tiles := draw.Tiles{Rows: len(rows), Cols: 1, PadY: vg.Points(12), PadRight: vg.Points(8)}
		for i, cells := range plot.Align(rows, tiles, draw.New(canvas)) {
			panels[i].Draw(cells[0])
		}
		if err := writeTo(name+suffix, canvas); err != nil {
			return err
		}
	}
	return nil
}

func writeTo(name string, content io.WriterTo) error {
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	if _, err := content.WriteTo(file); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
