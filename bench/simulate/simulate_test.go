package simulate

import (
	"fmt"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// The bounds are those of docs/limit.md with a little room. A run is the same
// each time, on any machine.
func TestProbe(t *testing.T) {
	bounds := map[string]struct{ throughput, latency float64 }{
		"knee at 2":                   {0.92, 1.5},
		"knee at 8":                   {0.93, 1.3},
		"knee at 32":                  {0.92, 1.2},
		"knee at 100":                 {0.91, 1.2},
		"throughput falls past 44":    {0.85, 2.2},
		"throughput falls past 14":    {0.89, 2.1},
		"bimodal, 5 % of 1 s":         {0.92, 1.3},
		"lognormal":                   {0.90, 1.3},
		"capacity drops to a third":   {0.91, 1.3},
		"failover of 20 s":            {0.91, 1.3},
		"capacity walks by 30 %":      {0.91, 1.3},
		"2 gates on one server":       {0.92, 1.3},
		"10 gates on one server":      {0.92, 1.3},
		"noise, knee at 32":           {0.88, 1.6},
		"load that comes and goes":    {0.90, 1.3},
		"5 gates, clocks 50 ms apart": {0.93, 1.3},
	}
	for _, s := range Scenarios() {
		want, ok := bounds[s.Name]
		if !ok {
			continue
		}
		for _, start := range []int{1, 8, 200} {
			if testing.Short() && start != 8 {
				continue
			}
			t.Run(fmt.Sprintf("%s, start=%d", s.Name, start), func(t *testing.T) {
				s := s.From(start)
				s.Seed = 1
				r := Run(s, gate.Balanced, gate.NewPairedProbe)
				if r.Throughput < want.throughput || r.Latency > want.latency {
					t.Errorf("%.2f of the best throughput at %.2f times the latency, want %.2f at %.2f",
						r.Throughput, r.Latency, want.throughput, want.latency)
				}
				if len(s.Clients) > 1 && r.Fairness < 0.9 {
					t.Errorf("the fairness is %.2f", r.Fairness)
				}
			})
		}
	}
}

// A fixed limit is the control: the model itself must give what can be
// computed by hand.
func TestFixedLimit(t *testing.T) {
	for limit, want := range map[int]struct{ throughput, latency float64 }{
		4:  {0.5, 1},
		8:  {1, 1},
		16: {1, 2},
	} {
		s := Scenario{
			Capacity: Knee(8),
			Clients:  []Client{{Demand: Exponential(10 * time.Millisecond), Fixed: limit}},
			For:      2 * time.Minute,
			Settled:  10 * time.Second,
			Seed:     1,
		}
		r := Run(s, gate.Balanced, nil)
		if d := r.Throughput - want.throughput; d < -0.02 || d > 0.02 {
			t.Errorf("a limit of %d gives %.3f of the best throughput, want %.2f", limit, r.Throughput, want.throughput)
		}
		if d := r.Latency - want.latency; d < -0.02 || d > 0.02 {
			t.Errorf("a limit of %d gives %.3f times the latency, want %.2f", limit, r.Latency, want.latency)
		}
	}
}
