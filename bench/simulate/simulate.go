// Package simulate runs the limit finders of package gate against models of a
// database server, in virtual time: hours in a second. It drives the code that
// a gate runs, so that a constant in it is chosen by a table rather than by
// taste. The command bench/cmd/simulate prints the tables of docs/limit.md.
//
// The server shares itself equally among all statements in flight. A Capacity
// says how much work it does at a given number of them, in multiples of what one
// statement alone gets.
package simulate

import (
	"container/heap"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// Capacity is how much work a server does per second with n statements in
// flight, t after the beginning: Capacity(1, t) is 1 for a server without
// trouble.
type Capacity func(n int, t time.Duration) float64

// Demand draws how long a statement takes on a server that does nothing else.
type Demand func(r *rand.Rand) time.Duration

// A Client is one gate, with endless work behind it unless Busy says otherwise.
type Client struct {
	Demand Demand
	Start  int           // the limit that it begins with
	Skew   time.Duration // of its wall clock
	Busy   func(t time.Duration) bool
	Fixed  int // a limit that does not move, instead of the finder's
}

// A Scenario is a server and what is done to it.
type Scenario struct {
	Name     string
	Capacity Capacity
	Clients  []Client
	Noise    bool          // that of a shared machine
	Max      int           // of the finders; 0 means 200
	Overload int           // statements in flight above which the server refuses new ones; 0 means never
	For      time.Duration // how long it runs
	Settled  time.Duration // what comes before is not measured
	Seed     uint64
}

// A Result is what a finder made of a scenario.
type Result struct {
	Throughput float64 // of the best fixed limit's, while it was settled
	Latency    float64 // of what the statements would have taken alone
	Center     float64 // the mean limit of a client that it held to be right
	Fairness   float64 // Jain's index over the clients' throughput
	Converged  time.Duration
	Errors     int // statements that the server refused
	Statements int
}

// A point is the limit that a finder held to be right from a moment on.
type point struct {
	at    time.Duration
	limit int
}

var epoch = time.Date(2026, 1, 1, 0, 0, 0, 137e6, time.UTC)

type job struct {
	tag    float64 // the server's virtual time at which it is done
	demand float64 // seconds
	begun  float64
	alone  float64 // how far a statement that was always alone would have come when it began
	client *client
}

type jobs []job

func (j jobs) Len() int           { return len(j) }
func (j jobs) Less(a, b int) bool { return j[a].tag < j[b].tag }
func (j jobs) Swap(a, b int)      { j[a], j[b] = j[b], j[a] }
func (j *jobs) Push(x any)        { *j = append(*j, x.(job)) }
func (j *jobs) Pop() any {
	old := *j
	last := old[len(old)-1]
	*j = old[:len(old)-1]
	return last
}

type client struct {
	Client
	finder   gate.Finder
	limit    int
	center   int
	inFlight int
	decideAt float64
	retryAt  float64

	work       float64 // settled
	centers    float64
	centerTime float64
	last       float64 // when center was last added up
	trail      []point // of centers
}

// Run runs a finder in a scenario. New makes the finder, as gate.Adaptive's
// field Finder does.
func Run(s Scenario, aim gate.Aim, create func(gate.Adaptive, int) gate.Finder) Result {
	r := rand.New(rand.NewPCG(s.Seed, 0x9e3779b97f4a7c15))
	most := s.Max
	if most == 0 {
		most = 200
	}
	config := gate.Adaptive{Min: 1, Max: most, Aim: aim}
	clients := make([]*client, len(s.Clients))
	for i, c := range s.Clients {
		clients[i] = &client{Client: c, limit: c.Fixed, center: c.Fixed, decideAt: math.Inf(1)}
		if c.Fixed == 0 {
			clients[i].finder = create(config, c.Start)
			clients[i].decideAt = 0.001 * float64(i)
			clients[i].limit, clients[i].center = c.Start, c.Start
		}
	}
	var (
		now, virtual  float64
		settled       = s.Settled.Seconds()
		end           = s.For.Seconds()
		running       jobs
		noise         = 1.0
		noiseLog      float64
		result        Result
		sumTook       float64
		sumDemand     float64
		nextTick      = 0.0
		tickEvery     = 0.05
		possible      float64 // of the best fixed limit; filled in by best
		perJob        float64
		perJobAlone   float64
		alone         float64
		capacityStale = true
	)
	wall := func(c *client) time.Time {
		return epoch.Add(time.Duration(now*1e9) + c.Skew)
	}
	decide := func(c *client) {
		if c.finder == nil {
			return
		}
		d := c.finder.Decide(wall(c), config.Min, config.Max)
		if now > settled {
			c.centers += float64(c.center) * (now - max(c.last, settled))
			c.centerTime += now - max(c.last, settled)
		}
		c.last = now
		c.limit, c.center = max(1, min(d.Limit, most)), d.Center
		again := d.Again
		if again <= 0 {
			again = time.Second
		}
		c.decideAt = now + again.Seconds()
		c.trail = append(c.trail, point{time.Duration(now * 1e9), c.center})
	}
	admit := func(c *client) {
		for c.inFlight < c.limit && now >= c.retryAt && (c.Busy == nil || c.Busy(time.Duration(now*1e9))) {
			if s.Overload > 0 && len(running) >= s.Overload {
				result.Errors++
				if c.finder != nil {
					c.finder.Done(gate.Work{End: wall(c), Took: time.Millisecond, Failed: true, Overloaded: true, Binding: true, InFlight: c.inFlight})
					decide(c)
				}
				c.retryAt = now + 0.05
				return
			}
			d := c.Demand(r).Seconds()
			heap.Push(&running, job{tag: virtual + d, demand: d, begun: now, alone: alone, client: c})
			c.inFlight++
			capacityStale = true
		}
	}
	for now < end {
		if capacityStale {
			perJob, perJobAlone = 0, s.Capacity(1, time.Duration(now*1e9))*noise
			if n := len(running); n > 0 {
				perJob = min(1, s.Capacity(n, time.Duration(now*1e9))/float64(n)) * noise
			}
			capacityStale = false
		}
		next, kind := nextTick, 0
		if perJob > 0 {
			if at := now + (running[0].tag-virtual)/perJob; at < next {
				next, kind = at, 1
			}
		}
		var deciding *client
		for _, c := range clients {
			if c.decideAt < next {
				next, kind, deciding = c.decideAt, 2, c
			}
		}
		next = max(next, now)
		virtual += (next - now) * perJob
		alone += (next - now) * perJobAlone
		now = next
		switch kind {
		case 0:
			nextTick = now + tickEvery
			if s.Noise { // steps of 50 ms, remembered for about half a second, sigma 0.25
				noiseLog = 0.9*noiseLog + 0.11*r.NormFloat64()
				noise = math.Exp(noiseLog)
			}
			capacityStale = true
			for _, c := range clients {
				admit(c)
			}
		case 1:
			j := heap.Pop(&running).(job)
			capacityStale = true
			c := j.client
			took := now - j.begun
			result.Statements++
			if now > settled {
				sumTook += alone - j.alone
				sumDemand += j.demand
				c.work += j.demand
			}
			if c.finder != nil {
				busy := c.Busy == nil || c.Busy(time.Duration(now*1e9))
				w := gate.Work{End: wall(c), Took: time.Duration(took * 1e9), Binding: busy}
				if busy {
					w.InFlight = c.inFlight
				}
				c.finder.Done(w)
			}
			c.inFlight--
			admit(c)
		case 2:
			decide(deciding)
			admit(deciding)
		}
	}
	possible = best(s, most)
	result.Throughput = sumDemand / possible
	result.Latency = sumTook / sumDemand
	sum, squares := 0.0, 0.0
	for _, c := range clients {
		sum += c.work
		squares += c.work * c.work
		if c.centerTime > 0 {
			mean := c.centers / c.centerTime
			result.Center += mean / float64(len(clients))
		} else {
			result.Center += float64(c.center) / float64(len(clients))
		}
	}
	if squares > 0 {
		result.Fairness = sum * sum / (float64(len(clients)) * squares)
	}
	result.Converged = converged(clients[0].trail, s.Settled)
	return result
}

// converged is when the first client's center came within a third of its settled
// median for the first time.
func converged(trail []point, settled time.Duration) time.Duration {
	var late []int
	for _, p := range trail {
		if p.at >= settled {
			late = append(late, p.limit)
		}
	}
	if len(late) == 0 {
		return 0
	}
	slices.Sort(late)
	median := float64(late[len(late)/2])
	for _, p := range trail {
		if x := float64(p.limit); x >= median/1.35 && x <= median*1.35 || math.Abs(x-median) <= 1 {
			return p.at
		}
	}
	return settled
}

// best is the work that the best fixed limit gets done while it is settled.
func best(s Scenario, most int) float64 {
	const steps = 400
	highest := 0.0
	length := (s.For - s.Settled)
	bound := min(most*len(s.Clients), 2000)
	for n := 1; n <= bound; n++ {
		if s.Overload > 0 && n > s.Overload {
			break
		}
		sum := 0.0
		for i := range steps {
			t := s.Settled + length*time.Duration(i)/steps
			busy := false
			for _, c := range s.Clients {
				busy = busy || c.Busy == nil || c.Busy(t)
			}
			if busy {
				sum += min(float64(n), s.Capacity(n, t))
			}
		}
		highest = max(highest, sum/steps*length.Seconds())
	}
	if s.Noise { // the mean of exp of the noise
		highest *= math.Exp(0.11 * 0.11 / (1 - 0.81) / 2)
	}
	return highest
}
