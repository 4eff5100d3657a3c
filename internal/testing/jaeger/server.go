package jaeger

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"
)

// A Server is a Jaeger that runs, and keeps its traces in memory. Its methods
// are safe for concurrent use.
type Server struct {
	otlp, query string
	dir         string
	kill        func() error
	done        chan struct{} // closed when the program has ended
	output      *tail
}

// configuration has the ports of OTLP over HTTP, of the API, over gRPC too, and
// of the sign of life.
const configuration = `
service:
  extensions: [jaeger_storage, jaeger_query, healthcheckv2]
  pipelines:
    traces: {receivers: [otlp], exporters: [jaeger_storage_exporter]}
  telemetry:
    metrics: {level: none}
    logs: {level: warn}
extensions:
  jaeger_query:
    storage: {traces: memory}
    http: {endpoint: "127.0.0.1:%[2]d"}
    grpc: {endpoint: "127.0.0.1:%[3]d"}
  jaeger_storage: {backends: {memory: {memory: {max_traces: 100000}}}}
  healthcheckv2: {use_v2: true, http: {endpoint: "127.0.0.1:%[4]d"}}
receivers:
  otlp: {protocols: {http: {endpoint: "127.0.0.1:%[1]d"}}}
exporters:
  jaeger_storage_exporter: {trace_storage: memory}
`

// Start starts the program at path, on free ports of the loopback, and returns
// when it takes traces. A zero port in ports is a free one: for OTLP over HTTP,
// usually 4318, and for the API and the page, usually 16686.
//
// The end of ctx ends the start, but not a server that has been started. On
// Linux the server dies with this process, however that ends.
func Start(ctx context.Context, path string, otlpPort, queryPort int) (*Server, error) {
	s, err := start(ctx, path, otlpPort, queryPort)
	if err != nil {
		return nil, fmt.Errorf("jaeger: %w", err)
	}
	return s, nil
}

func start(ctx context.Context, path string, otlpPort, queryPort int) (_ *Server, err error) {
	ports := []int{otlpPort, queryPort, 0, 0}
	for i, port := range ports {
		if ports[i], err = free(port); err != nil {
			return nil, err
		}
	}
	s := &Server{
		otlp:   fmt.Sprintf("http://127.0.0.1:%d", ports[0]),
		query:  fmt.Sprintf("http://127.0.0.1:%d", ports[1]),
		done:   make(chan struct{}),
		output: &tail{},
	}
	if s.dir, err = os.MkdirTemp("", "jaeger-"); err != nil {
		return nil, err
	}
	file := filepath.Join(s.dir, "config.yaml")
	text := fmt.Sprintf(configuration, ports[0], ports[1], ports[2], ports[3])
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		os.RemoveAll(s.dir)
		return nil, err
	}
	if err := s.run(exec.Command(path, "--config", file)); err != nil {
		os.RemoveAll(s.dir)
		return nil, err
	}
	if err := s.await(ctx, fmt.Sprintf("http://127.0.0.1:%d/status", ports[3])); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// free returns a port that nobody listens on: this one, or any if it is zero.
func free(port int) (int, error) {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}

// run starts the program, on a thread of its own: on Linux it dies when that does.
func (s *Server) run(cmd *exec.Cmd) error {
	cmd.Stdout, cmd.Stderr = s.output, s.output
	cmd.Dir = s.dir
	dieWithParent(cmd)
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			cmd.Wait()
			close(s.done)
		}
	}()
	err := <-started
	if err == nil {
		s.kill = cmd.Process.Kill
	}
	return err
}

// await waits until the server says that it is well.
func (s *Server) await(ctx context.Context, status string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, status, nil)
		if err != nil {
			return err
		}
		if answer, err := http.DefaultClient.Do(request); err == nil {
			answer.Body.Close()
			if answer.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-s.done:
			return fmt.Errorf("it has ended: %s", s.output)
		case <-ctx.Done():
			return fmt.Errorf("it has not started: %w: %s", ctx.Err(), s.output)
		}
	}
}

// OTLP returns where traces are sent to, by OTLP over HTTP.
func (s *Server) OTLP() string { return s.otlp }

// Query returns where the API is, and the placeholder of the page.
func (s *Server) Query() string { return s.query }

// Close ends the server; its traces are gone.
func (s *Server) Close() error {
	err := s.kill() // it has nothing to lose
	<-s.done
	http.DefaultClient.CloseIdleConnections()
	if errors.Is(err, os.ErrProcessDone) {
		err = nil
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}

// tail keeps the end of what is written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const tailSize = 4096

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if over := t.buf.Len() - tailSize; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(t.buf.String())
}
