package gatehttp_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
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
		{"a refusal is a 503", refusal(0), 503, "1"},
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

func TestSetRetryAfter(t *testing.T) {
	t.Run("what is no refusal leaves the header as it is", func(t *testing.T) {
		header := http.Header{"Retry-After": {"60"}}
		if gatehttp.SetRetryAfter(header, errors.New("another")) || gatehttp.SetRetryAfter(header, nil) || header.Get("Retry-After") != "60" {
			t.Errorf("got %v", header)
		}
	})
}
