package bench

import (
	"testing"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
)

// The label of a bar must not reach into the next one.
func TestLabelsFitTheirBars(t *testing.T) {
	font := plotter.DefaultFont
	font.Size = vg.Points(labelSize)
	style := text.Style{Font: font, Handler: plot.DefaultTextHandler}
	for _, label := range []string{"35000 failed", "1022 failed", "1234.5"} {
		if width := style.Width(label); width > vg.Points(barWidth) {
			t.Errorf("%q is %v wide, a bar %v", label, width, vg.Points(barWidth))
		}
	}
	// Nor may a group of bars reach into the next one: the axis and the legend
	// take less than a fifth of the width.
	group := vg.Points(barWidth*barPitch) * vg.Length(len(Drivers()))
	if room := panelWidth * 4 / 5 / vg.Length(len(Strategies())); group > room {
		t.Errorf("the bars of a strategy are %v wide, and have %v", group, room)
	}
}
