package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/poolgatetest"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// TestHandler tests the handler as a user of poolgate would, each time on a database
// of its own.
func TestHandler(t *testing.T) {
	tests := poolgatetest.Config{
		DSN:  pgserver.ForTest(t).DSN(),
		Open: func(dsn string) (*poolgate.DB, error) { return pgxgate.Open(dsn, config) },
	}
	t.Run("a page", func(t *testing.T) {
		db := poolgatetest.New(t, tests)
		w := httptest.NewRecorder()
		newHandler(db.DB).ServeHTTP(w, httptest.NewRequest("GET", "/now", nil))
		if w.Code != 200 || !strings.HasPrefix(w.Body.String(), "2") {
			t.Errorf("got %d %q", w.Code, w.Body)
		}
		if n := db.Gate().Stats().Classes[1].Acquired; n != 1 {
			t.Errorf("%d permits of the class pages, want 1", n)
		}
	})
	t.Run("a refusal is a 503", func(t *testing.T) {
		db := poolgatetest.New(t, tests)
		db.Gate().Close()
		w := httptest.NewRecorder()
		newHandler(db.DB).ServeHTTP(w, httptest.NewRequest("GET", "/now", nil))
		if w.Code != 503 {
			t.Errorf("got %d", w.Code)
		}
	})
}

// TestShutdown stops the service while a report runs and others wait.
func TestShutdown(t *testing.T) {
	config.Gate.Classes[1].Max = 1 // of reports
	defer func() { config.Gate.Classes[1].Max = 8 }()
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	leaks := goleak.IgnoreCurrent()
	public, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	internal, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	ctx, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- run(ctx, dsn, public, internal) }()

	client := &http.Client{Transport: new(http.Transport)}
	get := func(url string) string {
		response, err := client.Get(url)
		if err != nil {
			return err.Error()
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return fmt.Sprint(response.StatusCode, " ", string(body))
	}
	report := "http://" + public.Addr().String() + "/report"
	page := "http://" + internal.Addr().String() + "/?format=json"
	until := func(what string) {
		t.Helper()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			if state := get(page); strings.Contains(state, what) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("not within 20 s: %s", what)
			}
		}
	}
	running, waiting := make(chan string, 1), make(chan string, 1)
	go func() { running <- get(report) }()
	until(`"in_flight": 1,`)
	go func() { waiting <- get(report) }()
	until(`"waiting": 1,`)

	stop()
	if answer := <-waiting; !strings.HasPrefix(answer, "503") {
		t.Errorf("the report that waited: %s", answer)
	}
	select {
	case answer := <-running:
		if !strings.HasPrefix(answer, "200") {
			t.Errorf("the report that ran: %s", answer)
		}
	case <-time.After(20 * time.Second):
		t.Error("the report that ran has no answer")
	}
	must(t, <-stopped)
	client.CloseIdleConnections()
	if answer := get(report); !strings.Contains(answer, "refused") {
		t.Errorf("after the shutdown: %s", answer)
	}
	client.CloseIdleConnections()
	goleak.VerifyNone(t, leaks)
}
