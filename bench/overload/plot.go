package overload

import (
	"bytes"
	"fmt"
	"image/color"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/poolgate/poolgate/bench/internal/chart"
)

// The size of a panel. There is one for each workload, side by side.
const (
	panelWidth  = 14 * vg.Centimeter
	panelHeight = 10 * vg.Centimeter
)

// Colours that people with colour-vision deficiencies can tell apart.
var wayColors = map[Way]color.Color{
	Pool:      color.RGBA{0xD5, 0x5E, 0x00, 0xFF},
	Semaphore: color.RGBA{0x00, 0x72, 0xB2, 0xFF},
	Gate:      color.RGBA{0x00, 0x9E, 0x73, 0xFF},
}

// plot draws the pictures into folder, those that there are runs for, and
// returns their paths.
func (r *Report) plot(folder string) (files []string, err error) {
	var goodput, web []*chart.Panel
	for _, c := range r.Servers {
		if len(r.runs(c.Workload, false)) > 0 {
			p, err := r.goodputPanel(c)
			if err != nil {
				return nil, fmt.Errorf("overload: drawing the goodput: %w", err)
			}
			goodput = append(goodput, p)
		}
		if len(r.web(c.Workload)) > 0 {
			p, err := r.webPanel(c)
			if err != nil {
				return nil, fmt.Errorf("overload: drawing the web's latency: %w", err)
			}
			web = append(web, p)
		}
	}
	for _, p := range []struct {
		name   string
		panels []*chart.Panel
	}{{"goodput.svg", goodput}, {"classes.svg", web}} {
		if len(p.panels) == 0 {
			continue
		}
		var svg bytes.Buffer
		if err := (chart.Picture{Width: panelWidth, Height: panelHeight, Panels: p.panels, SideBySide: true}).SVG(&svg); err != nil {
			return files, fmt.Errorf("overload: drawing %s: %w", p.name, err)
		}
		name := filepath.Join(folder, p.name)
		if err := os.WriteFile(name, svg.Bytes(), 0o644); err != nil {
			return files, err
		}
		files = append(files, name)
	}
	return files, nil
}

// goodputPanel draws what is answered in time over what is offered.
func (r *Report) goodputPanel(c Capability) (*chart.Panel, error) {
	p := chart.New(fmt.Sprintf("%s: answered within %v", c.Workload, r.Deadline))
	p.X.Label.Text = "offered, multiple of what the server can do"
	p.Y.Label.Text = "answered in time, of what the server can do"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, multiples(r.multiples(c.Workload))
	chart.Linear(&p.Y, 1.2)
	for _, way := range r.Ways {
		var points plotter.XYs
		for _, run := range r.runs(c.Workload, false) {
			if run.Way == way {
				points = append(points, plotter.XY{X: run.Multiple, Y: run.Requests[0].Goodput / c.Throughput})
			}
		}
		line, dots, err := plotter.NewLinePoints(points)
		if err != nil {
			return nil, err
		}
		line.Color, dots.Color = wayColors[way], wayColors[way]
		line.Width, dots.Shape = vg.Points(2), draw.CircleGlyph{}
		p.Add(line, dots)
		p.Legend.Add(string(way), line)
	}
	return p, nil
}

// webPanel draws the web's 99th percentile, alone and together with a batch.
func (r *Report) webPanel(c Capability) (*chart.Panel, error) {
	const barWidth = 18
	p := chart.New(fmt.Sprintf("%s: the web at %g×, alone and together with a batch", c.Workload, r.WebShare))
	p.Y.Label.Text = "99th percentile, ms; the deadline if more were late"
	chart.Linear(&p.Y, 1.1*r.Deadline.Seconds()*1000)
	var names []string
	values := map[Way]plotter.Values{}
	for _, one := range r.web(c.Workload) {
		if one.way == r.Ways[0] {
			name := fmt.Sprintf("%g× in all", one.multiple)
			if one.alone {
				name = "alone"
			}
			names = append(names, name)
		}
		values[one.way] = append(values[one.way], one.p99)
	}
	for i, way := range r.Ways {
		bars, err := plotter.NewBarChart(values[way], vg.Points(barWidth))
		if err != nil {
			return nil, err
		}
		bars.Color, bars.LineStyle.Width = wayColors[way], 0
		bars.Offset = vg.Points(1.15 * barWidth * (float64(i) - float64(len(r.Ways)-1)/2))
		p.Add(bars)
		p.Legend.Add(string(way), bars)
		labels := plotter.XYLabels{}
		for x, y := range values[way] {
			labels.XYs = append(labels.XYs, plotter.XY{X: float64(x), Y: y})
			labels.Labels = append(labels.Labels, fmt.Sprintf("%.0f", y))
		}
		text, err := plotter.NewLabels(labels)
		if err != nil {
			return nil, err
		}
		for j := range text.TextStyle {
			text.TextStyle[j].XAlign = draw.XCenter
		}
		text.Offset = vg.Point{X: bars.Offset, Y: vg.Points(2)}
		p.Add(text)
	}
	p.Nominal(names...)
	return p, nil
}

// multiples are ticks at the rates that were offered.
func multiples(rates []float64) plot.ConstantTicks {
	var ticks plot.ConstantTicks
	for _, m := range rates {
		ticks = append(ticks, plot.Tick{Value: m, Label: fmt.Sprintf("%g", m)})
	}
	return ticks
}

func (r *Report) multiples(w Workload) []float64 {
	var all []float64
	for _, run := range r.runs(w, false) {
		if len(all) == 0 || all[len(all)-1] != run.Multiple {
			all = append(all, run.Multiple)
		}
	}
	return all
}
