package gatehttp_test

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gatehttp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// onBoth runs a test over HTTP/1.1 and HTTP/2.
func onBoth(t *testing.T, name string, test func(t *testing.T, h2 bool)) {
	t.Run(name, func(t *testing.T) {
		t.Run("HTTP/1.1", func(t *testing.T) { test(t, false) })
		t.Run("HTTP/2", func(t *testing.T) { test(t, true) })
	})
}

// A site serves f behind a gate, by real HTTP. When the test ends nobody may
// hold a permit or wait.
type site struct {
	*httptest.Server
	*gate.Gate
}

func serve(t *testing.T, h2 bool, config gate.Config, f http.HandlerFunc) *site {
	t.Helper()
	g, err := gate.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return serveHandler(t, h2, g, gatehttp.NewHandler(f, g))
}

func serveHandler(t *testing.T, h2 bool, g *gate.Gate, handler http.Handler) *site {
	t.Helper()
	s := &site{httptest.NewUnstartedServer(handler), g}
	s.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // panics are part of the tests
	if h2 {
		s.EnableHTTP2 = true
		s.StartTLS()
	} else {
		s.Start()
	}
	t.Cleanup(func() {
		s.Server.Close() // which waits for the handlers, but of connections that were taken over
		for start := time.Now(); ; time.Sleep(time.Millisecond) {
			stats := g.Stats()
			if stats.InFlight == 0 && stats.Waiting == 0 {
				return
			}
			if time.Since(start) > 10*time.Second {
				t.Fatalf("left behind: %d permits in flight, %d waiters", stats.InFlight, stats.Waiting)
			}
		}
	})
	return s
}

type answer struct {
	status int
	header http.Header
	body   string
	err    error
}

func (s *site) get(path string) answer {
	response, err := s.Client().Get(s.URL + path)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, response.Header, string(body), err}
}

// start requests path on a goroutine of its own.
func (s *site) start(path string) <-chan answer {
	answers := make(chan answer, 1)
	go func() { answers <- s.get(path) }()
	return answers
}

// until waits for what the server is about to do.
func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !reached(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within 20 s: %s", what)
		}
	}
}

func (s *site) untilWaiting(t *testing.T, n int) {
	t.Helper()
	until(t, "callers wait", func() bool { return s.Stats().Waiting == n })
}
