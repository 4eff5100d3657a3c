package debugpage_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate/debugpage"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

// newGate returns a gate that must have nothing out and nobody waiting when
// the test ends.
func newGate(t testing.TB, config gate.Config) *gate.Gate {
	t.Helper()
	g, err := gate.New(config)
	must(t, err)
	t.Cleanup(func() { nothingHeld(t, g) })
	return g
}

func nothingHeld(t testing.TB, g *gate.Gate) {
	t.Helper()
	if s := g.Stats(); s.InFlight != 0 || s.Waiting != 0 || s.OutOfBand.InFlight != 0 {
		t.Errorf("left behind: %d permits in flight, %d out of band, %d waiters", s.InFlight, s.OutOfBand.InFlight, s.Waiting)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func acquire(t testing.TB, g *gate.Gate, r gate.Request) gate.Permit {
	t.Helper()
	p, err := g.AcquireWith(context.Background(), r)
	must(t, err)
	return p
}

// only is the page of one gate.
func only(name string, g *gate.Gate) http.Handler {
	return debugpage.New(map[string]*gate.Gate{name: g})
}

func ask(h http.Handler, method, target, accept string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, target, nil)
	if accept != "" {
		r.Header.Set("Accept", accept)
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func get(t testing.TB, h http.Handler, target string) string {
	t.Helper()
	w := ask(h, "GET", target, "")
	if w.Code != 200 {
		t.Fatalf("GET %s: %d %s", target, w.Code, w.Body)
	}
	return w.Body.String()
}

// A told is what the JSON tells, as somebody else would read it.
type told struct {
	Time  time.Time
	Gates []struct {
		Name       string
		Mode       string
		Limit      int
		InFlight   int `json:"in_flight"`
		Waiting    int
		OldestWait float64 `json:"oldest_wait_seconds"`
		Shadow     bool
		Paused     bool
		Stopped    bool
		Notes      []struct {
			Alarm bool
			Text  string
		}
		Totals  toldCounts
		Classes []struct {
			Name       string
			Waiting    int
			InFlight   int     `json:"in_flight"`
			OldestWait float64 `json:"oldest_wait_seconds"`
			Totals     toldCounts
			Wait       struct{ P50, P99, Max float64 } `json:"wait_seconds"`
			Hold       struct{ P50, P99, Max float64 } `json:"hold_seconds"`
			History    []struct {
				Start                     time.Time
				Acquired, Waited, Refused int
				Wait                      struct{ P50, P99, Max float64 } `json:"wait_seconds"`
			}
		}
		Holders []struct {
			Class     string
			Weight    int
			Held      float64 `json:"held_seconds"`
			Leaked    bool
			Goroutine int64
			Statement string
			Stack     string
			Now       *struct {
				Ended bool
				State string
				Stack string
			}
		}
	}
}

type toldCounts struct {
	Acquired, Waited, Refused, Canceled, Leaked int
	RefusedBy                                   map[string]int `json:"refused_by"`
}

func tell(t testing.TB, h http.Handler, query string) (all told) {
	t.Helper()
	must(t, json.Unmarshal([]byte(get(t, h, "/?format=json"+query)), &all))
	return all
}
