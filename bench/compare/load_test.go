package compare

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A hold is what is done under a permit.
type hold struct {
	name string
	do   func()
}

var (
	nothing = hold{"nothing", func() {}}
	yield   = hold{"yield", runtime.Gosched}
	sleep   = hold{"sleep", func() { time.Sleep(100 * time.Microsecond) }}
)

// A load is many goroutines that all acquire, hold and release, over and over.
type load struct {
	goroutines int
	hold       hold

	// impatient is of how many acquires one has a context that ends after
	// patience; 0 means that none has.
	impatient int
	patience  time.Duration

	// sampled is of how many acquires one has its wait measured.
	sampled int
}

// An outcome is what became of a load.
type outcome struct {
	took   time.Duration   // from the first acquire to the last release
	cpu    time.Duration   // that the process has used meanwhile; 0 if not known
	allocs uint64          // objects
	bytes  uint64          // that these take
	waits  []time.Duration // of those that were let in, in ascending order
	gaveUp int             // how many of the impatient were not let in
	failed error           // of one that was not impatient, if any
}

// run has c carry n acquires of the load. Those before each goroutine has had
// one do not count: until then the queue is still growing.
func (l load) run(ctx context.Context, c contender, n int) outcome {
	var (
		all    outcome
		before runtime.MemStats
		cpu    time.Duration // this, before and start are set before fresh is negative
		start  time.Time
		failed atomic.Pointer[error]
		fresh  atomic.Int64 // goroutines that have not had one
		taken  atomic.Int64 // acquires that count
		gaveUp atomic.Int64
		wg     sync.WaitGroup
		waits  = make([]time.Duration, (n+l.sampled-1)/l.sampled)
	)
	fresh.Store(int64(l.goroutines))
	work := func(ctx context.Context) error {
		var came, granted time.Time
		measured := false
		hold := func() {
			if measured {
				granted = time.Now()
			}
			l.hold.do()
		}
		if err := c.do(ctx, hold); err != nil {
			return err
		}
		if fresh.Add(-1) == 0 {
			runtime.ReadMemStats(&before)
			start, cpu = time.Now(), cpuTime()
			fresh.Store(-1)
		}
		for {
			i := -1
			if fresh.Load() < 0 {
				if i = int(taken.Add(1) - 1); i >= n {
					return nil
				}
			}
			if measured = i >= 0 && i%l.sampled == 0; measured {
				came = time.Now()
			}
			if i >= 0 && l.impatient > 0 && i%l.impatient == 0 {
				ctx, cancel := context.WithTimeout(ctx, l.patience)
				if c.do(ctx, hold) != nil {
					gaveUp.Add(1)
					measured = false
				}
				cancel()
			} else if err := c.do(ctx, hold); err != nil {
				return err
			}
			if measured {
				waits[i/l.sampled] = max(1, granted.Sub(came))
			}
		}
	}
	for i := range l.goroutines {
		wg.Go(func() {
			// As a request has one, so that to wait is to wait for two things.
			ctx, cancel := context.WithCancel(ctx)
			defer cancel()
			if err := work(classOf(ctx, i)); err != nil {
				failed.Store(&err)
			}
		})
	}
	wg.Wait()
	all.took, all.cpu = time.Since(start), cpuTime()-cpu
	var after runtime.MemStats
	runtime.ReadMemStats(&after)
	all.allocs, all.bytes = after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc
	if err := failed.Load(); err != nil {
		all.failed = *err
	}
	all.gaveUp = int(gaveUp.Load())
	slices.Sort(waits)
	first, _ := slices.BinarySearch(waits, 1) // those before were not let in
	all.waits = waits[first:]
	return all
}

// quantile returns the wait that a part q of all does not exceed.
func (o outcome) quantile(q float64) time.Duration {
	return o.waits[int(q*float64(len(o.waits)-1))]
}
