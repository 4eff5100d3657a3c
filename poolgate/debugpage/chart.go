package debugpage

import (
	"fmt"
	"strings"
	"time"
)

// A chart is two rows of bars, one in front of the other, on the same scale, with
// a bar for each ten seconds of the last ten minutes.
type chart struct {
	Title      string
	Front      string // paths of SVG
	Back       string
	FrontLabel string
	BackLabel  string
	Most       string // what the highest bar stands for
	Alarm      bool   // what is behind is bad
}

const (
	bars      = 61 // 60 periods, and the present one
	barPeriod = 10 * time.Second
	barStep   = 5
	barWidth  = 4

	// The size of a chart, in its own units.
	chartWidth  = bars * barStep
	chartHeight = 60
)

// Charts returns the charts of the class, or none if nothing happened in the last
// ten minutes.
func (c classReport) Charts() []chart {
	var given, tried, wait50, wait99, hold50, hold99 [bars]float64
	happened := false
	for i, p := range c.History {
		x := bars - len(c.History) + i // the last is the present
		if x < 0 {
			continue
		}
		given[x], tried[x] = float64(p.Acquired), float64(p.Acquired+p.Refused)
		wait50[x], wait99[x] = float64(p.Wait.P50), float64(p.Wait.P99)
		hold50[x], hold99[x] = float64(p.Hold.P50), float64(p.Hold.P99)
		happened = happened || tried[x]+wait99[x]+hold99[x] > 0
	}
	if !happened {
		return nil
	}
	duration := func(x float64) string { return seconds(x).String() }
	return []chart{
		newChart("Callers per 10 s", &given, "admitted", &tried, "refused", func(x float64) string { return thousands(uint64(x)) }, true),
		newChart("Wait time", &wait50, "p50", &wait99, "p99", duration, false),
		newChart("Hold time", &hold50, "p50", &hold99, "p99", duration, false),
	}
}

// LimitCharts returns the charts of a limit that the gate finds by itself, or
// none if it is fixed or nothing happened in the last ten minutes.
func (r gateReport) LimitCharts(now time.Time) []chart {
	if r.Adaptive == nil || len(r.Adaptive.Periods) == 0 {
		return nil
	}
	var limit, statements, took [bars]float64
	for _, p := range r.Adaptive.Periods {
		x := bars - 1 - int(now.Truncate(barPeriod).Sub(p.Start)/barPeriod)
		if x < 0 || x >= bars {
			continue
		}
		limit[x], statements[x], took[x] = float64(p.Center), float64(p.Statements), float64(p.Took)
	}
	count := func(x float64) string { return thousands(uint64(x)) }
	return []chart{
		newChart("Limit", &limit, "found", &limit, "", count, false),
		newChart("Statements per 10 s", &statements, "ended", &statements, "", count, false),
		newChart("Statement time", &took, "mean", &took, "", func(x float64) string { return seconds(x).String() }, false),
	}
}

// newChart draws front in front of back, which is nowhere lower.
func newChart(title string, front *[bars]float64, frontLabel string, back *[bars]float64, backLabel string,
	format func(float64) string, alarm bool) chart {
	most := 0.0
	for _, y := range back {
		most = max(most, y)
	}
	return chart{
		Title: title, FrontLabel: frontLabel, BackLabel: backLabel, Most: format(most), Alarm: alarm,
		Front: barPath(front, most), Back: barPath(back, most),
	}
}

// barPath draws bars, on a scale where most is as high as the chart. A bar that is
// not 0 is at least one unit high.
func barPath(values *[bars]float64, most float64) string {
	var b strings.Builder
	for i, y := range values {
		if y > 0 {
			fmt.Fprintf(&b, "M%d %dv-%.1fh%dV%dz", i*barStep, chartHeight, max(1, y/most*chartHeight), barWidth, chartHeight)
		}
	}
	return b.String()
}
