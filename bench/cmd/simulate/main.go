// Command simulate runs the limit finders of package gate against models of a
// database server in virtual time, and prints the table of docs/limit.md.
package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/poolgate/poolgate/bench/simulate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func main() {
	only := flag.String("only", "", "run the scenarios whose name contains this")
	seeds := flag.Int("seeds", 3, "runs of each scenario, of which the means are printed")
	aim := gate.Balanced
	flag.TextVar(&aim, "aim", gate.Balanced, "balanced, low-latency or high-throughput, for the paired probe")
	which := flag.String("finder", "", "only this finder: probe, gradient2 or aimd")
	flag.Parse()
	finders := []struct {
		name string
		make func(gate.Adaptive, int) gate.Finder
	}{
		{"probe", gate.NewPairedProbe},
		{"gradient2", gate.NewGradient2},
		{"aimd", gate.NewAIMD},
	}
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "scenario\tfinder\tstart 1\tstart 8\tstart 200\tcenter\tconverged from 1 · 8 · 200")
	for _, s := range simulate.Scenarios() {
		if !strings.Contains(s.Name, *only) {
			continue
		}
		for _, f := range finders {
			if *which != "" && f.name != *which {
				continue
			}
			fmt.Fprintf(w, "%s\t%s", s.Name, f.name)
			var took []string
			center := 0.0
			for _, start := range []int{1, 8, 200} {
				var throughput, latency, fairness, converged float64
				for seed := range *seeds {
					s := s.From(start)
					s.Seed = uint64(seed + 1)
					r := simulate.Run(s, aim, f.make)
					throughput += r.Throughput / float64(*seeds)
					latency += r.Latency / float64(*seeds)
					fairness += r.Fairness / float64(*seeds)
					converged += r.Converged.Seconds() / float64(*seeds)
					center += r.Center / float64(3**seeds)
				}
				fair := ""
				if len(s.Clients) > 1 {
					fair = fmt.Sprintf(" (%.2f)", fairness)
				}
				fmt.Fprintf(w, "\t%.2f/%.2f%s", throughput, latency, fair)
				took = append(took, time.Duration(converged*float64(time.Second)).Round(time.Second).String())
			}
			fmt.Fprintf(w, "\t%.1f\t%s\n", center, strings.Join(took, " · "))
		}
	}
	w.Flush()
}
