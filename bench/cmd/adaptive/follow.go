package main

import (
	"context"
	"fmt"
	"image/color"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/poolgate/poolgate/bench"
	"github.com/poolgate/poolgate/bench/internal/chart"
	"github.com/poolgate/poolgate/internal/testing/faultproxy"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

const (
	phaseLasts = time.Minute
	competitor = 8 // connections that compute all the time in the second phase
	latency    = 20 * time.Millisecond
)

// phases are what follow does to the server, one after the other.
var phases = []string{"undisturbed", "8 other connections compute", "undisturbed again", "20 ms more latency", "undisturbed at last"}

// fills are the colours of those phases in which it is slower.
var fills = []color.Color{1: color.RGBA{0xF3, 0xDD, 0xB8, 0xFF}, 3: color.RGBA{0xD6, 0xD9, 0xEE, 0xFF}}

// A moment is what is seen in a second.
type moment struct {
	at         float64
	center     float64
	throughput float64
	hold       float64 // ms
}

// follow has the server compute something else for a minute, and adds latency for
// another, and draws what the limit does.
func follow(ctx context.Context, o options) error {
	if ext := filepath.Ext(o.follow); ext != ".svg" && ext != ".png" {
		return fmt.Errorf("-follow: the name must end in .svg or .png, got %q", o.follow)
	}
	proxy, through, err := faultproxy.New(o.dsn)
	if err != nil {
		return err
	}
	defer proxy.Close()
	kind := o.work
	if strings.Contains(kind, ",") {
		kind = "cpu"
	}
	l, err := open(ctx, through, kind, bench.PGX, gate.Config{
		MaxWaiting: 2 * callers, MaxWait: time.Hour, Adaptive: &gate.Adaptive{Max: most},
	})
	if err != nil {
		return err
	}
	defer l.close()
	other, err := bench.PGX.Open(o.dsn, poolgate.Config{Gate: gate.Config{Limit: competitor}})
	if err != nil {
		return err
	}
	defer other.Close()

	ctx, cancel := context.WithTimeout(ctx, phaseLasts*time.Duration(len(phases)))
	defer cancel()
	competing, release := context.WithCancel(ctx)
	defer release()
	var all sync.WaitGroup
	for i, begin := range []func(){
		1: func() {
			for range competitor {
				all.Go(func() {
					for competing.Err() == nil {
						_, _ = other.ExecContext(competing, cpuQuery)
					}
				})
			}
		},
		2: release,
		3: func() { proxy.Delay(latency) },
		4: func() { proxy.Delay(0) },
	} {
		if begin != nil {
			defer time.AfterFunc(phaseLasts*time.Duration(i), begin).Stop()
		}
	}

	var done atomic.Int64
	var failed atomic.Pointer[error]
	for range callers {
		all.Go(func() {
			for ctx.Err() == nil {
				if err := l.operation(context.WithoutCancel(ctx)); err != nil {
					failed.CompareAndSwap(nil, &err)
					cancel()
					return
				}
				done.Add(1)
			}
		})
	}
	var moments []moment
	start := time.Now()
	second := time.NewTicker(time.Second)
	defer second.Stop()
	for ctx.Err() == nil {
		select {
		case <-second.C:
		case <-ctx.Done():
			continue
		}
		moments = append(moments, moment{
			at:         time.Since(start).Seconds(),
			center:     float64(l.db.Gate().Stats().Adaptive.Center),
			throughput: float64(done.Swap(0)),
			hold:       float64(l.holds.median()) / float64(time.Millisecond),
		})
		l.holds.reset()
	}
	all.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	for i, name := range phases {
		fmt.Println(describe(name, moments, phaseLasts.Seconds()*float64(i)))
	}
	return draw(moments, o.follow)
}

// describe says what was seen in the second half of a phase, and when the limit
// was near that for the first time.
func describe(name string, moments []moment, from float64) string {
	length := phaseLasts.Seconds()
	var centers, throughput, hold []float64
	for _, m := range moments {
		if m.at >= from+length/2 && m.at < from+length {
			centers, throughput, hold = append(centers, m.center), append(throughput, m.throughput), append(hold, m.hold)
		}
	}
	if len(centers) == 0 {
		return name + ": it was stopped before"
	}
	center := median(centers)
	found := length
	for _, m := range moments {
		if m.at >= from && m.at < from+length && (math.Abs(m.center-center) <= max(1, center/3)) {
			found = m.at - from
			break
		}
	}
	return fmt.Sprintf("%s: limit %.0f, found after %.0f s, %.0f a second, median statement time %.2f ms",
		name, center, found, median(throughput), median(hold))
}

// draw writes the picture.
func draw(moments []moment, name string) error {
	picture := chart.Picture{Width: 26 * vg.Centimeter, Height: 6 * vg.Centimeter}
	for _, series := range []struct {
		title, unit string
		of          func(moment) float64
		color       color.Color
	}{
		{"Limit", "permits", func(m moment) float64 { return m.center }, color.RGBA{0x00, 0x9E, 0x73, 0xFF}},
		{"Throughput", "a second", func(m moment) float64 { return m.throughput }, color.RGBA{0x00, 0x72, 0xB2, 0xFF}},
		{"Median statement time", "milliseconds", func(m moment) float64 { return m.hold }, color.RGBA{0xD5, 0x5E, 0x00, 0xFF}},
	} {
		p := chart.New(series.title)
		p.X.Label.Text, p.Y.Label.Text = "seconds", series.unit
		var xy plotter.XYs
		highest := 0.0
		for _, m := range moments {
			xy = append(xy, plotter.XY{X: m.at, Y: series.of(m)})
			highest = max(highest, series.of(m))
		}
		chart.Linear(&p.X, phaseLasts.Seconds()*float64(len(phases)))
		chart.Linear(&p.Y, highest)
		for i, fill := range fills {
			if fill == nil {
				continue
			}
			from, to := phaseLasts.Seconds()*float64(i), phaseLasts.Seconds()*float64(i+1)
			area, err := plotter.NewPolygon(plotter.XYs{{X: from}, {X: to}, {X: to, Y: p.Y.Max}, {X: from, Y: p.Y.Max}})
			if err != nil {
				return err
			}
			area.Color, area.LineStyle.Width = fill, 0
			p.Add(area)
			p.Legend.Add(phases[i], area)
		}
		line, err := plotter.NewLine(xy)
		if err != nil {
			return err
		}
		line.Color, line.Width = series.color, vg.Points(1.5)
		p.Add(line)
		picture.Panels = append(picture.Panels, p)
	}
	write := picture.SVG
	if filepath.Ext(name) == ".png" {
		write = picture.PNG
	}
	file, err := os.Create(name)
	if err != nil {
		return err
	}
	if err := write(file); err != nil {
		file.Close()
		return err
	}
	return file.Close()
}
