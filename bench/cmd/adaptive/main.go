// Command adaptive compares an adaptive limit with fixed ones on a real
// PostgreSQL, which it starts. It prints the table of docs/limit.md. With -follow it
// writes a picture of how the limit follows a server that gets slower and recovers.
//
// For each kind of work and each driver it sweeps fixed limits first, see
// package tune. Then an adaptive gate and a fixed one with the best limit of
// the sweep take turns, so that both meet the same noise.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/poolgate/poolgate/bench"
	"github.com/poolgate/poolgate/bench/tune"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate/gate"
)

const (
	callers = 200 // so that somebody always waits
	most    = 100 // connections of an adaptive gate
	settle  = 40 * time.Second
	slice   = 5 * time.Second
)

type options struct {
	dsn       string
	work      string
	drivers   string
	slices    int
	processes int
	skew      time.Duration
	follow    string
	child     bool
	for_      time.Duration
}

func main() {
	var o options
	flag.StringVar(&o.dsn, "dsn", "", "server to use, with a database that may be written to; without it one is started")
	flag.StringVar(&o.work, "work", strings.Join(kinds(), ","), "kinds of work")
	flag.StringVar(&o.drivers, "drivers", "pgx,pq", "drivers")
	flag.IntVar(&o.slices, "slices", 8, "turns of each gate, of 5 s")
	flag.IntVar(&o.processes, "processes", 0, "compare so many processes with one adaptive gate each instead, on pgx")
	flag.DurationVar(&o.skew, "skew", 50*time.Millisecond, "by which the clocks of the processes differ at most")
	flag.StringVar(&o.follow, "follow", "", "write a picture of a server that gets slower and recovers, twice, to this file, .svg or .png; it takes five minutes")
	flag.BoolVar(&o.child, "child", false, "one of several processes; used by this command itself")
	flag.DurationVar(&o.for_, "for", time.Minute, "how long the processes run")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "adaptive: %v\n", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) (err error) {
	if o.child {
		return child(ctx, o)
	}
	if o.dsn == "" {
		server, err := pgserver.Start(ctx, pgserver.Config{MaxConnections: 600})
		if err != nil {
			return err
		}
		defer server.Close()
		o.dsn = server.DSN()
	}
	if err := prepare(ctx, o.dsn); err != nil {
		return err
	}
	switch {
	case o.processes > 0:
		return processes(ctx, o)
	case o.follow != "":
		return follow(ctx, o)
	}
	fmt.Println("| work | driver | best fixed limit | adaptive limit | throughput | median statement time |")
	fmt.Println("|---|---|---|---|---|---|")
	for _, kind := range strings.Split(o.work, ",") {
		for _, d := range strings.Split(o.drivers, ",") {
			line, err := compare(ctx, o, kind, bench.Driver(d))
			if err != nil {
				return fmt.Errorf("%s with %s: %w", kind, d, err)
			}
			fmt.Println(line)
		}
	}
	return nil
}

// compare returns a line of the table.
func compare(ctx context.Context, o options, kind string, d bench.Driver) (string, error) {
	swept, err := open(ctx, o.dsn, kind, d, gate.Config{Limit: most})
	if err != nil {
		return "", err
	}
	r, err := tune.Run(ctx, tune.Config{Max: 64, Longest: time.Minute, Operation: swept.operation})
	swept.close()
	if err != nil {
		return "", err
	}
	best := r.Levels[0]
	for _, l := range r.Levels {
		if l.Throughput > best.Throughput {
			best = l
		}
	}
	waits := gate.Config{MaxWaiting: 2 * callers, MaxWait: time.Hour}
	fixedConfig, adaptiveConfig := waits, waits
	fixedConfig.Limit = best.InFlight
	adaptiveConfig.Adaptive = &gate.Adaptive{Max: most}
	fixed, err := open(ctx, o.dsn, kind, d, fixedConfig)
	if err != nil {
		return "", err
	}
	defer fixed.close()
	adaptive, err := fixed.again(adaptiveConfig)
	if err != nil {
		return "", err
	}
	defer adaptive.close()
	if _, err := adaptive.press(ctx, settle); err != nil {
		return "", err
	}
	var throughput, times []float64
	for i := range o.slices {
		turn := []*load{fixed, adaptive}
		if i%2 == 1 {
			slices.Reverse(turn)
		}
		var seen [2]pressed
		for j, l := range turn {
			if seen[j], err = l.press(ctx, slice); err != nil {
				return "", err
			}
		}
		if i%2 == 1 {
			slices.Reverse(seen[:])
		}
		throughput = append(throughput, seen[1].throughput/seen[0].throughput)
		times = append(times, float64(seen[1].hold)/float64(seen[0].hold))
	}
	center := adaptive.db.Gate().Stats().Adaptive.Center
	return fmt.Sprintf("| %s | %s | %d | %d | %.2f | %.2f |", kind, d, best.InFlight, center, median(throughput), median(times)), nil
}

func median(x []float64) float64 {
	x = slices.Clone(x)
	slices.Sort(x)
	return x[len(x)/2]
}

