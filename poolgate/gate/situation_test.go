package gate_test

import (
	"cmp"
	"math"
	"math/rand/v2"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// What is common to all situations: the limit, how long a hold takes on average,
// how many holds there can be in a second, and how long a request may take.
const (
	usualLimit    = 10
	usualHold     = 10 * time.Millisecond
	usualCapacity = float64(usualLimit) / 0.010
	usualDeadline = 100 * time.Millisecond
)

// A situation is a load under which a gate is compared with others.
type situation struct {
	name   string
	config gate.Config

	// requests returns those of a window, at a multiple of what can be done.
	requests func(random *rand.Rand, load float64, window time.Duration) []request

	// during changes the limiter while they come. It may be nil.
	during func(l limiter, window time.Duration)
}

// settling is how long a window is left out of the results, at its beginning and
// at its end. It is as long as the longest deadline.
const settling = 500 * time.Millisecond

// open returns requests that come at random moments, so many in a second. A
// request without a deadline or a weight gets the usual.
func open(random *rand.Rand, rate float64, window time.Duration, one func() request) (all []request) {
	for at := time.Duration(0); ; {
		at += time.Duration(random.ExpFloat64() / rate * float64(time.Second))
		if at >= window {
			return all
		}
		r := one()
		r.at = at
		r.within, r.weight = cmp.Or(r.within, usualDeadline), cmp.Or(r.weight, 1)
		r.counts = at >= settling && at < window-settling
		all = append(all, r)
	}
}

func exponential(random *rand.Rand, mean time.Duration) time.Duration {
	return time.Duration(random.ExpFloat64() * float64(mean))
}

// usual returns requests that are held for random times, on average for usualHold.
func usual(random *rand.Rand, load float64, window time.Duration) []request {
	return open(random, load*usualCapacity, window, func() request {
		return request{hold: exponential(random, usualHold)}
	})
}

// situations returns all in the order in which the table has them.
func situations() []situation {
	plain := gate.Config{Limit: usualLimit}
	return []situation{{
		name:     "exponential holds",
		config:   plain,
		requests: usual,
	}, {
		name:   "lognormal holds, σ 0.5",
		config: plain,
		requests: func(random *rand.Rand, load float64, window time.Duration) []request {
			return open(random, load*usualCapacity, window, func() request {
				return request{hold: time.Duration(float64(usualHold) * math.Exp(0.5*random.NormFloat64()-0.125))}
			})
		},
	}, {
		name:   "bimodal holds, 5 % slow",
		config: plain,
		requests: func(random *rand.Rand, load float64, window time.Duration) []request {
			return open(random, load*usualCapacity, window, func() request {
				r := request{hold: usualHold / 2, within: 2 * usualDeadline}
				if random.IntN(20) == 0 {
					r.hold += 10 * usualHold
				}
				return r
			})
		},
	}, {
		name:   "a slow hour before",
		config: plain,
		requests: func(random *rand.Rand, load float64, window time.Duration) []request {
			const hold = 5 * time.Second
			all := open(random, 0.95*usualLimit/hold.Seconds(), time.Hour, func() request {
				return request{hold: exponential(random, hold), within: 4 * hold}
			})
			for i := range all {
				all[i].counts = false
			}
			for _, r := range usual(random, load, window) {
				r.counts = r.at < window-settling // from the first on
				r.at += time.Hour + 8*hold
				all = append(all, r)
			}
			return all
		},
	}, {
		name:   "bursts after idle time", // as much at once as can be done until the deadline
		config: plain,
		requests: func(random *rand.Rand, load float64, window time.Duration) (all []request) {
			for at := time.Duration(0); at < 5*window; at += 5 * time.Second {
				for i := range int(load * usualCapacity * usualDeadline.Seconds()) {
					all = append(all, request{
						at: at + time.Duration(i)*time.Microsecond, within: usualDeadline,
						hold: exponential(random, usualHold), weight: 1, counts: true,
					})
				}
			}
			return all
		},
	}, {
		name:   "a pause each other second", // which is left out
		config: plain,
		requests: func(random *rand.Rand, load float64, window time.Duration) []request {
			all := usual(random, load, window)
			for i := range all {
				all[i].counts = all[i].counts && all[i].at%(2*time.Second) < time.Second
			}
			return all
		},
		during: func(l limiter, window time.Duration) {
			for range int(window / (2 * time.Second)) {
				time.Sleep(time.Second)
				l.pause()
				time.Sleep(time.Second)
				l.resume()
			}
		},
	}, {
		name:     "a limit that moves", // between half and three halves
		config:   plain,
		requests: usual,
		during: func(l limiter, window time.Duration) {
			for range int(window / time.Second) {
				time.Sleep(time.Second / 2)
				l.setLimit(usualLimit / 2)
				time.Sleep(time.Second / 2)
				l.setLimit(usualLimit * 3 / 2)
			}
		},
	}, {
		name: "mixed classes",
		config: gate.Config{Limit: usualLimit, Classes: []gate.Class{
			{Name: "web", Reserved: usualLimit / 2, Priority: 1}, {Name: "api"}, {Name: "batch", Priority: -1},
		}},
		requests: func(random *rand.Rand, load float64, window time.Duration) []request {
			return open(random, load*usualCapacity, window, func() request {
				r := request{class: "web", hold: exponential(random, usualHold)}
				switch random.IntN(3) {
				case 0:
					r.class = "api"
				case 1:
					r.class, r.within = "batch", 5*usualDeadline
				}
				return r
			})
		},
	}, {
		name:   "weights, 10 % of 4",
		config: plain,
		requests: func(random *rand.Rand, load float64, window time.Duration) []request {
			return open(random, load*usualCapacity/1.3, window, func() request {
				r := request{hold: exponential(random, usualHold)}
				if random.IntN(10) == 0 {
					r.weight = 4
				}
				return r
			})
		},
	}, {
		name:   "Chunked mode",
		config: gate.Config{Limit: usualLimit, Mode: gate.Chunked},
		requests: func(random *rand.Rand, load float64, window time.Duration) []request {
			return usual(random, load/2.93, window) // so much longer than the average is the longest of ten
		},
	}}
}
