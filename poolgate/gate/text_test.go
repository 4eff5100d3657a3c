package gate_test

import (
	"encoding/json"
	"errors"
	"expvar"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestModeText(t *testing.T) {
	for _, mode := range []gate.Mode{gate.Sliding, gate.Chunked} {
		text, err := mode.MarshalText()
		if err != nil || string(text) != mode.String() {
			t.Errorf("%v is %q, %v", mode, text, err)
		}
		got := gate.Mode(7)
		if err := got.UnmarshalText(text); err != nil || got != mode {
			t.Errorf("%q is %v, %v", text, got, err)
		}
	}
	if text, err := gate.Mode(7).MarshalText(); err == nil {
		t.Errorf("an unknown mode is %q", text)
	}
	mode := gate.Chunked
	if err := mode.UnmarshalText([]byte("waves")); err == nil || mode != gate.Chunked {
		t.Errorf("an unknown text is %v, %v", mode, err)
	}
}

func TestClassText(t *testing.T) {
	for text, want := range map[string]gate.Class{
		"web":                  {Name: "web"},
		"web reserved=30":      {Name: "web", Reserved: 30},
		" web \t max=8\n":      {Name: "web", Max: 8},
		"a max_waiting=-1":     {Name: "a", MaxWaiting: gate.NoWaiting},
		"a max_wait=1m30s":     {Name: "a", MaxWait: 90 * time.Second},
		"a priority=-1 max=08": {Name: "a", Priority: -1, Max: 8},
	} {
		var got gate.Class
		if err := got.UnmarshalText([]byte(text)); err != nil || got != want {
			t.Errorf("%q is %+v, %v", text, got, err)
		}
	}
	for text, problem := range map[string]string{
		"":                             "does not begin with a name",
		"reserved=3":                   "does not begin with a name",
		"web reserved":                 "reserved",
		"web reserved=many":            "reserved",
		"web max_wait=5":               "max_wait",
		"web size=5":                   `unknown field "size"`,
		"web max=5 max=6":              "twice",
		"web max=5 reports":            `unknown field "reports"`,
		"web max=99999999999999999999": "max",
	} {
		got := gate.Class{Name: "before"}
		if err := got.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), problem) {
			t.Errorf("%q is %+v, %v", text, got, err)
		}
		if got != (gate.Class{Name: "before"}) {
			t.Errorf("%q has changed the class to %+v", text, got)
		}
	}
}

func FuzzClassText(f *testing.F) {
	f.Add("reports reserved=1 max=8 priority=-1 max_waiting=3 max_wait=5s")
	f.Fuzz(func(t *testing.T, text string) {
		var c gate.Class
		if c.UnmarshalText([]byte(text)) == nil && c.Name == "" {
			t.Error("a class without a name")
		}
	})
}

func TestFlags(t *testing.T) {
	var config gate.Config
	flags := flag.NewFlagSet("", flag.ContinueOnError)
	flags.IntVar(&config.Limit, "limit", 10, "")
	flags.TextVar(&config.Mode, "mode", gate.Sliding, "")
	flags.DurationVar(&config.MaxWait, "max-wait", 0, "")
	flags.Func("class", "", func(text string) error {
		var c gate.Class
		err := c.UnmarshalText([]byte(text))
		config.Classes = append(config.Classes, c)
		return err
	})
	err := flags.Parse([]string{"-mode=chunked", "-max-wait=2s", "-class=web reserved=4", "-class=reports max=2"})
	if err != nil || config.Mode != gate.Chunked || config.MaxWait != 2*time.Second ||
		len(config.Classes) != 2 || config.Classes[0].Reserved != 4 || config.Classes[1].Max != 2 {
		t.Errorf("got %+v, %v", config, err)
	}
	if _, err := gate.New(config); err != nil {
		t.Error(err)
	}
}

func TestStatsJSONOfAShare(t *testing.T) {
	g, err := gate.New(gate.Config{Limit: 7})
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(g.Stats())
	if err != nil || strings.Contains(string(text), "share") {
		t.Errorf("without a share: %s (%v)", text, err)
	}
	g.SetShare(3, time.Time{})
	text, err = json.Marshal(g.Stats())
	if err != nil || !strings.Contains(string(text), `"share":{"permits":3,"limit_without":7}`) {
		t.Errorf("with one: %s (%v)", text, err)
	}
	g.ReportFleet(gate.FleetStats{Budget: 40, Target: 4, Demand: 2.5, Members: 6, Active: 2, Heartbeats: 9, Failures: 1, LastError: errors.New("a secret")})
	text, err = json.Marshal(g.Stats().Share)
	want := `{"permits":3,"limit_without":7,"fleet":{"budget":40,"target":4,"demand":2.5,"members":6,"active":2,"heartbeats":9,"failures":1,"failing":true}}`
	if err != nil || string(text) != want {
		t.Errorf("of a fleet: %s (%v), want %s", text, err, want)
	}
}

func TestStatsJSON(t *testing.T) {
	g, err := gate.New(gate.Config{Limit: 2, MaxWait: 1500 * time.Millisecond, MaxWaiting: gate.NoWaiting,
		Classes: []gate.Class{{Name: "web", Reserved: 1}}})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		p, err := g.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer p.Release()
	}
	g.Acquire(t.Context()) // is refused
	read := func(text string) (got map[string]any) {
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			t.Fatal(err)
		}
		return got
	}
	got := read(expvar.Func(func() any { return g.Stats() }).String())
	if got["mode"] != "sliding" || got["in_flight"] != 2.0 || got["paused"] != false {
		t.Errorf("got %v", got)
	}
	totals := got["totals"].(map[string]any)
	if totals["acquired"] != 2.0 || totals["refused"] != 1.0 || totals["refused_by"].(map[string]any)["queue_full"] != 1.0 {
		t.Errorf("the totals are %v", totals)
	}
	classes := got["classes"].([]any)
	if len(classes) != 3 {
		t.Fatalf("%d classes, want default, web and out-of-band", len(classes))
	}
	web := classes[1].(map[string]any)
	if web["name"] != "web" || web["reserved"] != 1.0 || web["max_wait_seconds"] != 1.5 || web["wait_seconds"].(map[string]any)["p99"] != 0.0 {
		t.Errorf("the class is %v", web)
	}
}
