// Package chart draws panels with round numbers on the axes, and with the legend
// to the right of the plot, where it covers nothing.
package chart

import (
	"fmt"
	"image/color"
	"io"
	"math"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// legendPad is the space before a legend.
const legendPad = 6 * vg.Millimeter

// A picture in SVG is shown with the fonts of the reader's machine. This one has
// the measures of Arial and Helvetica, and legends leave room for wider ones.
const (
	fontVariant   = "Sans"
	legendStretch = 1.25
)

// resolution of a PNG, in dots per inch: that of a screen with two dots for each
// pixel.
const resolution = 192

// A Panel is one plot of a picture. Its own legend is used in place of the
// plot's.
type Panel struct {
	*plot.Plot
	Legend plot.Legend
	Grid   *plotter.Grid
}

func init() {
	plot.DefaultFont.Variant = fontVariant
	plotter.DefaultFont.Variant = fontVariant
}

// New returns an empty panel with a grid.
func New(title string) *Panel {
	p := &Panel{Plot: plot.New(), Legend: plot.NewLegend(), Grid: plotter.NewGrid()}
	p.Title.Text = title
	p.Title.Padding = vg.Points(8)
	p.BackgroundColor = color.White
	p.Legend.Top, p.Legend.Left = true, true
	p.Legend.Padding = vg.Points(2)
	p.Add(p.Grid)
	return p
}

// Draw draws the panel.
func (p *Panel) Draw(c draw.Canvas) {
	legend := legendStretch*p.Legend.Rectangle(c).Size().X + legendPad
	p.Plot.Draw(draw.Crop(c, 0, -legend, 0, 0))
	width := c.Max.X - c.Min.X
	p.Legend.Draw(draw.Crop(c, width-legend+legendPad, 0, 0, -p.Title.TextStyle.Font.Size-p.Title.Padding))
}

// Picture is a canvas with panels on it: in rows, or side by side.
type Picture struct {
	Width, Height vg.Length // of each panel
	Panels        []*Panel
	SideBySide    bool
}

// SVG writes the picture as SVG.
func (p Picture) SVG(w io.Writer) error {
	canvas := vgsvg.New(p.size())
	p.draw(draw.New(canvas))
	_, err := canvas.WriteTo(w)
	return err
}

// PNG writes the picture as PNG.
func (p Picture) PNG(w io.Writer) error {
	canvas := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(p.size()), vgimg.UseDPI(resolution))}
	p.draw(draw.New(canvas))
	_, err := canvas.WriteTo(w)
	return err
}

func (p Picture) size() (width, height vg.Length) {
	n := vg.Length(len(p.Panels))
	if p.SideBySide {
		return p.Width * n, p.Height
	}
	return p.Width, p.Height * n
}

func (p Picture) draw(c draw.Canvas) {
	tiles := draw.Tiles{Rows: len(p.Panels), Cols: 1, PadY: vg.Points(14), PadRight: vg.Points(8)}
	if p.SideBySide {
		tiles = draw.Tiles{Rows: 1, Cols: len(p.Panels), PadX: vg.Points(16), PadRight: vg.Points(8)}
	}
	c.SetColor(color.White)
	c.Fill(c.Rectangle.Path())
	for i, panel := range p.Panels {
		column, row := 0, i
		if p.SideBySide {
			column, row = i, 0
		}
		panel.Draw(tiles.At(c, column, row))
	}
}

// Nominal names the places 0, 1, … of a bar chart on the x axis.
func (p *Panel) Nominal(names ...string) {
	p.NominalX(names...)
	p.X.Min, p.X.Max = -0.5, float64(len(names))-0.5
	p.Grid.Vertical.Width = 0
}

// Linear gives an axis round ticks from 0 to at least max, and ends it at the
// last of them.
func Linear(axis *plot.Axis, max float64) {
	if !(max > 0) {
		max = 1
	}
	step := Step(max)
	n := int(math.Ceil(max/step - 1e-9))
	var ticks plot.ConstantTicks
	for i := range n + 1 {
		value := float64(i) * step
		ticks = append(ticks, plot.Tick{Value: value, Label: fmt.Sprintf("%.10g", value)})
	}
	axis.Min, axis.Max, axis.Tick.Marker = 0, float64(n)*step, ticks
}

// Step returns the distance of ticks up to max, which is positive: 1, 2 or 5 times a power of ten,
// so that there are between four and ten of them.
func Step(max float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(max)))
	switch scaled := max / power; { // in [1, 10)
	case scaled <= 2:
		return power / 5
	case scaled <= 5:
		return power / 2
	}
	return power
}

// Log gives an axis a logarithmic scale from floor, which is below 1, to above
// max, with the powers of ten as labels.
func Log(axis *plot.Axis, floor, max float64) {
	axis.Scale = plot.LogScale{}
	axis.Min, axis.Max = floor, 2*max
	var ticks plot.ConstantTicks
	for power := 1.0; power <= axis.Max; power *= 10 {
		ticks = append(ticks, plot.Tick{Value: power, Label: fmt.Sprintf("%.0f", power)})
		for i := 2.0; i < 10 && i*power <= axis.Max; i++ {
			ticks = append(ticks, plot.Tick{Value: i * power})
		}
	}
	axis.Tick.Marker = ticks
}
