package gate

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	t.Run("every time is in the bucket whose middle is at most 1/32 of it away", func(t *testing.T) {
		random := rand.New(rand.NewPCG(1, 1))
		last := 0
		for d := time.Duration(1); d < 73*time.Minute; d += 1 + d/time.Duration(40+random.IntN(40)) {
			bucket := bucketOf(d)
			if bucket < last || bucket > last+1 {
				t.Fatalf("%v is in bucket %d, and a shorter one in %d", d, bucket, last)
			}
			last = bucket
			if off := (middleOf(bucket) - d).Abs(); off > max(d/32, 512) {
				t.Errorf("the middle of the bucket of %v is %v away", d, off)
			}
		}
		if last != octaves*subBuckets {
			t.Errorf("the longest time is in bucket %d", last)
		}
	})

	t.Run("times out of range are in the first and the last bucket", func(t *testing.T) {
		for _, test := range []struct {
			d      time.Duration
			bucket int
		}{
			{-1, 0}, {math.MinInt64, 0}, {0, 0}, {1, 0}, {1023, 0}, {1024, 1},
			{time.Hour * 2, octaves * subBuckets}, {math.MaxInt64, octaves * subBuckets},
		} {
			if got := bucketOf(test.d); got != test.bucket {
				t.Errorf("%v is in bucket %d, want %d", test.d, got, test.bucket)
			}
		}
	})

	t.Run("percentiles of one and of two are those of all that was recorded, to 1/32", func(t *testing.T) {
		random := rand.New(rand.NewPCG(2, 2))
		for range 50 {
			var a, b histogram
			var all []time.Duration
			scale := math.Exp(random.Float64() * 20)
			for range 1 + random.IntN(300) {
				d := time.Duration(scale * 1000 * random.ExpFloat64())
				all = append(all, d)
				if random.IntN(3) == 0 {
					a.record(d)
				} else {
					b.record(d)
				}
			}
			slices.Sort(all)
			p := percentiles(&a, &b)
			for _, one := range []struct {
				percent int
				got     time.Duration
			}{{50, p.P50}, {90, p.P90}, {99, p.P99}} {
				want := all[(one.percent*len(all)+99)/100-1]
				if (one.got - want).Abs() > max(want/32, 512) {
					t.Errorf("percentile %d of %d is %v, want %v", one.percent, len(all), one.got, want)
				}
			}
			if p.Max != all[len(all)-1] {
				t.Errorf("the longest is %v, want %v", p.Max, all[len(all)-1])
			}
		}
		if p := percentiles(new(histogram), new(histogram)); p != (Percentiles{}) {
			t.Errorf("of nothing: %+v", p)
		}
	})

	t.Run("what is moved is gone from where it was", func(t *testing.T) {
		var a, b histogram
		a.record(time.Second)
		b.record(time.Hour)
		a.moveTo(&b)
		if a != (histogram{}) || percentiles(&b).Max != time.Second || b.n != 1 {
			t.Errorf("%d and %d values", a.n, b.n)
		}
		a.moveTo(&b)
		if b != (histogram{}) {
			t.Errorf("%d values", b.n)
		}
	})

	t.Run("to record allocates nothing", func(t *testing.T) {
		var h histogram
		if n := testing.AllocsPerRun(100, func() { h.record(time.Millisecond) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	})
}

func BenchmarkRecord(b *testing.B) {
	var h histogram
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		h.record(time.Duration(i) * time.Microsecond)
	}
}

func BenchmarkPercentiles(b *testing.B) {
	var x, y histogram
	x.record(time.Hour)
	y.record(time.Hour)
	b.ReportAllocs()
	for b.Loop() {
		percentiles(&x, &y)
	}
}
