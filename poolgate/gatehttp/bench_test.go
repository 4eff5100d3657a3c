package gatehttp_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gatehttp"
)

func BenchmarkHandler(b *testing.B) {
	next := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	g, err := gate.New(gate.Config{Limit: 40})
	if err != nil {
		b.Fatal(err)
	}
	for _, one := range []struct {
		name    string
		handler http.Handler
	}{{"gate=none", next}, {"gate=free", gatehttp.NewHandler(next, g)}} {
		b.Run(one.name, func(b *testing.B) {
			w, r := httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)
			r.Pattern = "GET /"
			b.ReportAllocs()
			for b.Loop() {
				one.handler.ServeHTTP(w, r)
			}
		})
	}
}
