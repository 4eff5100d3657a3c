package chart

import (
	"fmt"
	"strings"
	"testing"

	"gonum.org/v1/plot"
)

func TestLinear(t *testing.T) {
	for _, test := range []struct {
		max  float64
		want string
	}{
		{0, "0 0.2 0.4 0.6 0.8 1"},
		{2000, "0 200 400 600 800 1000 1200 1400 1600 1800 2000"},
		{1, "0 0.2 0.4 0.6 0.8 1"},
		{0.037, "0 0.005 0.01 0.015 0.02 0.025 0.03 0.035 0.04"},
		{4.6, "0 0.5 1 1.5 2 2.5 3 3.5 4 4.5 5"},
		{13, "0 2 4 6 8 10 12 14"},
		{93.6, "0 10 20 30 40 50 60 70 80 90 100"},
		{107, "0 20 40 60 80 100 120"},
	} {
		var axis plot.Axis
		Linear(&axis, test.max)
		if got := labels(axis); got != test.want {
			t.Errorf("up to %v: %s, want %s", test.max, got, test.want)
		}
		if axis.Max < test.max || axis.Min != 0 {
			t.Errorf("up to %v: the axis goes from %v to %v", test.max, axis.Min, axis.Max)
		}
	}
}

func TestStepIsRound(t *testing.T) {
	for i := range 4000 {
		max := float64(i+1) / 7
		step := Step(max)
		if n := max / step; n < 3.9 || n > 10.1 {
			t.Fatalf("%v ticks of %v up to %v", n, step, max)
		}
		if digits := strings.Trim(fmt.Sprintf("%.6f", step), "0."); digits != "1" && digits != "2" && digits != "5" {
			t.Fatalf("ticks of %v up to %v", step, max)
		}
	}
}

func TestLog(t *testing.T) {
	var axis plot.Axis
	Log(&axis, 0.8, 1998)
	if got := labels(axis); got != "1 10 100 1000" {
		t.Errorf("labels %s", got)
	}
	if axis.Max < 1998 || axis.Min != 0.8 {
		t.Errorf("the axis goes from %v to %v", axis.Min, axis.Max)
	}
}

func labels(axis plot.Axis) string {
	var labels []string
	for _, tick := range axis.Tick.Marker.Ticks(axis.Min, axis.Max) {
		if tick.Label != "" {
			labels = append(labels, tick.Label)
		}
	}
	return strings.Join(labels, " ")
}
