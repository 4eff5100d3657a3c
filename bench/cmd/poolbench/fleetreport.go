package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"image/color"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/poolgate/poolgate/bench"
	"github.com/poolgate/poolgate/bench/internal/chart"
	"github.com/poolgate/poolgate/bench/scale"
)

// writeFleet creates the files of a report in a folder, which it creates too, and
// returns their names.
func writeFleet(folder string, results []*scale.Result) (files []string, err error) {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return nil, err
	}
	write := func(name string, content []byte) error {
		name = filepath.Join(folder, name)
		files = append(files, name)
		return os.WriteFile(name, content, 0o644)
	}
	text, err := json.MarshalIndent(struct {
		Ended   time.Time       `json:"ended"`
		Machine bench.Machine   `json:"machine"`
		Runs    []*scale.Result `json:"runs"`
	}{time.Now().UTC(), machine(), results}, "", "  ")
	if err != nil {
		return nil, err
	}
	if err := write("fleet.json", append(text, '\n')); err != nil {
		return files, err
	}
	for _, r := range results {
		picture, err := fleetPicture(r)
		if err != nil {
			return files, err
		}
		var svg, png bytes.Buffer
		if err := picture.SVG(&svg); err != nil {
			return files, err
		}
		if err := picture.PNG(&png); err != nil {
			return files, err
		}
		name := "fleet-" + string(r.Driver)
		if err := write(name+".svg", svg.Bytes()); err != nil {
			return files, err
		}
		if err := write(name+".png", png.Bytes()); err != nil {
			return files, err
		}
	}
	return files, nil
}

// fleetPicture draws the server's connections, and below them the shares, one on top
// of the other.
func fleetPicture(r *scale.Result) (chart.Picture, error) {
	connections := chart.New("Connections of the server")
	shares := chart.New("Shares of the members, one on top of the other")
	if r.Without {
		shares.Title.Text = "Limits of the processes, one on top of the other"
	}
	var lines []plotter.XYs // those of one that the server answered without a gap
	line := plotter.XYs{}
	end, most := 0.0, float64(r.MaxConnections)
	numbers := map[int]bool{}
	for _, s := range r.Samples {
		end = max(end, s.Seconds)
		if s.Connections < 0 {
			lines, line = append(lines, line), nil
		} else {
			line = append(line, plotter.XY{X: s.Seconds, Y: float64(s.Connections)})
			most = max(most, float64(s.Connections))
		}
		for n := range s.Shares {
			numbers[n] = true
		}
	}
	for _, xy := range append(lines, line) {
		if len(xy) == 0 {
			continue
		}
		l, err := plotter.NewLine(xy)
		if err != nil {
			return chart.Picture{}, err
		}
		l.Color, l.Width = bench.DriverColor(r.Driver), vg.Points(1.5)
		connections.Add(l)
	}
	level := func(p *chart.Panel, name string, y float64) error {
		l, err := plotter.NewLine(plotter.XYs{{X: 0, Y: y}, {X: end, Y: y}})
		if err != nil {
			return err
		}
		l.Color, l.Dashes = color.Gray{Y: 90}, []vg.Length{vg.Points(4), vg.Points(3)}
		p.Add(l)
		p.Legend.Add(fmt.Sprintf("%s: %.0f", name, y), l)
		return nil
	}
	if err := level(connections, "max_connections", float64(r.MaxConnections)); err != nil {
		return chart.Picture{}, err
	}

	under := make([]float64, len(r.Samples)) // what the members so far have together
	highest := float64(r.Budget)
	for i, n := range slices.Sorted(maps.Keys(numbers)) {
		var area plotter.XYs
		for j, s := range r.Samples {
			area = append(area, plotter.XY{X: s.Seconds, Y: under[j] + float64(s.Shares[n])})
		}
		for j := len(r.Samples) - 1; j >= 0; j-- {
			area = append(area, plotter.XY{X: r.Samples[j].Seconds, Y: under[j]})
			under[j] += float64(r.Samples[j].Shares[n])
			highest = max(highest, under[j])
		}
		polygon, err := plotter.NewPolygon(area)
		if err != nil {
			return chart.Picture{}, err
		}
		polygon.Color, polygon.LineStyle.Width = memberColor(i), 0
		shares.Add(polygon)
	}
	for _, p := range []*chart.Panel{connections, shares} {
		if err := level(p, "budget", float64(r.Budget)); err != nil {
			return chart.Picture{}, err
		}
		p.X.Label.Text = "seconds"
		chart.Linear(&p.X, end)
	}
	chart.Linear(&connections.Y, most)
	chart.Linear(&shares.Y, highest)
	return chart.Picture{
		Width:  26 * vg.Centimeter,
		Height: 9 * vg.Centimeter,
		Panels: []*chart.Panel{connections, shares},
	}, nil
}

// memberColor returns colours whose neighbours differ.
func memberColor(i int) color.Color {
	colors := []color.RGBA{
		{0x4e, 0x79, 0xa7, 255}, {0xf2, 0x8e, 0x2b, 255}, {0x59, 0xa1, 0x4f, 255}, {0xe1, 0x57, 0x59, 255},
		{0x76, 0xb7, 0xb2, 255}, {0xed, 0xc9, 0x48, 255}, {0xb0, 0x7a, 0xa1, 255}, {0x9c, 0x75, 0x5f, 255},
	}
	return colors[i%len(colors)]
}
