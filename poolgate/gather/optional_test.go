package gather_test

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/logging"
	"github.com/poolgate/poolgate/poolgate/session"
)

// A connection that cannot join a snapshot is nobody's failure: neither counts
// nor logs have it.
func TestConnectionsThatDoNotJoin(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *fixture))) {
		for _, test := range []struct {
			name   string
			config gate.Config
			queued int // how many wait to join
		}{
			{"because no permit is free", gate.Config{Limit: 2}, 3},
			{"because the queue is full", gate.Config{Limit: 2, MaxWaiting: 1}, 1},
			{"because there is no queue", gate.Config{Limit: 2, MaxWaiting: gate.NoWaiting}, 0},
		} {
			run(test.name, func(t *testing.T, f *fixture) {
				db := f.open(test.config)
				var written lockedBuilder
				defer db.Observe(logging.New(slog.New(slog.NewTextHandler(&written, nil)), logging.Config{}))()
				taken, err := db.Gate().Acquire(t.Context())
				must(t, err)
				defer taken.Release()
				var n int
				first := func(ctx context.Context, _ session.DBTX) error {
					eventually(t, "the others wait", func() bool { return db.Gate().Stats().Waiting == test.queued })
					return nil
				}
				must(t, gather.Run(patiently(t), db, gather.Options{Consistency: gather.Snapshot},
					first, gather.One(&n, "SELECT 1"), gather.Discard("SELECT 2"), gather.Discard("SELECT 3")))
				if c := db.Gate().Stats().Counts; c.Refused() != 0 || c.Canceled != 0 || c.Acquired != 2 {
					t.Errorf("counts: %+v", c)
				}
				if text := written.String(); strings.Contains(text, "WARN") || strings.Contains(text, "ERROR") {
					t.Errorf("logged: %s", text)
				}
			})
		}
	})
}

type lockedBuilder struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuilder) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuilder) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
