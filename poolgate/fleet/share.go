package fleet

import (
	"hash/fnv"
	"math"
	"slices"
)

// reserve is the part of the budget that is kept back for members that join:
// with none they starve, and with twice as much they do not fare better.
const reserve = 0.05

// A claim is what a member wants.
type claim struct {
	demand, min, weight float64
}

// fairLevel returns the level λ of weighted max-min fairness: each member gets
// the lower of its demand and λ times its weight, and at least its minimum, and
// together they get the budget. It is infinite if all demands fit.
func fairLevel(claims []claim, budget float64) float64 {
	sum := func(level float64) float64 {
		all := 0.0
		for _, c := range claims {
			all += max(c.min, min(c.demand, c.weight*level))
		}
		return all
	}
	if sum(math.Inf(1)) <= budget {
		return math.Inf(1)
	}
	// The sum is piecewise linear in λ. It bends where a member leaves its
	// minimum, and where it has what it wants.
	bends := make([]float64, 0, 2*len(claims)+1)
	bends = append(bends, 0)
	for _, c := range claims {
		bends = append(bends, c.min/c.weight, c.demand/c.weight)
	}
	slices.Sort(bends)
	i, _ := slices.BinarySearchFunc(bends, budget, func(bend, budget float64) int {
		if sum(bend) < budget {
			return -1
		}
		return 1
	})
	if i == 0 {
		return 0
	}
	if i == len(bends) {
		return bends[len(bends)-1]
	}
	low, high := bends[i-1], bends[i]
	atLow, atHigh := sum(low), sum(high)
	if atHigh == atLow {
		return low
	}
	return low + (high-low)*(budget-atLow)/(atHigh-atLow)
}

// hasChanged reports whether a fair level is another one than before, by a tenth.
func hasChanged(before, now float64) bool {
	if math.IsInf(before, 1) || math.IsInf(now, 1) {
		return before != now
	}
	return math.Abs(now-before) > max(now, before)/10
}

// A part is what is fair for a member.
type part struct {
	target int     // connections
	level  float64 // see fairLevel
	turn   float64 // seconds until its turn comes or ends; 0 if it needs none
}

// fair returns what a member should have of the budget. Fractions of permits go by
// turns of a minute, by the store's clock, where there are more members than permits.
func fair(v View, key string, own claim, budget, limit int) part {
	spendable := (1 - reserve) * float64(budget)
	claims := []claim{own}
	keys := []string{key}
	minima := own.min
	for _, m := range v.Members {
		if m.Key == key {
			continue
		}
		c := claim{m.Demand, float64(m.Min), m.Weight}
		if c.weight <= 0 {
			c.weight = 1
		}
		claims, keys = append(claims, c), append(keys, m.Key)
		minima += c.min
	}
	scale := 1.0
	if minima > spendable {
		scale = spendable / minima
	}
	for i := range claims {
		claims[i].min *= scale
	}
	level := fairLevel(claims, spendable)
	x := max(claims[0].min, min(own.demand, own.weight*level))
	p := part{level: level}
	if math.IsInf(level, 1) {
		p.target = int(math.Ceil(x))
		return p
	}
	turn := place(keys, claims, level)
	if 0 < x && x < 1 {
		turn = math.Mod(turn+v.Tick/turnSeconds, 1)
		p.turn = (1 - turn) * turnSeconds
		if x+turn < 1 {
			p.turn -= x * turnSeconds
		}
	}
	p.target = int(math.Floor(x + turn))
	if limit == p.target+1 && x+turn+hysteresis >= float64(limit) { // no back and forth for a hair
		p.target = limit
	}
	return p
}

// turnSeconds is how long it takes until a member's turn comes again.
const turnSeconds = 60

// hysteresis is small, since all members together keep as much for each of them
// out of the reserve.
const hysteresis = 0.01

// place returns where the first key is among those of members that want more than
// they get, in [0, 1). They are ordered by their hashes and evenly spread, so that
// the shares, which are whole numbers, add up to the budget, and one member more or
// less moves the places of the others only a little.
func place(keys []string, claims []claim, level float64) float64 {
	own := unit(keys[0])
	before, all := 0, 1
	for i, c := range claims[1:] {
		if c.demand <= c.weight*level {
			continue
		}
		all++
		if u := unit(keys[i+1]); u < own || u == own && keys[i+1] < keys[0] {
			before++
		}
	}
	return (float64(before) + 0.5) / float64(all)
}

// unit spreads keys over [0, 1).
func unit(key string) float64 {
	h := fnv.New64a()
	h.Write([]byte(key))
	return float64(h.Sum64()>>11) / (1 << 53)
}
