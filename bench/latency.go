package bench

import (
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// Latency is the distribution of how long operations took, in milliseconds,
// as their caller sees it: from the start of its goroutine until the operation
// was done, waiting included. It leaves out failed operations.
type Latency struct {
	Count int     `json:"count"`
	Mean  float64 `json:"mean_ms"`
	P50   float64 `json:"p50_ms"`
	P95   float64 `json:"p95_ms"`
	P99   float64 `json:"p99_ms"`
	Max   float64 `json:"max_ms"`
}

// The histograms hold microseconds from one to an hour, within a thousandth.
const (
	leastMicros = 1
	mostMicros  = int64(time.Hour / time.Microsecond)
	digits      = 3
)

// A recorder collects durations. It is not safe for concurrent use.
type recorder struct{ histogram *hdrhistogram.Histogram }

func newRecorder() recorder {
	return recorder{hdrhistogram.New(leastMicros, mostMicros, digits)}
}

func (r recorder) record(d time.Duration) {
	micros := min(max(d.Microseconds(), leastMicros), mostMicros)
	if err := r.histogram.RecordValue(micros); err != nil {
		panic(err) // the value is within the bounds
	}
}

func (r recorder) latency() Latency {
	ms := func(micros int64) float64 { return float64(micros) / 1000 }
	h := r.histogram
	return Latency{
		Count: int(h.TotalCount()),
		Mean:  h.Mean() / 1000,
		P50:   ms(h.ValueAtPercentile(50)),
		P95:   ms(h.ValueAtPercentile(95)),
		P99:   ms(h.ValueAtPercentile(99)),
		Max:   ms(h.Max()),
	}
}
