package gatehttp_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gatehttp"
)

func TestWriteError(t *testing.T) {
	refusal := func(after time.Duration) error {
		return &gate.RejectedError{Reason: gate.ErrQueueFull, Class: "secret", RetryAfter: after}
	}
	for _, test := range []struct {
		name   string
		err    error
		status int
		after  string
	}{
		{"an error that is no refusal is a 500", errors.New("password=secret"), 500, ""},
		{"a refusal is a 503", refusal(time.Second), 503, "1"},
		{"one where trying again is of no use says no time", refusal(0), 503, ""},
		{"one that is wrapped too", fmt.Errorf("while loading: %w", refusal(3*time.Second)), 503, "3"},
		{"and one that is joined", errors.Join(errors.New("secret"), refusal(time.Second)), 503, "1"},
		{"seconds are rounded up", refusal(1001 * time.Millisecond), 503, "2"},
		{"a moment is a second", refusal(time.Nanosecond), 503, "1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			gatehttp.WriteError(w, test.err)
			if w.Code != test.status || w.Header().Get("Retry-After") != test.after || strings.Contains(w.Body.String(), "secret") {
				t.Errorf("got %d, %v, %q", w.Code, w.Header(), w.Body)
			}
		})
	}
}

func TestACallerWhoseDeadlineEndsWhileItWaitsGetsA503(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g, err := gate.New(gate.Config{Limit: 1})
		if err != nil {
			t.Fatal(err)
		}
		p, err := g.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		defer p.Release()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = g.Acquire(ctx)
		w := httptest.NewRecorder()
		gatehttp.WriteError(w, fmt.Errorf("loading: %w", err))
		if w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("got %d, %v after %v", w.Code, w.Header(), err)
		}

		w = httptest.NewRecorder()
		late := httptest.NewRequest("GET", "/", nil)
		gatehttp.NewHandler(http.NotFoundHandler(), g).ServeHTTP(w, late.WithContext(ctx)) // done on arrival
		if w.Code != 503 {
			t.Errorf("a request that comes too late: got %d", w.Code)
		}
		gone, leave := context.WithTimeout(t.Context(), time.Second)
		defer leave()
		w = httptest.NewRecorder()
		gatehttp.NewHandler(http.NotFoundHandler(), g).ServeHTTP(w, late.WithContext(gone))
		if w.Code != 503 || w.Header().Get("Retry-After") == "" {
			t.Errorf("a request that waits too long: got %d, %v", w.Code, w.Header())
		}
	})
}

func TestSetRetryAfter(t *testing.T) {
	t.Run("what is no refusal leaves the header as it is", func(t *testing.T) {
		header := http.Header{"Retry-After": {"60"}}
		if gatehttp.SetRetryAfter(header, errors.New("another")) || gatehttp.SetRetryAfter(header, nil) || header.Get("Retry-After") != "60" {
			t.Errorf("got %v", header)
		}
	})
}
