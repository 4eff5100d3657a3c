package gatehttp_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gatehttp"
)

// At most 100 requests run at once. A report takes the place of a page only
// where no page waits for it.
func ExampleNewHandler() {
	requests, err := gate.New(gate.Config{Limit: 100, Classes: []gate.Class{
		{Name: "pages", Reserved: 90},
		{Name: "reports", Max: 10, Priority: -1},
	}})
	if err != nil {
		fmt.Println(err)
		return
	}
	order := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "an order") })
	report := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "a report") })
	mux := http.NewServeMux()
	mux.Handle("GET /orders/{id}", gatehttp.Class("pages", gatehttp.NewHandler(order, requests)))
	mux.Handle("GET /reports/{day}", gatehttp.Class("reports", gatehttp.NewHandler(report, requests)))

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/orders/7", nil))
	requests.Close() // as at a shutdown
	refused := httptest.NewRecorder()
	mux.ServeHTTP(refused, httptest.NewRequest("GET", "/orders/8", nil))
	fmt.Println(w.Code, refused.Code)
	// Output: 200 503
}

// An API that writes its errors in a form of its own.
func ExampleSetRetryAfter() {
	writeError := func(w http.ResponseWriter, err error) {
		status := http.StatusInternalServerError
		if gatehttp.SetRetryAfter(w.Header(), err) {
			status = http.StatusServiceUnavailable
		}
		w.Header().Set("Content-Type", "application/problem+json")
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(map[string]any{"status": status, "title": http.StatusText(status)})
	}
	w := httptest.NewRecorder()
	writeError(w, &gate.RejectedError{Reason: gate.ErrQueueFull, RetryAfter: 700 * time.Millisecond})
	fmt.Println(w.Header().Get("Retry-After"), w.Body)
	// Output: 1 {"status":503,"title":"Service Unavailable"}
}