// pressed is what a load has done for a while.
type pressed struct {
	throughput float64
	hold       time.Duration // the median time under a permit
}

// press has many callers use the load for d.
func (l *load) press(ctx context.Context, d time.Duration) (pressed, error) {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var (
		all    sync.WaitGroup
		done   atomic.Int64
		failed atomic.Pointer[error]
		ended  atomic.Bool
	)
	context.AfterFunc(ctx, func() { ended.Store(true) })
	l.holds.reset()
	start := time.Now()
	for range callers {
		all.Go(func() {
			for !ended.Load() && failed.Load() == nil {
				if err := l.operation(context.WithoutCancel(ctx)); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
				if !ended.Load() {
					done.Add(1)
				}
			}
		})
	}
	<-ctx.Done()
	elapsed := time.Since(start)
	hold := l.holds.median()
	all.Wait()
	if err := failed.Load(); err != nil {
		return pressed{}, *err
	}
	if errors.Is(ctx.Err(), context.Canceled) {
		return pressed{}, ctx.Err()
	}
	return pressed{float64(done.Load()) / elapsed.Seconds(), hold}, nil
}

// holds keeps how long permits were held.
type holds struct {
	mu  sync.Mutex // guards all
	all []time.Duration
}

func (h *holds) reset() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = h.all[:0]
}

func (h *holds) add(d time.Duration) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.all = append(h.all, d)
}

func (h *holds) median() time.Duration {
	h.mu.Lock()
	defer h.mu.Unlock()
	if len(h.all) == 0 {
		return 0
	}
	slices.Sort(h.all)
	return h.all[len(h.all)/2]
}

// A report is what one of several processes says.
type report struct {
	Throughput float64
	Hold       time.Duration
	Center     int
}

// processes runs several processes on one server, and compares all of them
// together with one that has the best fixed limit.
func processes(ctx context.Context, o options) error {
	for _, kind := range strings.Split(o.work, ",") {
		swept, err := open(ctx, o.dsn, kind, bench.PGX, gate.Config{Limit: most})
		if err != nil {
			return err
		}
		r, err := tune.Run(ctx, tune.Config{Max: 64, Longest: time.Minute, Operation: swept.operation})
		swept.close()
		if err != nil {
			return err
		}
		best := r.Levels[0]
		for _, l := range r.Levels {
			if l.Throughput > best.Throughput {
				best = l
			}
		}
		reports := make([]report, o.processes)
		var all sync.WaitGroup
		failed := make([]error, o.processes)
		for i := range o.processes {
			all.Go(func() {
				skew := time.Duration(0)
				if o.processes > 1 {
					skew = o.skew * time.Duration(i) / time.Duration(o.processes-1)
				}
				me := exec.CommandContext(ctx, os.Args[0], "-child", "-dsn", o.dsn, "-work", kind, "-skew", skew.String(), "-for", o.for_.String())
				me.Stderr = os.Stderr
				out, err := me.Output()
				if err == nil {
					err = json.Unmarshal(out, &reports[i])
				}
				failed[i] = err
			})
		}
		all.Wait()
		if err := errors.Join(failed...); err != nil {
			return err
		}
		sum, least, highest := 0.0, reports[0].Throughput, 0.0
		var times []float64
		var centers []int
		for _, r := range reports {
			sum += r.Throughput
			least, highest = min(least, r.Throughput), max(highest, r.Throughput)
			times = append(times, float64(r.Hold)/float64(time.Millisecond))
			centers = append(centers, r.Center)
		}
		fmt.Printf("%s, %d processes, clocks %v apart: %.2f of the best fixed throughput (limit %d), %.2f times its median statement time, shares %.2f to %.2f, limits %v\n",
			kind, o.processes, o.skew, sum/best.Throughput, best.InFlight, median(times)/best.P50, least/sum, highest/sum, centers)
	}
	return nil
}

// child is one of several processes.
func child(ctx context.Context, o options) error {
	config := gate.Config{MaxWaiting: 2 * callers, MaxWait: time.Hour, Adaptive: &gate.Adaptive{
		Max: most,
		Finder: func(a gate.Adaptive, start int) gate.Finder {
			return skewed{gate.NewPairedProbe(a, start), o.skew}
		},
	}}
	l, err := open(ctx, o.dsn, o.work, bench.PGX, config)
	if err != nil {
		return err
	}
	defer l.close()
	if _, err := l.press(ctx, o.for_/2); err != nil {
		return err
	}
	p, err := l.press(ctx, o.for_/2)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(report{p.throughput, p.hold, l.db.Gate().Stats().Adaptive.Center})
}

// skewed is a finder whose clock is wrong.
type skewed struct {
	gate.Finder
	by time.Duration
}

func (s skewed) Done(w gate.Work) {
	w.End = w.End.Add(s.by)
	s.Finder.Done(w)
}

func (s skewed) Decide(now time.Time, least, most int) gate.Decision {
	return s.Finder.Decide(now.Add(s.by), least, most)
}
