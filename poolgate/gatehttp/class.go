package gatehttp

import (
	"net/http"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// Class returns a handler that calls next with a context of the class of that
// name, see gate.WithClass. The class counts for every gate that the context
// then passes: that of a database, and that of a [NewHandler] inside of next.
//
//	mux.Handle("GET /reports/{day}", gatehttp.Class("reports", reports))
//
// It costs the copy of the request. Class panics if name is empty or next is nil.
func Class(name string, next http.Handler) http.Handler {
	if name == "" {
		panic("gatehttp: Class: the name is empty")
	}
	return ClassFunc(func(*http.Request) string { return name }, next)
}

// ClassFunc is [Class] for a class that depends on the request. Where classOf
// returns "", the context keeps the class that it has.
//
// It can go around a NewHandler that limits all requests of a mux:
//
//	byRoute := map[string]string{"GET /reports/{day}": "reports"}
//	classOf := func(r *http.Request) string {
//		_, pattern := mux.Handler(r)
//		return byRoute[pattern]
//	}
//	handler := gatehttp.ClassFunc(classOf, gatehttp.NewHandler(mux, g))
//
// ClassFunc panics if classOf or next is nil.
func ClassFunc(classOf func(*http.Request) string, next http.Handler) http.Handler {
	if classOf == nil || next == nil {
		panic("gatehttp: ClassFunc: the function or the handler is nil")
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if name := classOf(r); name != "" {
			r = r.WithContext(gate.WithClass(r.Context(), name))
		}
		next.ServeHTTP(w, r)
	})
}
