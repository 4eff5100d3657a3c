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
		"knee at 2":                   {0.92, 1.4},
		"knee at 8":                   {0.94, 1.2},
		"knee at 32":                  {0.94, 1.15},
		"knee at 100":                 {0.93, 1.15},
		"throughput falls past 44":    {0.84, 2.1},
		"throughput falls past 14":    {0.88, 2},
		"bimodal, 5 % of 1 s":         {0.94, 1.15},
		"lognormal":                   {0.91, 1.25},
		"capacity drops to a third":   {0.94, 1.15},
		"failover of 20 s":            {0.93, 1.15},
		"capacity walks by 30 %":      {0.94, 1.2},
		"2 gates on one server":       {0.94, 1.15},
		"10 gates on one server":      {0.95, 1.2},
		"noise, knee at 32":           {0.9, 1.3},
		"load that comes and goes":    {0.93, 1.15},
		"5 gates, clocks 50 ms apart": {0.95, 1.2},
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
