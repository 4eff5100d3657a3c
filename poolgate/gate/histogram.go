package gate

import (
	"math/bits"
	"time"
)

// A histogram is log-linear: each power of two is cut into subBuckets buckets of
// equal width, as in HdrHistogram (Tene). A value is then reported to within
// 1/32 of itself, or to half a microsecond where that is more. A histogram takes
// 2 KB, and to record a value allocates nothing.
const (
	subBits    = 4
	subBuckets = 1 << subBits

	// What is shorter than 1.024 µs is in the first bucket, what is longer
	// than 73 minutes in the last.
	leastBits = 10
	octaves   = 32
)

// Percentiles say how times are distributed, to within 4 % up to 73
// minutes; Max is exact. All
// are 0 where nothing was recorded.
type Percentiles struct{ P50, P90, P99, Max time.Duration }

type histogram struct {
	n       uint32 // of values
	max     time.Duration
	buckets [1 + octaves*subBuckets]uint32
}

func (h *histogram) record(d time.Duration) {
	h.n++
	h.max = max(h.max, d)
	h.buckets[bucketOf(d)]++
}

// moveTo makes last what h is, and h empty.
func (h *histogram) moveTo(last *histogram) {
	if h.n == 0 && last.n == 0 {
		return
	}
	*last, *h = *h, histogram{}
}

// bucketOf returns the bucket that d is in.
func bucketOf(d time.Duration) int {
	n := bits.Len64(uint64(max(d, 0)))
	if n <= leastBits {
		return 0
	}
	sub := int(d>>(n-1-subBits)) - subBuckets
	return min(1+(n-1-leastBits)*subBuckets+sub, octaves*subBuckets)
}

// middleOf returns the middle of a bucket.
func middleOf(bucket int) time.Duration {
	if bucket == 0 {
		return 1 << (leastBits - 1)
	}
	octave, sub := (bucket-1)/subBuckets, (bucket-1)%subBuckets
	width := time.Duration(1) << (leastBits + octave - subBits)
	return time.Duration(subBuckets+sub)*width + width/2
}

// percentiles returns those of all that the histograms hold together.
func percentiles(of ...*histogram) (p Percentiles) {
	n := uint64(0)
	for _, h := range of {
		n += uint64(h.n)
		p.Max = max(p.Max, h.max)
	}
	if n == 0 {
		return p
	}
	wanted := [...]struct {
		percent uint64
		at      *time.Duration
	}{{50, &p.P50}, {90, &p.P90}, {99, &p.P99}}
	next, seen := 0, uint64(0)
	for i := range of[0].buckets {
		for _, h := range of {
			seen += uint64(h.buckets[i])
		}
		for seen*100 >= wanted[next].percent*n {
			*wanted[next].at = min(middleOf(i), p.Max)
			if next++; next == len(wanted) {
				return p
			}
		}
	}
	return p
}
