package main

import (
	"context"
	"fmt"
	"image/color"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/poolgate/poolgate/bench"
	"github.com/poolgate/poolgate/bench/internal/chart"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// The phases of follow.
const (
	quiet      = time.Minute
	slow       = time.Minute
	recovered  = time.Minute
	competitor = 8 // connections that compute all the time while the server is slow
)

// A moment is what is seen in a second.
type moment struct {
	at         float64
	center     float64
	throughput float64
	hold       float64 // ms
}

// follow has the server compute something else for a minute, and draws what the
// limit does.
func follow(ctx context.Context, o options) error {
	l, err := open(ctx, o.dsn, o.work, bench.PGX, gate.Config{
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

	ctx, cancel := context.WithTimeout(ctx, quiet+slow+recovered)
	defer cancel()
	competing, release := context.WithCancel(ctx)
	defer release()
	var all sync.WaitGroup
	time.AfterFunc(quiet, func() {
		for range competitor {
			all.Go(func() {
				for competing.Err() == nil {
					_, _ = other.ExecContext(competing, cpuQuery)
				}
			})
		}
	})
	time.AfterFunc(quiet+slow, release)

	var done atomic.Int64
	for range callers {
		all.Go(func() {
			for ctx.Err() == nil {
				if err := l.operation(context.WithoutCancel(ctx)); err != nil {
					fmt.Fprintf(os.Stderr, "adaptive: %v\n", err)
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
	for _, phase := range []struct {
		name     string
		from, to time.Duration
	}{
		{"before", quiet / 2, quiet},
		{"while something else computes", quiet + slow/2, quiet + slow},
		{"after", quiet + slow + recovered/2, quiet + slow + recovered},
	} {
		var centers, throughput, hold []float64
		for _, m := range moments {
			if m.at >= phase.from.Seconds() && m.at < phase.to.Seconds() {
				centers, throughput, hold = append(centers, m.center), append(throughput, m.throughput), append(hold, m.hold)
			}
		}
		if len(centers) > 0 {
			fmt.Printf("%s: limit %.0f, %.0f a second, median statement time %.2f ms\n", phase.name, median(centers), median(throughput), median(hold))
		}
	}
	return draw(moments, o.follow)
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
		line, err := plotter.NewLine(xy)
		if err != nil {
			return err
		}
		line.Color, line.Width = series.color, vg.Points(1.5)
		p.Add(line)
		chart.Linear(&p.X, (quiet + slow + recovered).Seconds())
		chart.Linear(&p.Y, highest)
		picture.Panels = append(picture.Panels, p)
	}
	for suffix, write := range map[string]func(io.Writer) error{".svg": picture.SVG, ".png": picture.PNG} {
		file, err := os.Create(name + suffix)
		if err != nil {
			return err
		}
		if err := write(file); err != nil {
			file.Close()
			return err
		}
		if err := file.Close(); err != nil {
			return err
		}
	}
	return nil
}
