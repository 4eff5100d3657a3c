package tune

import (
	"math"
	"math/rand/v2"
	"slices"
)

const (
	// enough is the share of the highest throughput that a limit has to reach to
	// be recommended.
	enough = 0.95

	// flat is the share of the highest throughput that a level has to reach to
	// count for how high it is: the highest of many is high by chance too.
	flat = 0.97

	// near is within which factor resamples agree.
	near = 1.2

	// resamples is how many times the rounds are drawn again, with replacement, to
	// see how much the recommendation depends on chance: the bootstrap of B. Efron
	// (1979).
	resamples = 400
)

// A guess is what a sweep says so far about where the throughput is enough.
type guess struct {
	knee      float64 // the median of the resamples
	low, high float64 // between which 95 % of them lie
	certainty float64 // the share of them that are near
}

// recommend makes a guess from all rounds.
func recommend(levels []Level, random *rand.Rand) guess {
	rounds := len(levels[0].rounds)
	throughput := make([]float64, len(levels))
	var knees []float64
	for range resamples {
		clear(throughput)
		for range rounds {
			r := random.IntN(rounds)
			for i := range levels {
				throughput[i] += levels[i].rounds[r] / float64(rounds)
			}
		}
		knees = append(knees, kneeOf(levels, throughput))
	}
	slices.Sort(knees)
	g := guess{
		knee: knees[resamples/2],
		low:  knees[resamples*25/1000],
		high: knees[resamples-1-resamples*25/1000],
	}
	for _, k := range knees {
		if k <= near*g.knee && near*k >= g.knee {
			g.certainty += 1. / resamples
		}
	}
	return g
}

// kneeOf returns how many have to be in flight, at least, for the throughput to be
// enough. Between two levels it is on a line.
func kneeOf(levels []Level, throughput []float64) float64 {
	smooth := make([]float64, len(throughput))
	for i := range throughput {
		smooth[i] = mean(throughput[max(0, i-1):min(len(throughput), i+2)])
	}
	highest := slices.Max(smooth)
	var top []float64
	for i, x := range smooth {
		if x >= flat*highest {
			top = append(top, throughput[i])
		}
	}
	want := enough * mean(top)
	for i, x := range throughput {
		if x < want {
			continue
		}
		n := float64(levels[i].InFlight)
		if i == 0 {
			return n
		}
		before, least := throughput[i-1], float64(levels[i-1].InFlight)
		return least + (n-least)*(want-before)/(x-before)
	}
	return float64(levels[len(levels)-1].InFlight)
}

// interval returns the mean with its 95 % confidence interval.
func interval(x []float64) (m, low, high float64) {
	m = mean(x)
	if len(x) < 2 {
		return m, m, m
	}
	sum := 0.0
	for _, v := range x {
		sum += (v - m) * (v - m)
	}
	err := math.Sqrt(sum/float64(len(x)-1)/float64(len(x))) * student(len(x)-1)
	return m, m - err, m + err
}

// student returns the 97.5th percentile of Student's t distribution, by the
// expansion of Cornish and Fisher: within 1 % from 3 degrees of freedom on.
func student(degrees int) float64 {
	const z = 1.959964
	n := float64(degrees)
	z3, z5, z7 := z*z*z, z*z*z*z*z, z*z*z*z*z*z*z
	return z + (z3+z)/(4*n) + (5*z5+16*z3+3*z)/(96*n*n) + (3*z7+19*z5+17*z3-15*z)/(384*n*n*n)
}

func mean(x []float64) float64 {
	if len(x) == 0 {
		return 0
	}
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

// quantile returns the q-quantile of what is sorted; 0 if there is nothing.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[min(len(sorted)-1, int(q*float64(len(sorted))))]
}

// A Law is the universal scalability law of N. Gunther, fitted to a sweep: with
// n in flight the throughput is
//
//	λn / (1 + σ(n−1) + κn(n−1))
type Law struct {
	Lambda float64 `json:"lambda"` // operations a second of one alone
	Sigma  float64 `json:"sigma"`  // contention: the share that only one can do at a time
	Kappa  float64 `json:"kappa"`  // coherency: what each costs each other
	Peak   float64 `json:"peak"`   // in flight at the highest throughput; 0 if it only rises
	R2     float64 `json:"r2"`     // how much of the variance it explains
}

// At returns the throughput that the law predicts.
func (l Law) At(n float64) float64 {
	return l.Lambda * n / (1 + l.Sigma*(n-1) + l.Kappa*n*(n-1))
}

// fit finds the law by least squares of relative errors: n divided by the
// throughput is linear in 1/λ, σ/λ and κ/λ.
func fit(levels []Level) Law {
	fitted := leastSquares(levels, true, true)
	if fitted.Kappa < 0 {
		fitted = leastSquares(levels, true, false)
	}
	if fitted.Sigma < 0 {
		fitted = leastSquares(levels, false, fitted.Kappa > 0)
		if fitted.Kappa < 0 {
			fitted = leastSquares(levels, false, false)
		}
	}
	if fitted.Kappa > 0 && fitted.Sigma < 1 {
		fitted.Peak = math.Sqrt((1 - fitted.Sigma) / fitted.Kappa)
	}
	m, residual, total := 0.0, 0.0, 0.0
	for _, l := range levels {
		m += l.Throughput / float64(len(levels))
	}
	for _, l := range levels {
		d := l.Throughput - fitted.At(float64(l.InFlight))
		residual += d * d
		total += (l.Throughput - m) * (l.Throughput - m)
	}
	if total > 0 {
		fitted.R2 = 1 - residual/total
	}
	return fitted
}

// leastSquares solves the normal equations for the terms that are wanted.
func leastSquares(levels []Level, sigma, kappa bool) Law {
	use := []bool{true, sigma, kappa}
	var a [3][4]float64
	for _, l := range levels {
		if l.Throughput <= 0 {
			continue
		}
		n := float64(l.InFlight)
		y := n / l.Throughput
		x := [3]float64{1, n - 1, n * (n - 1)}
		for i := range 3 {
			for j := range 3 {
				if use[i] && use[j] {
					a[i][j] += x[i] * x[j] / (y * y)
				}
			}
			if use[i] {
				a[i][3] += x[i] / y
			}
		}
	}
	for i := range 3 {
		if !use[i] {
			a[i][i] = 1
		}
	}
	for i := range 3 { // Gauss and Jordan; the matrix is positive definite
		for k := range 3 {
			if k == i || a[i][i] == 0 {
				continue
			}
			by := a[k][i] / a[i][i]
			for j := range 4 {
				a[k][j] -= by * a[i][j]
			}
		}
	}
	var c [3]float64
	for i := range 3 {
		if a[i][i] != 0 {
			c[i] = a[i][3] / a[i][i]
		}
	}
	if c[0] <= 0 {
		return Law{}
	}
	return Law{Lambda: 1 / c[0], Sigma: c[1] / c[0], Kappa: c[2] / c[0]}
}
