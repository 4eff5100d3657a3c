package logging_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/logging"
)

func TestMain(m *testing.M) { pgserver.MainWithExamples(m) }

// lines is what was written, as JSON.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

// take returns what was written with this message since the last take.
func (l *lines) take(t *testing.T, message string) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []map[string]any
	for line := range strings.Lines(l.buf.String()) {
		var one map[string]any
		if err := json.Unmarshal([]byte(line), &one); err != nil {
			t.Fatal(err)
		}
		if one["msg"] == message {
			found = append(found, one)
		}
	}
	l.buf.Reset()
	return found
}

func (l *lines) logger(level slog.Level) *slog.Logger {
	return slog.New(slog.NewJSONHandler(l, &slog.HandlerOptions{Level: level}))
}

func want(t *testing.T, line map[string]any, attributes map[string]any) {
	t.Helper()
	for key, want := range attributes {
		if line[key] != want {
			t.Errorf("%s is %v, want %v, in %v", key, line[key], want, line)
		}
	}
}

func one(t *testing.T, found []map[string]any) map[string]any {
	t.Helper()
	if len(found) != 1 {
		t.Fatalf("%d lines, want 1: %v", len(found), found)
	}
	return found[0]
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestLogging(t *testing.T) {
	dsn := pgserver.ForTest(t).DSN()
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			leaks := goleak.IgnoreCurrent()
			ctx := context.Background()
			db, err := driver.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1, MaxWaiting: gate.NoWaiting, LeakAfter: 20 * time.Millisecond}})
			must(t, err)
			var out lines
			observed := func(level slog.Level, o logging.Config) (stop func()) {
				out.take(t, "")
				return db.Observe(logging.New(out.logger(level), o))
			}

			t.Run("a statement is written, without its values", func(t *testing.T) {
				defer observed(slog.LevelInfo, logging.Config{Echo: true})()
				began := time.Now()
				_, err := db.ExecContext(ctx, "SELECT $1::text, 'hunter2' FROM pg_sleep(0.02)", "hunter2")
				must(t, err)
				most := time.Since(began)
				line := one(t, out.take(t, "statement"))
				want(t, line, map[string]any{"level": "INFO", "kind": "exec", "class": "default", "query": "SELECT $1::text, ? FROM pg_sleep(?)", "args": nil})
				if took, ok := line["took"].(float64); !ok || time.Duration(took) < 20*time.Millisecond || time.Duration(took) > most {
					t.Errorf("it took %v of %v", line["took"], most)
				}
			})

			t.Run("with its values if asked", func(t *testing.T) {
				defer observed(slog.LevelInfo, logging.Config{Echo: true, Values: true})()
				_, err := db.ExecContext(ctx, "SELECT $1::text, $2::int, 'hunter2'", "hunter2", 7)
				must(t, err)
				want(t, one(t, out.take(t, "statement")), map[string]any{
					"query": "SELECT $1::text, $2::int, 'hunter2'", "args": `$1="hunter2", $2=7`})
			})

			t.Run("an error is its SQLSTATE", func(t *testing.T) {
				defer observed(slog.LevelDebug, logging.Config{})()
				if _, err := db.ExecContext(ctx, "SELECT $1::text::int", "hunter2"); err == nil {
					t.Error("no error")
				}
				want(t, one(t, out.take(t, "statement")), map[string]any{"level": "DEBUG", "error": "22P02"})
			})

			t.Run("a transaction is its statements, and one line when it is released", func(t *testing.T) {
				defer observed(slog.LevelDebug, logging.Config{})()
				tx, err := db.BeginTx(ctx, nil)
				must(t, err)
				_, err = tx.ExecContext(ctx, "SELECT 1")
				must(t, err)
				must(t, tx.Commit())
				out.mu.Lock()
				all := out.buf.String()
				out.mu.Unlock()
				at := -1
				for _, piece := range []string{`"kind":"begin"`, `"kind":"exec"`, `"kind":"commit"`, `"connection released"`} {
					next := strings.Index(all, piece)
					if next < at {
						t.Errorf("%s is not where it belongs in %s", piece, all)
					}
					at = next
				}
				want(t, one(t, out.take(t, "connection released")), map[string]any{"discarded": false})
			})

			t.Run("one of so many is written, and each that is slow", func(t *testing.T) {
				defer observed(slog.LevelInfo, logging.Config{Echo: true, Every: 10})()
				for range 30 {
					_, err := db.ExecContext(ctx, "SELECT 1")
					must(t, err)
				}
				if n := len(out.take(t, "statement")); n != 3 {
					t.Errorf("%d lines, want 3", n)
				}
				defer observed(slog.LevelWarn, logging.Config{Every: 10, Slow: time.Nanosecond})()
				for range 3 {
					_, err := db.ExecContext(ctx, "SELECT 1")
					must(t, err)
				}
				if n := len(out.take(t, "slow statement")); n != 3 {
					t.Errorf("%d slow lines, want 3", n)
				}
			})

			t.Run("a leak is written with its statement, and when it comes back", func(t *testing.T) {
				defer observed(slog.LevelInfo, logging.Config{})()
				tx, err := db.BeginTx(ctx, nil)
				must(t, err)
				_, err = tx.ExecContext(ctx, "SELECT 'hunter2'")
				must(t, err)
				var leak map[string]any
				for deadline := time.Now().Add(30 * time.Second); leak == nil; time.Sleep(time.Millisecond) {
					if found := out.take(t, "permit held too long"); len(found) > 0 {
						leak = found[0]
					} else if time.Now().After(deadline) {
						t.Fatal("no leak within 30 s")
					}
				}
				want(t, leak, map[string]any{"level": "WARN", "class": "default", "statement": "SELECT ?"})
				must(t, tx.Rollback())
				want(t, one(t, out.take(t, "permit held too long was released")), map[string]any{"level": "INFO"})
			})

			t.Run("a change of the limit is written", func(t *testing.T) {
				defer observed(slog.LevelInfo, logging.Config{})()
				must(t, db.SetLimit(2))
				must(t, db.SetLimit(1))
				found := out.take(t, "limit changed")
				if len(found) != 2 {
					t.Fatalf("%d lines, want 2", len(found))
				}
				want(t, found[0], map[string]any{"from": 1.0, "to": 2.0, "center": 2.0, "reason": "set"})
			})

			t.Run("an adaptive limit is written when it has moved by a quarter", func(t *testing.T) {
				o := logging.New(out.logger(slog.LevelInfo), logging.Config{}).Gate
				out.take(t, "")
				for i, center := range []int{40, 41, 45, 48, 49, 50, 51, 50, 41, 40, 39} {
					o.LimitChange(gate.LimitChange{Old: 30 + i, New: 31 + i, Center: center, Reason: "10 % more"})
				}
				found := out.take(t, "limit changed")
				if len(found) != 3 {
					t.Fatalf("%d lines, want those of 40, 50 and 40", len(found))
				}
				for i, center := range []float64{40, 50, 40} {
					want(t, found[i], map[string]any{"center": center, "reason": "10 % more"})
				}
			})

			t.Run("a failed heartbeat of a fleet is a warning, and the next that is answered is not", func(t *testing.T) {
				defer observed(slog.LevelDebug, logging.Config{})()
				away := fmt.Errorf("a secret: %w", context.DeadlineExceeded)
				report := func(s gate.FleetStats, message string, attributes map[string]any) {
					t.Helper()
					db.Gate().ReportFleet(s)
					want(t, one(t, out.take(t, message)), attributes)
				}
				report(gate.FleetStats{Heartbeats: 1, Granted: 6, Target: 7, Demand: 2.5, Budget: 40, Members: 9, Active: 3}, "fleet heartbeat",
					map[string]any{"level": "DEBUG", "share": 6.0, "target": 7.0, "demand": 2.5, "budget": 40.0, "members": 9.0,
						"active": 3.0, "heartbeats": 1.0, "failures": 0.0})
				report(gate.FleetStats{Heartbeats: 1, Failures: 1, LastError: away}, "fleet heartbeat failed",
					map[string]any{"level": "WARN", "error": "context.DeadlineExceeded", "failures": 1.0})
				report(gate.FleetStats{Heartbeats: 2, Failures: 1}, "fleet heartbeat is answered again", map[string]any{"level": "INFO"})
			})

			t.Run("a server that is not there is a warning", func(t *testing.T) {
				away, err := driver.Open("postgres://me:hunter2@127.0.0.1:1/none?sslmode=disable", poolgate.Config{Gate: gate.Config{Limit: 1}})
				must(t, err)
				defer away.Close()
				out.take(t, "")
				away.Observe(logging.New(out.logger(slog.LevelWarn), logging.Config{}))
				if err := away.PingContext(ctx); err == nil {
					t.Error("no error")
				}
				want(t, one(t, out.take(t, "no connection")), map[string]any{"level": "WARN", "class": "default"})
			})

			if s := db.Gate().Stats(); s.InFlight > 0 || s.Waiting > 0 {
				t.Errorf("%d permits held, %d waiting", s.InFlight, s.Waiting)
			}
			if n := db.Stats().InUse; n > 0 {
				t.Errorf("%d connections in use", n)
			}
			must(t, db.Close())
			goleak.VerifyNone(t, leaks)
		})
	}
}

func TestRefusalsAreWrittenOnceInASecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lines
		g, err := gate.New(gate.Config{Limit: 1, MaxWaiting: 1, MaxWait: 3 * time.Second})
		must(t, err)
		g.Observe(logging.New(out.logger(slog.LevelWarn), logging.Config{Slow: 2 * time.Second}).Gate)
		permit, err := g.Acquire(t.Context())
		must(t, err)
		go func() {
			if p, err := g.Acquire(t.Context()); err == nil {
				p.Release()
			}
		}()
		synctest.Wait()
		refuse := func(n int) []map[string]any {
			for range n {
				if _, err := g.Acquire(t.Context()); err == nil {
					t.Error("no refusal")
				}
			}
			return out.take(t, "no permit")
		}
		want(t, one(t, refuse(100)), map[string]any{"reason": "queue_full", "in_flight": 1.0, "waiting": 1.0, "unwritten": 0.0})
		time.Sleep(time.Second)
		want(t, one(t, refuse(1)), map[string]any{"unwritten": 99.0})
		time.Sleep(1500 * time.Millisecond)
		permit.Release()
		synctest.Wait()
		want(t, one(t, out.take(t, "slow wait for a permit")), map[string]any{"waited": float64(2500 * time.Millisecond)})
	})
}

func TestWrongConfigPanics(t *testing.T) {
	for name, f := range map[string]func(){
		"no logger":      func() { logging.New(nil, logging.Config{}) },
		"negative Every": func() { logging.New(slog.Default(), logging.Config{Every: -1}) },
		"negative Slow":  func() { logging.New(slog.Default(), logging.Config{Slow: -1}) },
	} {
		t.Run(name, func(t *testing.T) {
			defer func() {
				if recover() == nil {
					t.Error("no panic")
				}
			}()
			f()
		})
	}
}
