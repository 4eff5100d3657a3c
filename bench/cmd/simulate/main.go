// Command simulate runs the limit finders of package gate against models of a
// database server, in virtual time, and prints the table of docs/limit.md. It
// takes three minutes of CPU time.
package main

import (
	"flag"
	"fmt"
	"strings"
	"time"

	"github.com/poolgate/poolgate/bench/simulate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

var starts = []int{1, 8, 200}

func main() {
	only := flag.String("only", "", "run the scenarios whose name contains this")
	seeds := flag.Int("seeds", 3, "runs of each scenario, whose means are printed")
	aim := gate.Balanced
	flag.TextVar(&aim, "aim", gate.Balanced, "balanced, low-latency or high-throughput, for the paired probe")
	flag.Parse()
	fmt.Println("| server | from 1 | from 8 | from 200 | limit | found after, from 1 · 8 · 200 | Gradient2, from 8 | AIMD, from 8 |")
	fmt.Println("|---|---|---|---|---|---|---|---|")
	for _, s := range simulate.Scenarios() {
		if strings.Contains(s.Name, *only) {
			fmt.Println(line(s, aim, *seeds))
		}
	}
}

// line returns a line of the table.
func line(s simulate.Scenario, aim gate.Aim, seeds int) string {
	cells := []string{s.Name}
	var found []string
	center := 0.0
	for _, start := range starts {
		m := runs(s.From(start), aim, gate.NewPairedProbe, seeds)
		cells = append(cells, m.String())
		found = append(found, m.converged.Round(time.Second).String())
		center += m.center / float64(len(starts))
	}
	cells = append(cells, fmt.Sprintf("%.1f", center), strings.Join(found, " · "))
	for _, create := range []func(gate.Adaptive, int) gate.Finder{gate.NewGradient2, gate.NewAIMD} {
		cells = append(cells, runs(s.From(8), aim, create, seeds).String())
	}
	return "| " + strings.Join(cells, " | ") + " |"
}

// mean is the mean of several runs.
type mean struct {
	throughput, latency, fairness, center float64
	converged                             time.Duration
	clients                               int
}

// String returns throughput and latency, and the fairness of several gates.
func (m mean) String() string {
	if m.clients > 1 {
		return fmt.Sprintf("%.2f/%.2f (%.2f)", m.throughput, m.latency, m.fairness)
	}
	return fmt.Sprintf("%.2f/%.2f", m.throughput, m.latency)
}

func runs(s simulate.Scenario, aim gate.Aim, create func(gate.Adaptive, int) gate.Finder, seeds int) mean {
	m := mean{clients: len(s.Clients)}
	for seed := range seeds {
		s.Seed = uint64(seed + 1)
		r := simulate.Run(s, aim, create)
		n := float64(seeds)
		m.throughput += r.Throughput / n
		m.latency += r.Latency / n
		m.fairness += r.Fairness / n
		m.center += r.Center / n
		m.converged += r.Converged / time.Duration(seeds)
	}
	return m
}
