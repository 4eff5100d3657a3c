package bench

import (
	"fmt"
	"image/color"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/poolgate/poolgate/bench/internal/chart"
)

// The size of the panel that each form has in a picture; the panels are one
// below the other.
const (
	panelWidth  = 33 * vg.Centimeter
	panelHeight = 10 * vg.Centimeter
)

// The bars and their labels, in points. A bar is wider than "35000 failed".
const (
	barWidth  = 44
	barPitch  = 1.1 // from one to the next, in bars
	labelSize = 7
)

// Colours that people with colour-vision deficiencies can tell apart.
var strategyColors = map[Strategy]color.Color{
	Sequential: color.RGBA{0x00, 0x72, 0xB2, 0xFF},
	Unbounded:  color.RGBA{0xD5, 0x5E, 0x00, 0xFF},
	Semaphore:  color.RGBA{0x00, 0x9E, 0x73, 0xFF},
	Chunked:    color.RGBA{0xCC, 0x79, 0xA7, 0xFF},
	Adaptive:   color.RGBA{0x56, 0xB4, 0xE9, 0xFF},
}

// lineDashes distinguishes the drivers where the colour stands for the strategy.
var lineDashes = map[Driver][]vg.Length{
	PGX: nil,
	PQ:  {vg.Points(4), vg.Points(2)},

	PGXPool: {vg.Points(1), vg.Points(2)},
}

var driverColors = map[Driver]color.Color{
	PGX: color.RGBA{0x00, 0x72, 0xB2, 0xFF},
	PQ:  color.RGBA{0xE6, 0x9F, 0x00, 0xFF},

	PGXPool: color.RGBA{0x00, 0x9E, 0x73, 0xFF},
}

// connectionsPicture draws the server's connections over time. The runs of a
// form are on one graph, one after another as they ran.
func (r *Report) connectionsPicture() (chart.Picture, error) {
	const ground = 0.8 // a logarithmic axis has no zero
	picture := chart.Picture{Width: panelWidth, Height: panelHeight}
	for _, f := range r.forms() {
		runs := r.runsOf(f)
		p := chart.New(fmt.Sprintf("Connections of the server over time, %s", f))
		p.X.Label.Text = "seconds, run after run"
		p.Y.Label.Text = "connections"
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
				return picture, fmt.Errorf("bench: drawing %s: %w", run.Case, err)
			}
			line.Color = strategyColors[run.Strategy]
			line.Dashes = lineDashes[run.Driver]
			line.Width = vg.Points(1.5)
			p.Add(line)
			p.Legend.Add(fmt.Sprintf("%s %s", run.Driver, run.Strategy), line)
			begin += run.Seconds + gap
		}
		chart.Linear(&p.X, begin)
		chart.Log(&p.Y, ground, float64(peak))
		picture.Panels = append(picture.Panels, p)
	}
	return picture, nil
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

// timesPicture draws how long each run took, side by side.
func (r *Report) timesPicture() (chart.Picture, error) {
	picture := chart.Picture{Width: panelWidth, Height: panelHeight}
	for _, f := range r.forms() {
		p := chart.New(fmt.Sprintf("Seconds for %d operations, %s", r.Ops, f))
		p.Y.Label.Text = "seconds"
		if err := r.addBars(p, f); err != nil {
			return picture, fmt.Errorf("bench: drawing the times: %w", err)
		}
		picture.Panels = append(picture.Panels, p)
	}
	return picture, nil
}

// addBars adds a group of bars for each strategy, one bar for each driver.
func (r *Report) addBars(p *chart.Panel, f Form) error {
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
	longest := 0.0
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
		longest = max(longest, run.Seconds)
		labels.Labels = append(labels.Labels, label)
		labels.XYs = append(labels.XYs, plotter.XY{X: float64(place[run.Strategy]), Y: run.Seconds})
	}
	offset := func(d Driver) vg.Length {
		for i, other := range drivers {
			if other == d {
				return vg.Points(barWidth * barPitch * (float64(i) - float64(len(drivers)-1)/2))
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
		label.TextStyle[0].Font.Size = vg.Points(labelSize)
		label.Offset = vg.Point{X: offset(run.Driver), Y: vg.Points(3)}
		p.Add(label)
	}
	if best, ok := r.best(f); ok {
		line := plotter.NewFunction(func(float64) float64 { return best.Seconds })
		line.Dashes = []vg.Length{vg.Points(3), vg.Points(3)}
		p.Add(line)
		p.Legend.Add(fmt.Sprintf("pgbench %s %d", best.Protocol, best.Clients), line)
	}
	chart.Linear(&p.Y, longest*1.15) // with room for the labels
	p.Nominal(names...)
	return nil
}
