package debugpage_test

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate/debugpage"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestHandler(t *testing.T) {
	t.Run("nothing but GET and HEAD is answered, and nothing changes the gate", func(t *testing.T) {
		g := newGate(t, gate.Config{Limit: 3})
		defer acquire(t, g, gate.Request{}).Release()
		h := only("orders", g)
		before := g.Stats()
		for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"} {
			w := ask(h, method, "/?limit=1&pause=1", "")
			if w.Code != 405 || w.Header().Get("Allow") != "GET, HEAD" || strings.Contains(w.Body.String(), "orders") {
				t.Errorf("%s: %d %v %q", method, w.Code, w.Header(), w.Body)
			}
		}
		for _, method := range []string{"GET", "HEAD"} {
			if w := ask(h, method, "/?limit=1&pause=1&goroutines=show", ""); w.Code != 200 {
				t.Errorf("%s: %d", method, w.Code)
			}
		}
		if after := g.Stats(); !reflect.DeepEqual(before, after) {
			t.Errorf("was %+v\nis %+v", before, after)
		}
	})

	t.Run("the form is what was asked for", func(t *testing.T) {
		h := only("orders", newGate(t, gate.Config{Limit: 3}))
		for _, test := range []struct{ target, accept, want string }{
			{"/", "", "text/html; charset=utf-8"},
			{"/", "*/*", "text/html; charset=utf-8"},
			{"/", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html; charset=utf-8"},
			{"/", "application/json", "application/json"},
			{"/", "application/json, text/html;q=0.5", "text/html; charset=utf-8"},
			{"/?format=json", "text/html", "application/json"},
			{"/?format=html", "application/json", "text/html; charset=utf-8"},
			{"/debug/poolgate?format=json", "", "application/json"},
		} {
			w := ask(h, "GET", test.target, test.accept)
			if got := w.Header().Get("Content-Type"); w.Code != 200 || got != test.want || w.Header().Get("Vary") != "Accept" {
				t.Errorf("%s, %q: %d %v", test.target, test.accept, w.Code, w.Header())
			}
		}
	})

	t.Run("what cannot be asked for is refused, and not repeated", func(t *testing.T) {
		h := only("orders", newGate(t, gate.Config{Limit: 3}))
		for _, query := range []string{"format=<b>xml", "refresh=<b>", "refresh=0", "refresh=-1", "refresh=3601", "goroutines=<b>"} {
			w := ask(h, "GET", "/?"+query, "")
			if w.Code != 400 || strings.Contains(w.Body.String(), "<b>") || !strings.HasPrefix(w.Header().Get("Content-Type"), "text/plain") {
				t.Errorf("%s: %d %v %q", query, w.Code, w.Header(), w.Body)
			}
		}
	})

	t.Run("the page refreshes as often as the request says", func(t *testing.T) {
		h := only("orders", newGate(t, gate.Config{Limit: 3}))
		for query, want := range map[string]string{
			"": "5", "refresh=30": "30", "refresh=off": "", "goroutines=show": "", "goroutines=show&refresh=60": "60", "format=json": "",
		} {
			if got := ask(h, "GET", "/?"+query, "").Header().Get("Refresh"); got != want {
				t.Errorf("%q: %q, want %q", query, got, want)
			}
		}
	})

	t.Run("a HEAD has the header of the GET, by real HTTP", func(t *testing.T) {
		server := httptest.NewServer(only("orders", newGate(t, gate.Config{Limit: 3})))
		defer server.Close()
		response, err := server.Client().Head(server.URL + "/debug/poolgate?refresh=7")
		must(t, err)
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil || len(body) > 0 || response.StatusCode != 200 || response.ContentLength < 1000 || response.Header.Get("Refresh") != "7" {
			t.Errorf("%q, %v, %+v", body, err, response)
		}
	})

	t.Run("a browser is told to run no script, load nothing, and use one style", func(t *testing.T) {
		w := ask(only("orders", newGate(t, gate.Config{Limit: 3})), "GET", "/", "")
		policy, body := w.Header().Get("Content-Security-Policy"), w.Body.String()
		_, rest, _ := strings.Cut(body, "<style>")
		style, _, found := strings.Cut(rest, "</style>")
		sum := sha256.Sum256([]byte(style))
		for _, part := range []string{
			"default-src 'none'", "frame-ancestors 'none'", "style-src 'sha256-" + base64.StdEncoding.EncodeToString(sum[:]) + "';",
		} {
			if !found || !strings.Contains(policy, part) {
				t.Errorf("no %s in %s", part, policy)
			}
		}
		if strings.Contains(policy, "unsafe") || strings.Contains(policy, "script-src") {
			t.Errorf("got %s", policy)
		}
		if bad := regexp.MustCompile(`(?i)<script|\sstyle=|\son\w+=|https?://|url\(|ZgotmplZ`).FindString(body); bad != "" {
			t.Errorf("the page has a %q", bad)
		}
		if w.Header().Get("X-Content-Type-Options") != "nosniff" || w.Header().Get("Cache-Control") != "no-store" {
			t.Errorf("got %v", w.Header())
		}
	})

	t.Run("names are text, whatever is in them", func(t *testing.T) {
		const evil = `<script>alert("x")</script>' onload=`
		g := newGate(t, gate.Config{Limit: 1, Classes: []gate.Class{{Name: evil}}})
		p := acquire(t, g, gate.Request{Class: evil, Holder: statement(evil)})
		_, err := g.AcquireWith(canceled(), gate.Request{Class: evil}) // so that there is a chart
		if err == nil {
			t.Error("got a permit")
		}
		h := only(evil, g)
		for _, query := range []string{"/", "/?goroutines=show"} {
			if body := get(t, h, query); strings.Contains(body, "<script") || strings.Contains(body, `" onload=`) || strings.Count(body, "&lt;script&gt;") < 4 {
				t.Errorf("%s: the page is\n%s", query, body)
			}
		}
		w := ask(h, "GET", "/?format=json", "")
		if strings.Contains(w.Body.String(), "<script") || !json.Valid(w.Body.Bytes()) {
			t.Errorf("the JSON is\n%s", w.Body)
		}
		p.Release()
	})

	t.Run("several gates are on one page, in the order of their names", func(t *testing.T) {
		gates := map[string]*gate.Gate{}
		for i, name := range []string{"users", "orders", "mails"} {
			gates[name] = newGate(t, gate.Config{Limit: i + 1})
		}
		h := debugpage.New(gates)
		clear(gates) // the map is copied
		all := tell(t, h, "")
		if len(all.Gates) != 3 || all.Gates[0].Name != "mails" || all.Gates[0].Limit != 3 || all.Gates[1].Name != "orders" || all.Gates[2].Limit != 1 {
			t.Errorf("got %+v", all)
		}
		body := get(t, h, "/")
		for i, name := range []string{"mails", "orders", "users"} {
			if !strings.Contains(body, fmt.Sprintf(`<a href="#gate-%d" class="well">%s</a>`, i+1, name)) ||
				!strings.Contains(body, fmt.Sprintf("<section id=\"gate-%d\">\n<h2>%s</h2>", i+1, name)) {
				t.Errorf("%s is not gate %d in\n%s", name, i+1, body)
			}
		}
	})

	t.Run("no gate is a page too", func(t *testing.T) {
		h := debugpage.New(nil)
		if body := get(t, h, "/"); !strings.Contains(body, "No gate is shown here.") {
			t.Error(body)
		}
		if got := ask(h, "GET", "/?format=json", "").Body.String(); !strings.Contains(got, `"gates": []`) {
			t.Error(got)
		}
	})

	t.Run("a nil gate is refused, by its name", func(t *testing.T) {
		defer func() {
			if got := fmt.Sprint(recover()); !strings.Contains(got, `"orders"`) {
				t.Errorf("got %s", got)
			}
		}()
		debugpage.New(map[string]*gate.Gate{"orders": nil})
	})

	t.Run("it works on a mux with other handlers", func(t *testing.T) {
		mux := http.NewServeMux()
		mux.Handle("/debug/poolgate", only("orders", newGate(t, gate.Config{Limit: 3})))
		if body := get(t, mux, "/debug/poolgate"); !strings.Contains(body, "<h2>orders</h2>") {
			t.Error(body)
		}
	})
}

type statement string

func (s statement) Statement() (string, bool) { return string(s), s != "" }

func canceled() context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	return ctx
}

// What the page returns as JSON for a gate is its Stats, and more.
func TestJSONIsThatOfStats(t *testing.T) {
	g := newGate(t, gate.Config{Limit: 3, LeakAfter: time.Minute, MaxWait: 90 * time.Second, Classes: []gate.Class{{Name: "web", Max: 2}}})
	acquire(t, g, gate.Request{Class: "web"}).Release()
	text, err := json.Marshal(g.Stats())
	must(t, err)
	var stats map[string]any
	must(t, json.Unmarshal(text, &stats))
	var page struct{ Gates []map[string]any }
	must(t, json.Unmarshal([]byte(get(t, only("orders", g), "/?format=json")), &page))
	shown := page.Gates[0]
	for _, more := range []string{"name", "notes", "holders"} {
		if _, ok := shown[more]; !ok {
			t.Errorf("the page has no %s", more)
		}
		delete(shown, more)
	}
	for _, class := range shown["classes"].([]any) {
		delete(class.(map[string]any), "history")
	}
	if !reflect.DeepEqual(shown, stats) {
		t.Errorf("the page has\n%v\nStats has\n%v", shown, stats)
	}
}
