package debugpage

import (
	"encoding/json"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/petermattis/goid"

	"github.com/poolgate/poolgate/internal/goroutines"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestLastAdmitted(t *testing.T) {
	lane, old, young, untimed := holderReport{Class: gate.OutOfBandClass, Held: 9}, holderReport{Held: 8}, holderReport{Held: 3}, holderReport{}
	for _, test := range []struct {
		name    string
		holders []holderReport
		want    seconds
	}{
		{"nobody holds any more", nil, 0},
		{"only the lane does", []holderReport{lane}, 0},
		{"the last of those within the limit counts", []holderReport{lane, old, young}, 3},
		{"one that is not timed may have come just now", []holderReport{old, young, untimed}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := gateReport{Limit: 1, InFlight: 1, Waiting: 1, Holders: test.holders}
			if got := r.lastAdmitted(); got != test.want {
				t.Errorf("got %d, want %d", got, test.want)
			}
			r.notes(time.Now()) // which must do with as many
		})
	}
}

func TestSeconds(t *testing.T) {
	for _, test := range []struct {
		d    time.Duration
		text string
		json string
	}{
		{0, "0", "0"},
		{999, "1 µs", "0.000000999"},
		{1500, "1.5 µs", "0.0000015"},
		{45678, "45.7 µs", "0.000045678"},
		{999499, "999 µs", "0.000999499"},
		{999500, "1 ms", "0.0009995"},
		{9999 * time.Microsecond, "10 ms", "0.009999"},
		{12340 * time.Microsecond, "12.3 ms", "0.01234"},
		{999600 * time.Microsecond, "1 s", "0.9996"},
		{59499 * time.Millisecond, "59.5 s", "59.499"},
		{59500 * time.Millisecond, "1 min", "59.5"},
		{125 * time.Second, "2 min 5 s", "125"},
		{time.Hour - time.Nanosecond, "1 h", "3600"},
		{192 * time.Minute, "3 h 12 min", "11520"},
		{48*time.Hour - time.Nanosecond, "2 d", "172800"},
		{75 * time.Hour, "3 d 3 h", "270000"},
	} {
		t.Run(test.text, func(t *testing.T) {
			if got := seconds(test.d).String(); got != test.text {
				t.Errorf("got %q", got)
			}
			text, err := json.Marshal(seconds(test.d))
			var back float64
			if err != nil || json.Unmarshal(text, &back) != nil || !near(back, test.d.Seconds()) || test.d%time.Hour == 0 && string(text) != test.json {
				t.Errorf("got %s, %v", text, err)
			}
		})
	}
}

func near(a, b float64) bool { return a-b < 1e-9 && b-a < 1e-9 }

func TestThousands(t *testing.T) {
	for n, want := range map[any]string{0: "0", 999: "999", 1000: "1,000", -1234567: "-1,234,567", -123: "-123", uint64(123456): "123,456"} {
		if got := thousands(n); got != want {
			t.Errorf("%v is %q", n, got)
		}
	}
}

func TestCharts(t *testing.T) {
	class := func(periods ...periodReport) classReport { return classReport{History: periods} }
	busy := periodReport{Acquired: 30, Refused: 10, Wait: gate.Percentiles{P50: 2e6, P99: 8e6}, Hold: gate.Percentiles{P50: 1e9, P99: 1e9}}

	t.Run("where nothing has happened there are none", func(t *testing.T) {
		if got := class(periodReport{}, periodReport{}).Charts(); got != nil {
			t.Errorf("got %+v", got)
		}
	})
	t.Run("the present is at the right end, and bars have one scale", func(t *testing.T) {
		c := class(periodReport{}, busy, periodReport{Acquired: 4}).Charts()
		for i, want := range []struct{ most, back, front string }{
			{"40", "M295 60v-60.0h4V60zM300 60v-6.0h4V60z", "M295 60v-45.0h4V60zM300 60v-6.0h4V60z"},
			{"8 ms", "M295 60v-60.0h4V60z", "M295 60v-15.0h4V60z"},
			{"1 s", "M295 60v-60.0h4V60z", "M295 60v-60.0h4V60z"},
		} {
			if got := c[i]; got.Most != want.most || got.Back != want.back || got.Front != want.front {
				t.Errorf("chart %d: %+v", i, got)
			}
		}
	})
	t.Run("a little can be seen beside much", func(t *testing.T) {
		c := class(periodReport{Acquired: 1}, periodReport{Acquired: 1e6}).Charts()
		if !strings.HasPrefix(c[0].Front, "M295 60v-1.0h4") {
			t.Errorf("got %s", c[0].Front)
		}
	})
	t.Run("a longer history than there is room for loses its beginning", func(t *testing.T) {
		long := make([]periodReport, bars+5)
		for i := range long {
			long[i].Acquired = 1
		}
		if c := class(long...).Charts(); strings.Count(c[0].Front, "M") != bars || !strings.HasPrefix(c[0].Front, "M0 ") {
			t.Errorf("got %s", c[0].Front)
		}
	})
}

func TestFind(t *testing.T) {
	t.Run("a goroutine is found where it is, without arguments", func(t *testing.T) {
		g := find(goroutines.Take(), goid.Get())
		if g == nil || g.Ended || g.State != "running" || !strings.Contains(g.Stack, "created by testing.") || strings.Contains(g.Stack, "0x") {
			t.Errorf("got %+v", g)
		}
	})
	t.Run("a goroutine that has ended is said to have ended", func(t *testing.T) {
		if g := find(goroutines.Take(), math.MaxInt64); g == nil || !g.Ended {
			t.Errorf("got %+v", g)
		}
	})
	t.Run("a goroutine that is not known is not said to have ended", func(t *testing.T) {
		if g := find(goroutines.Take(), 0); g != nil {
			t.Errorf("got %+v", g)
		}
		if g := find(nil, 7); g != nil {
			t.Errorf("without stacks, got %+v", g)
		}
	})
}

func TestFirstFrame(t *testing.T) {
	for _, test := range []struct{ stack, want string }{
		{"", ""},
		{"main.f\n\t/src/main.go:12\n", "main.f, main.go:12"},
		{"net.(*conn).Read\n\t/go/net.go:1\nexample.com/orders.(*Store).Load\n\tC:\\src\\store.go:42\n", "orders.(*Store).Load, store.go:42"},
		{"runtime.gopark\n\t/go/proc.go:1\n", ""},
	} {
		t.Run(fmt.Sprintf("of %q", test.stack), func(t *testing.T) {
			if got := firstFrame(test.stack); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func TestSharedFrame(t *testing.T) {
	const taken = "main.load\n\t/src/main.go:12\nmain.handle\n\t/src/main.go:3\nsync.f\n\t/go/f.go:1\n"
	for _, test := range []struct{ stack, want string }{
		{"driver.read\n\t/x/read.go:1\nmain.load\n\t/src/main.go:14\n", "main.load, main.go:14"},
		{"mail.send\n\t/x/send.go:7\nmain.handle\n\t/src/main.go:5\n", "main.handle, main.go:5"},
		{"mail.send\n\t/x/send.go:7\nsync.f\n\t/go/f.go:1\n", "mail.send, send.go:7"},
	} {
		t.Run(test.want, func(t *testing.T) {
			if got := sharedFrame(test.stack, taken); got != test.want {
				t.Errorf("got %q", got)
			}
		})
	}
}
