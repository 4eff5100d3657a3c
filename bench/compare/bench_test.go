package compare

import (
	"fmt"
	"slices"
	"testing"
	"time"
)

// BenchmarkUncontended has one goroutine, and permits enough.
func BenchmarkUncontended(b *testing.B) {
	for _, one := range contenders {
		b.Run("by="+one.name+"/limit=4/goroutines=1/hold=nothing", func(b *testing.B) {
			c := one.make(b, 4, 1)
			defer c.close()
			measure(b, c, load{goroutines: 1, hold: nothing})
		})
	}
}

// BenchmarkContended has many goroutines and few permits.
func BenchmarkContended(b *testing.B) {
	forEachSize(func(limit, goroutines int) {
		for _, h := range []hold{nothing, yield, sleep} {
			if h.name == sleep.name && goroutines > 250*limit {
				continue // for minutes each waits for its first permit
			}
			for _, one := range contenders {
				name := fmt.Sprintf("by=%s/limit=%d/goroutines=%d/hold=%s", one.name, limit, goroutines, h.name)
				b.Run(name, func(b *testing.B) {
					c := one.make(b, limit, goroutines)
					defer c.close()
					measure(b, c, load{goroutines: goroutines, hold: h})
				})
			}
		}
	})
}

// BenchmarkCancelled is BenchmarkContended with one context in ten that ends
// before its turn has come.
func BenchmarkCancelled(b *testing.B) {
	for _, size := range []struct {
		limit, goroutines int
		hold              hold
		patience          time.Duration
	}{
		{4, 1000, sleep, time.Millisecond},
		{40, 1000, yield, 50 * time.Microsecond},
		{40, 1000, sleep, time.Millisecond},
	} {
		for _, one := range contenders {
			name := fmt.Sprintf("by=%s/limit=%d/goroutines=%d/hold=%s/cancelled=10%%", one.name, size.limit, size.goroutines, size.hold.name)
			b.Run(name, func(b *testing.B) {
				c := one.make(b, size.limit, size.goroutines)
				defer c.close()
				measure(b, c, load{goroutines: size.goroutines, hold: size.hold, impatient: 10, patience: size.patience})
			})
		}
	}
}

// forEachSize calls f with each number of permits and goroutines that are
// compared.
func forEachSize(f func(limit, goroutines int)) {
	for _, limit := range []int{4, 40, 400} {
		for _, goroutines := range []int{100, 1000, 10_000} {
			f(limit, goroutines)
		}
	}
}

// acquires is how many acquires are measured at once: enough for each goroutine
// to wait several times in a queue of full length, or to take a fraction of a
// second.
func (l load) acquires() int {
	switch {
	case l.goroutines == 1:
		return 1_000_000
	case l.hold.name == sleep.name:
		return max(2*l.goroutines, 2000)
	}
	return max(20*l.goroutines, 100_000)
}

// measure reports, for each acquire and release and not for the load as a whole,
// the time, the processor's time and the allocations, and how long the waits were and how much longer
// the longest than the usual: what is unfair, or forgotten, shows there.
func measure(b *testing.B, c contender, l load) {
	// To read the clock twice for each acquire takes as long as the acquire,
	// where nobody holds a permit for long.
	switch {
	case l.goroutines == 1:
		l.sampled = 1000
	case l.hold.name == sleep.name:
		l.sampled = 1
	default:
		l.sampled = 8
	}
	n := l.acquires()
	var all outcome
	for range b.N {
		o := l.run(b.Context(), c, n)
		if o.failed != nil {
			b.Fatal(o.failed)
		}
		all.took += o.took
		all.cpu += o.cpu
		all.allocs += o.allocs
		all.bytes += o.bytes
		all.gaveUp += o.gaveUp
		all.waits = append(all.waits, o.waits...)
	}
	slices.Sort(all.waits)
	per := func(x float64) float64 { return x / float64(n) / float64(b.N) }
	b.ReportMetric(per(float64(all.took)), "ns/op")
	if all.cpu > 0 {
		b.ReportMetric(per(float64(all.cpu)), "cpu-ns/op")
	}
	b.ReportAllocs()
	b.ReportMetric(per(float64(all.allocs)), "allocs/op")
	b.ReportMetric(per(float64(all.bytes)), "B/op")
	p50, p99 := all.quantile(0.5), all.quantile(0.99)
	b.ReportMetric(float64(p50), "p50-ns")
	b.ReportMetric(float64(p99), "p99-ns")
	b.ReportMetric(float64(p99)/float64(p50), "p99/p50")
	if l.impatient > 0 {
		b.ReportMetric(per(float64(all.gaveUp)), "cancelled/op")
	}
}
