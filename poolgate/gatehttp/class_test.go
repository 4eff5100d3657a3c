package gatehttp_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gatehttp"
)

func TestClass(t *testing.T) {
	g, err := gate.New(gate.Config{Limit: 1, Classes: []gate.Class{{Name: "pages"}, {Name: "reports"}}})
	if err != nil {
		t.Fatal(err)
	}
	acquired := func() (counts [3]uint64) {
		for i, c := range g.Stats().Classes {
			counts[i] = c.Acquired
		}
		return counts
	}
	work := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := g.Acquire(r.Context()) // as a database would
		if err != nil {
			gatehttp.WriteError(w, err)
			return
		}
		p.Release()
	})
	request := func(h http.Handler, path string) int {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		return w.Code
	}

	t.Run("each route has the class that it says", func(t *testing.T) {
		before := acquired()
		mux := http.NewServeMux()
		mux.Handle("GET /pages", gatehttp.Class("pages", work))
		mux.Handle("GET /reports", gatehttp.Class("reports", work))
		mux.Handle("GET /other", work)
		for _, path := range []string{"/pages", "/reports", "/reports", "/other"} {
			if code := request(mux, path); code != 200 {
				t.Errorf("%s: %d", path, code)
			}
		}
		if got := acquired(); got != [3]uint64{before[0] + 1, before[1] + 1, before[2] + 2} {
			t.Errorf("acquired %v, before %v", got, before)
		}
	})

	t.Run("a class can depend on the request, outside of a NewHandler", func(t *testing.T) {
		before := acquired()
		mux := http.NewServeMux()
		mux.HandleFunc("GET /reports/{day}", func(http.ResponseWriter, *http.Request) {})
		mux.HandleFunc("GET /other", func(http.ResponseWriter, *http.Request) {})
		byRoute := map[string]string{"GET /reports/{day}": "reports"}
		h := gatehttp.ClassFunc(func(r *http.Request) string {
			_, pattern := mux.Handler(r)
			return byRoute[pattern]
		}, gatehttp.NewHandler(mux, g))
		request(h, "/reports/monday")
		request(h, "/other")
		if got := acquired(); got != [3]uint64{before[0] + 1, before[1], before[2] + 1} {
			t.Errorf("acquired %v, before %v", got, before)
		}
	})

	t.Run("the inner class counts, and an empty one changes nothing", func(t *testing.T) {
		before := acquired()
		request(gatehttp.Class("pages", gatehttp.Class("reports", work)), "/")
		request(gatehttp.Class("pages", gatehttp.ClassFunc(func(*http.Request) string { return "" }, work)), "/")
		if got := acquired(); got != [3]uint64{before[0], before[1] + 1, before[2] + 1} {
			t.Errorf("acquired %v, before %v", got, before)
		}
	})

	t.Run("a class that the gate does not have is refused", func(t *testing.T) {
		if code := request(gatehttp.Class("nobody", work), "/"); code != 503 {
			t.Errorf("got %d", code)
		}
	})

	t.Run("what is missing is refused at once", func(t *testing.T) {
		for name, f := range map[string]func(){
			"name":     func() { gatehttp.Class("", work) },
			"handler":  func() { gatehttp.Class("pages", nil) },
			"function": func() { gatehttp.ClassFunc(nil, work) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Errorf("without a %s it does not panic", name)
					}
				}()
				f()
			}()
		}
	})
}
