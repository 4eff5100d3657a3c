package compare

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// BenchmarkUncontended has one goroutine, and permits enough.
func BenchmarkUncontended(b *testing.B) {
	ctx, cancel := context.WithCancel(b.Context())
	defer cancel()
	ctx = classOf(ctx, 0)
	for _, one := range contenders {
		b.Run("by="+one.name+"/limit=4/goroutines=1/hold=nothing", func(b *testing.B) {
			c := one.make(b, 4, 1)
			defer c.close()
			b.ReportAllocs()
			for b.Loop() {
				if err := c.do(ctx, nothing.do); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkContended has many goroutines and few permits.
func BenchmarkContended(b *testing.B) {
	forEachSize(func(limit, goroutines int) {
		for _, h := range []hold{nothing, yield, sleep} {
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

// measure reports, beside the time and the allocations of an acquire and
// release, how long the waits were and how much longer the longest than the
// usual: what is unfair, or forgotten, shows there.
func measure(b *testing.B, c contender, l load) {
	// To read the clock twice for each acquire would take as long as the
	// acquire, where nobody holds a permit for long.
	if l.sampled = 8; l.hold.name == sleep.name {
		l.sampled = 1
	}
	b.ReportAllocs()
	o := l.run(b.Context(), c, b.N, b.ResetTimer, b.StopTimer)
	if o.failed != nil {
		b.Fatal(o.failed)
	}
	if len(o.waits) > 0 {
		p50, p99 := o.quantile(0.5), o.quantile(0.99)
		b.ReportMetric(float64(p50.Nanoseconds()), "p50-ns")
		b.ReportMetric(float64(p99.Nanoseconds()), "p99-ns")
		b.ReportMetric(float64(p99)/float64(p50), "p99/p50")
	}
	if l.impatient > 0 {
		b.ReportMetric(float64(o.gaveUp)/float64(b.N), "cancelled/op")
	}
}
