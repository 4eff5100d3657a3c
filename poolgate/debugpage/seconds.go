package debugpage

import (
	"fmt"
	"strconv"
	"time"
)

// seconds is a duration: a number of seconds in JSON, and on the page what is
// quick to read.
type seconds time.Duration

// MarshalJSON gives seconds with their fraction.
func (s seconds) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, time.Duration(s).Seconds(), 'f', -1, 64), nil
}

// String gives three digits or so: "1.23 ms", "45 s", "2 min 5 s", "3 h 12 min".
func (s seconds) String() string {
	d := time.Duration(s)
	switch {
	case d <= 0:
		return "0"
	case d < 999500*time.Nanosecond:
		return digits(float64(d)/float64(time.Microsecond)) + " µs"
	case d < 999500*time.Microsecond:
		return digits(float64(d)/float64(time.Millisecond)) + " ms"
	case d < 59500*time.Millisecond:
		return digits(d.Seconds()) + " s"
	case d < time.Hour-time.Second/2:
		return pair(d.Round(time.Second), time.Minute, "min", time.Second, "s")
	case d < 48*time.Hour-time.Minute/2:
		return pair(d.Round(time.Minute), time.Hour, "h", time.Minute, "min")
	default:
		return pair(d.Round(time.Hour), 24*time.Hour, "d", time.Hour, "h")
	}
}

// digits gives three of a number below 1,000.
func digits(x float64) string {
	decimals := 2
	switch {
	case x >= 99.95:
		decimals = 0
	case x >= 9.995:
		decimals = 1
	}
	scale := []float64{1, 10, 100}[decimals]
	return strconv.FormatFloat(float64(int(x*scale+0.5))/scale, 'f', -1, 64)
}

func pair(d, big time.Duration, bigName string, small time.Duration, smallName string) string {
	if rest := d % big / small; rest > 0 {
		return fmt.Sprintf("%d %s %d %s", d/big, bigName, rest, smallName)
	}
	return fmt.Sprintf("%d %s", d/big, bigName)
}
