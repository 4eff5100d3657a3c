package main

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

func TestTracesAreSent(t *testing.T) {
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	var sent atomic.Int64
	collector := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		n, _ := io.Copy(io.Discard, r.Body)
		if r.URL.Path == "/v1/traces" {
			sent.Add(n)
		}
	}))
	defer collector.Close()
	var stdout, stderr bytes.Buffer
	code := run([]string{"--dsn", dsn, "--ops", "20", "--limit", "2", "--strategies", "semaphore", "--out", t.TempDir(),
		"--otlp=" + collector.URL, "--otlp-sample", "1"}, &stdout, &stderr)
	if code != 0 || sent.Load() == 0 {
		t.Errorf("exit code %d, %d bytes sent: %s", code, sent.Load(), &stderr)
	}
	if !strings.Contains(stderr.String(), collector.URL) {
		t.Errorf("it does not say where it sends traces: %s", &stderr)
	}
	t.Run("a collector that cannot be reached is reported, and the benchmark goes on", func(t *testing.T) {
		stderr.Reset()
		collector.Close()
		code := run([]string{"--dsn", dsn, "--ops", "20", "--limit", "2", "--strategies", "semaphore", "--out", t.TempDir(),
			"--otlp=" + collector.URL, "--otlp-sample", "1"}, &stdout, &stderr)
		if code != 0 || !strings.Contains(stderr.String(), "poolbench: --otlp: ") {
			t.Errorf("exit code %d: %s", code, &stderr)
		}
	})
	t.Run("a sample is a share", func(t *testing.T) {
		for _, share := range []string{"0", "1.5", "-1", "NaN"} {
			if _, err := parse([]string{"--otlp", "--otlp-sample", share}, io.Discard); err == nil {
				t.Errorf("no error for %s", share)
			}
		}
		if o, err := parse([]string{"--otlp"}, io.Discard); err != nil || o.otlp != defaultOTLP || o.sample != 0.01 {
			t.Errorf("%+v, %v", o, err)
		}
	})
}
