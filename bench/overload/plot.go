package overload

import (
	"fmt"
	"image/color"
	"os"
	"path/filepath"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// The size of a panel. There is one for each workload, side by side.
const (
	panelWidth  = 14 * vg.Centimeter
	panelHeight = 10 * vg.Centimeter
)

// Colours that those who cannot tell red from green can tell apart.
var wayColors = map[Way]color.Color{
	Pool:      color.RGBA{0xD5, 0x5E, 0x00, 0xFF},
	Semaphore: color.RGBA{0x00, 0x72, 0xB2, 0xFF},
	Gate:      color.RGBA{0x00, 0x9E, 0x73, 0xFF},
}

func (r *Report) plot(folder string) error {
	var goodput, web []*plot.Plot
	for _, c := range r.Servers {
		if len(r.runs(c.Workload, false)) > 0 {
			p, err := r.goodputPanel(c)
			if err != nil {
				return fmt.Errorf("overload: drawing the goodput: %w", err)
			}
			goodput = append(goodput, p)
		}
		if len(r.web(c.Workload)) > 0 {
			p, err := r.webPanel(c)
			if err != nil {
				return fmt.Errorf("overload: drawing the web's latency: %w", err)
			}
			web = append(web, p)
		}
	}
	if err := save(goodput, filepath.Join(folder, "goodput.svg")); err != nil {
		return err
	}
	return save(web, filepath.Join(folder, "classes.svg"))
}

// goodputPanel draws what is answered in time over what is offered.
func (r *Report) goodputPanel(c Capability) (*plot.Plot, error) {
	p := newPanel(fmt.Sprintf("%s: answered within %v", c.Workload, r.Deadline))
	p.X.Label.Text = "offered, multiple of what the server can do"
	p.Y.Label.Text = "answered in time, of what the server can do"
	p.X.Scale, p.X.Tick.Marker = plot.LogScale{}, multiples(r.multiples(c.Workload))
	p.Y.Min, p.Y.Max = 0, 1.2
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

// webPanel draws the web's 99th percentile, alone and beside a batch.
func (r *Report) webPanel(c Capability) (*plot.Plot, error) {
	const barWidth = 18
	p := newPanel(fmt.Sprintf("%s: the web at %g×, alone and beside a batch", c.Workload, r.WebShare))
	p.Y.Label.Text = "99th percentile, ms; the deadline if more were late"
	p.Y.Min, p.Y.Max = 0, 1.25*r.Deadline.Seconds()*1000
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
	p.NominalX(names...)
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

func newPanel(title string) *plot.Plot {
	p := plot.New()
	p.Title.Text = title
	p.Title.Padding = vg.Points(8)
	p.BackgroundColor = color.White
	p.Legend.Top = true
	p.Add(plotter.NewGrid())
	return p
}

// save draws the panels side by side, if there are any.
func save(panels []*plot.Plot, name string) error {
	if len(panels) == 0 {
		return nil
	}
	canvas := vgsvg.New(panelWidth*vg.Length(len(panels)), panelHeight)
	tiles := draw.Tiles{Rows: 1, Cols: len(panels), PadX: vg.Points(16), PadRight: vg.Points(8)}
	for i, cell := range plot.Align([][]*plot.Plot{panels}, tiles, draw.New(canvas))[0] {
		panels[i].Draw(cell)
	}
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	if _, err := canvas.WriteTo(file); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
