package gatehttp_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gatehttp"
)

func TestHandler(t *testing.T) {
	onBoth(t, "as many requests are inside as there are permits, and no more", func(t *testing.T, h2 bool) {
		const limit, requests = 2, 20
		leave := make(chan struct{})
		var inside, most atomic.Int64
		s := serve(t, h2, gate.Config{Limit: limit}, func(w http.ResponseWriter, r *http.Request) {
			n := inside.Add(1)
			for old := most.Load(); n > old && !most.CompareAndSwap(old, n); old = most.Load() {
			}
			<-leave
			inside.Add(-1)
		})
		var answers []<-chan answer
		for range requests {
			answers = append(answers, s.start("/"))
		}
		s.untilWaiting(t, requests-limit)
		until(t, "all permits are in use by the handler", func() bool { return inside.Load() == limit })
		close(leave)
		for _, a := range answers {
			if a := <-a; a.status != 200 {
				t.Errorf("got %+v", a)
			}
		}
		if n := most.Load(); n != limit {
			t.Errorf("%d were inside at once, want %d", n, limit)
		}
	})

	onBoth(t, "a refusal is a 503 with Retry-After, and nothing else", func(t *testing.T, h2 bool) {
		leave := make(chan struct{})
		s := serve(t, h2, gate.Config{Limit: 1, MaxWaiting: gate.NoWaiting}, func(http.ResponseWriter, *http.Request) { <-leave })
		first := s.start("/")
		until(t, "a request is inside", func() bool { return s.Stats().InFlight == 1 })
		a := s.get("/")
		close(leave)
		if a.status != 503 || a.header.Get("Retry-After") != "1" || a.body != "Service Unavailable\n" {
			t.Errorf("got %+v", a)
		}
		if a := <-first; a.status != 200 {
			t.Errorf("the first: %+v", a)
		}
	})

	onBoth(t, "a gate that is closed refuses, and lets those inside finish", func(t *testing.T, h2 bool) {
		leave := make(chan struct{})
		s := serve(t, h2, gate.Config{Limit: 1}, func(http.ResponseWriter, *http.Request) { <-leave })
		first := s.start("/")
		until(t, "a request is inside", func() bool { return s.Stats().InFlight == 1 })
		second := s.start("/")
		s.untilWaiting(t, 1)
		s.Gate.Close()
		if a := <-second; a.status != 503 || a.header.Get("Retry-After") != "" { // it does not open again
			t.Errorf("the second: %+v", a)
		}
		close(leave)
		if a := <-first; a.status != 200 {
			t.Errorf("the first: %+v", a)
		}
	})

	onBoth(t, "a client that goes away gives its place in the queue up", func(t *testing.T, h2 bool) {
		leave := make(chan struct{})
		s := serve(t, h2, gate.Config{Limit: 1}, func(http.ResponseWriter, *http.Request) { <-leave })
		first := s.start("/")
		until(t, "a request is inside", func() bool { return s.Stats().InFlight == 1 })
		ctx, cancel := context.WithCancel(t.Context())
		request, _ := http.NewRequestWithContext(ctx, "GET", s.URL, nil)
		gone := make(chan error, 1)
		go func() {
			_, err := s.Client().Do(request)
			gone <- err
		}()
		s.untilWaiting(t, 1)
		cancel()
		if err := <-gone; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		s.untilWaiting(t, 0)
		if n := s.Stats().Canceled; n != 1 {
			t.Errorf("%d are counted as cancelled", n)
		}
		close(leave)
		<-first
	})

	onBoth(t, "a panic gives the permit back", func(t *testing.T, h2 bool) {
		s := serve(t, h2, gate.Config{Limit: 1}, func(_ http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/panic" {
				panic("a mistake")
			}
		})
		if a := s.get("/panic"); a.err == nil {
			t.Errorf("got %+v", a)
		}
		if a := s.get("/"); a.status != 200 {
			t.Errorf("after it: %+v", a)
		}
	})

	onBoth(t, "an answer is streamed while the permit is held", func(t *testing.T, h2 bool) {
		goOn := make(chan struct{})
		s := serve(t, h2, gate.Config{Limit: 1}, func(w http.ResponseWriter, r *http.Request) {
			io.WriteString(w, "first\n")
			if err := http.NewResponseController(w).Flush(); err != nil {
				t.Error(err)
			}
			<-goOn
			io.WriteString(w, "second\n")
		})
		response, err := s.Client().Get(s.URL)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body := bufio.NewReader(response.Body)
		if line, err := body.ReadString('\n'); line != "first\n" {
			t.Errorf("got %q, %v", line, err)
		}
		if n := s.Stats().InFlight; n != 1 {
			t.Errorf("%d permits are held", n)
		}
		close(goOn)
		if line, err := body.ReadString('\n'); line != "second\n" {
			t.Errorf("got %q, %v", line, err)
		}
	})

	t.Run("a connection can be taken over", func(t *testing.T) {
		s := serve(t, false, gate.Config{Limit: 1}, func(w http.ResponseWriter, r *http.Request) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			io.WriteString(conn, "HTTP/1.1 418 I'm a teapot\r\nContent-Length: 0\r\n\r\n")
		})
		if a := s.get("/"); a.status != 418 {
			t.Errorf("got %+v", a)
		}
	})

	t.Run("the class is that of the context", func(t *testing.T) {
		config := gate.Config{Limit: 1, Classes: []gate.Class{{Name: "reports"}}}
		g, err := gate.New(config)
		if err != nil {
			t.Fatal(err)
		}
		inner := gatehttp.NewHandler(http.NotFoundHandler(), g)
		s := serveHandler(t, false, g, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inner.ServeHTTP(w, r.WithContext(gate.WithClass(r.Context(), r.URL.Path[1:])))
		}))
		if a := s.get("/reports"); a.status != 404 || s.Stats().Classes[1].Acquired != 1 {
			t.Errorf("got %+v, %+v", a, s.Stats().Classes[1])
		}
		if a := s.get("/unknown"); a.status != 503 || strings.Contains(a.body, "unknown") {
			t.Errorf("an unknown class: %+v", a)
		}
	})

	t.Run("the work begins when the request comes to the first gate", func(t *testing.T) {
		outer, err := gate.New(gate.Config{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		var start, inside time.Time
		var ok bool
		inner, err := gate.New(gate.Config{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		next := gatehttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			start, ok = gate.StartOf(r.Context())
		}), inner)
		s := serveHandler(t, false, outer, gatehttp.NewHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			inside = time.Now()
			next.ServeHTTP(w, r)
		}), outer))
		permit, err := outer.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		before := time.Now()
		answered := s.start("/")
		s.untilWaiting(t, 1)
		waits := time.Now()
		permit.Release()
		<-answered
		if !ok || start.Before(before) || start.After(waits) || start.After(inside) {
			t.Errorf("began at %v (%v), sent at %v, waited at %v, inside at %v", start, ok, before, waits, inside)
		}
	})

	t.Run("a holder is known by the pattern, and not by the URL", func(t *testing.T) {
		g, err := gate.New(gate.Config{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		holder := make(chan string, 1)
		tell := gatehttp.NewHandler(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {
			holder <- g.Holders()[0].Statement
		}), g)
		mux := http.NewServeMux()
		mux.Handle("GET /users/{token}", tell)
		s := serveHandler(t, false, g, mux)
		s.get("/users/secret?password=secret")
		if got := <-holder; got != "HTTP request GET /users/{token}" {
			t.Errorf("got %q", got)
		}
		s = serveHandler(t, false, g, tell)
		s.get("/users/secret")
		if got := <-holder; got != "HTTP request" {
			t.Errorf("without a mux: %q", got)
		}
	})

	t.Run("who needs a second permit of the same gate is told", func(t *testing.T) {
		var s *site
		s = serve(t, false, gate.Config{Limit: 1}, func(w http.ResponseWriter, r *http.Request) {
			permit, err := s.Acquire(r.Context())
			permit.Release()
			if !errors.Is(err, gate.ErrDeadlock) {
				t.Errorf("got %v", err)
			}
			gatehttp.WriteError(w, err)
		})
		if a := s.get("/"); a.status != 503 {
			t.Errorf("got %+v", a)
		}
	})

	t.Run("nil is refused at once", func(t *testing.T) {
		for _, f := range []func(){
			func() { gatehttp.NewHandler(nil, new(gate.Gate)) },
			func() { gatehttp.NewHandler(http.NotFoundHandler(), nil) },
		} {
			func() {
				defer func() {
					if recover() == nil {
						t.Error("no panic")
					}
				}()
				f()
			}()
		}
	})
}
