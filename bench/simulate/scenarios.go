package simulate

import (
	"math"
	"math/rand/v2"
	"time"
)

// Knee is a server that works on k statements side by side, and shares itself
// among more.
func Knee(k int) Capacity {
	return func(n int, _ time.Duration) float64 { return float64(min(n, k)) }
}

// Scalability is the universal scalability law: contention is the share of the
// work that only one statement can do at a time, coherency what each statement
// costs each other.
func Scalability(contention, coherency float64) Capacity {
	return func(n int, _ time.Duration) float64 {
		x := float64(n)
		return x / (1 + contention*(x-1) + coherency*x*(x-1))
	}
}

// Slower multiplies a capacity by by(t).
func Slower(c Capacity, by func(t time.Duration) float64) Capacity {
	return func(n int, t time.Duration) float64 { return c(n, t) * by(t) }
}

// Exponential draws demands with the given mean.
func Exponential(mean time.Duration) Demand {
	return func(r *rand.Rand) time.Duration { return time.Duration(r.ExpFloat64() * float64(mean)) }
}

// Bimodal draws a slow one now and then.
func Bimodal(quick, slow time.Duration, share float64) Demand {
	return func(r *rand.Rand) time.Duration {
		if r.Float64() < share {
			return slow
		}
		return time.Duration((0.5 + r.Float64()) * float64(quick))
	}
}

// Lognormal draws demands with the given median and sigma.
func Lognormal(median time.Duration, sigma float64) Demand {
	return func(r *rand.Rand) time.Duration {
		return time.Duration(float64(median) * math.Exp(sigma*r.NormFloat64()))
	}
}

func one(d Demand) []Client { return []Client{{Demand: d}} }

func several(n int, d Demand) []Client {
	all := make([]Client, n)
	for i := range all {
		all[i] = Client{Demand: d}
	}
	return all
}

// Scenarios are those of docs/limit.md. Each runs with every start.
func Scenarios() []Scenario {
	const (
		ms   = time.Millisecond
		min5 = 5 * time.Minute
	)
	ten := Exponential(10 * ms)
	dip := func(from, to time.Duration, by float64) func(time.Duration) float64 {
		return func(t time.Duration) float64 {
			if t >= from && t < to {
				return by
			}
			return 1
		}
	}
	walk := func(t time.Duration) float64 { // ±30 % by three waves that do not repeat
		x := t.Seconds()
		return 1 + 0.1*(math.Sin(x/7)+math.Sin(x/17+1)+math.Sin(x/41+2))
	}
	onOff := func(t time.Duration) bool { return int(t/(20*time.Second))%2 == 0 }
	skewed := func(d time.Duration) []Client {
		all := several(5, ten)
		for i := range all {
			all[i].Skew = d * time.Duration(i) / 4
		}
		return all
	}
	all := []Scenario{
		{Name: "knee at 2", Capacity: Knee(2), Clients: one(ten)},
		{Name: "knee at 8", Capacity: Knee(8), Clients: one(ten)},
		{Name: "knee at 32", Capacity: Knee(32), Clients: one(ten)},
		{Name: "knee at 100", Capacity: Knee(100), Clients: one(ten)},
		{Name: "throughput falls past 44", Capacity: Scalability(0.03, 0.0005), Clients: one(ten)},
		{Name: "throughput falls past 14", Capacity: Scalability(0.05, 0.005), Clients: one(ten)},
		{Name: "bimodal, 5 % of 1 s", Capacity: Knee(32), Clients: one(Bimodal(10*ms, time.Second, 0.05))},
		{Name: "lognormal", Capacity: Knee(32), Clients: one(Lognormal(10*ms, 1.5))},
		{Name: "capacity drops to a third", Capacity: Slower(Knee(32), dip(2*time.Minute, 4*time.Minute, 1./3)), Clients: one(ten), Settled: time.Minute},
		{Name: "failover of 20 s", Capacity: Slower(Knee(32), dip(3*time.Minute, 3*time.Minute+20*time.Second, 0.001)), Clients: one(ten)},
		{Name: "capacity walks by 30 %", Capacity: Slower(Knee(32), walk), Clients: one(ten)},
		{Name: "2 gates on one server", Capacity: Knee(32), Clients: several(2, ten)},
		{Name: "10 gates on one server", Capacity: Knee(64), Clients: several(10, ten)},
		{Name: "5 statements a second", Capacity: Knee(8), Clients: one(Exponential(1600 * ms)), For: 90 * time.Minute},
		{Name: "50,000 statements a second", Capacity: Knee(32), Clients: one(Exponential(640 * time.Microsecond)), For: time.Minute},
		{Name: "noise, knee at 8", Capacity: Knee(8), Clients: one(ten), Noise: true},
		{Name: "noise, knee at 32", Capacity: Knee(32), Clients: one(ten), Noise: true},
		{Name: "load that comes and goes", Capacity: Knee(32), Clients: []Client{{Demand: ten, Busy: onOff}}},
		{Name: "5 gates, clocks 50 ms apart", Capacity: Knee(32), Clients: skewed(50 * ms)},
		{Name: "5 gates, clocks 250 ms apart", Capacity: Knee(32), Clients: skewed(250 * ms)},
		{Name: "5 gates on a server with a knee at 3", Capacity: Knee(3), Clients: several(5, ten)},
		{Name: "group commit", Capacity: func(n int, _ time.Duration) float64 { return math.Pow(float64(n), 0.4) }, Clients: one(ten)},
		{Name: "statements of 5 ms and of 2 s, two gates", Capacity: Knee(32), Clients: []Client{{Demand: Exponential(5 * ms)}, {Demand: Exponential(2 * time.Second)}}, For: 40 * time.Minute},
		{Name: "foreign load of 16 that does not adapt", Capacity: Knee(32), Clients: []Client{{Demand: ten}, {Demand: ten, Fixed: 16}}},
		{Name: "the server refuses more than 50", Capacity: Knee(100), Clients: one(ten), Overload: 50},
		{Name: "slow statements of 5 s", Capacity: Knee(8), Clients: one(Exponential(5 * time.Second)), For: 4 * time.Hour},
	}
	for i := range all {
		if all[i].For == 0 {
			all[i].For = min5
		}
		if all[i].Settled == 0 {
			all[i].Settled = all[i].For * 2 / 5
		}
	}
	return all
}

// From returns s with every finder beginning at a limit of start.
func (s Scenario) From(start int) Scenario {
	all := make([]Client, len(s.Clients))
	copy(all, s.Clients)
	for i := range all {
		all[i].Start = start
	}
	s.Clients = all
	return s
}
