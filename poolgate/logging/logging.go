package logging

import (
	"context"
	"database/sql/driver"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"github.com/poolgate/poolgate/internal/errortype"
	"github.com/poolgate/poolgate/internal/operation"
	"github.com/poolgate/poolgate/internal/redact"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// DefaultSlow is the default of [Config.Slow].
const DefaultSlow = time.Second

// longestStatement is how many bytes of a statement are written.
const longestStatement = 1000

// Config configures what is written. The zero Config suits a program in
// production. Echo and Values are for development.
type Config struct {
	// Echo writes statements at the level info instead of debug.
	Echo bool

	// Every writes one in so many statements and checkouts. Zero means all.
	// Statements that fail or are slow are always written.
	Every int

	// Slow is how long a wait or a statement takes to be worth a warning. Zero
	// means DefaultSlow.
	Slow time.Duration

	// Values writes statements with their literals and arguments, and the texts
	// of errors. These can contain secrets.
	Values bool
}

// New returns an observer that writes to logger, for poolgate.DB.Observe. It
// panics if logger is nil, or if a field of config is negative.
//
// Refusals and slow waits come in thousands when they come. New writes one per
// second of each class and reason, with the number of those that it left out.
func New(logger *slog.Logger, config Config) poolgate.Observer {
	switch {
	case logger == nil:
		panic("logging: New: the logger is nil")
	case config.Every < 0 || config.Slow < 0:
		panic(fmt.Sprintf("logging: New: Config.Every and Config.Slow must not be negative, got %d and %v", config.Every, config.Slow))
	}
	if config.Every == 0 {
		config.Every = 1
	}
	if config.Slow == 0 {
		config.Slow = DefaultSlow
	}
	l := &log{logger: logger, config: config, ordinary: slog.LevelDebug}
	if config.Echo {
		l.ordinary = slog.LevelInfo
	}
	return poolgate.Observer{
		Gate: gate.Observer{
			AcquireEnd:  l.acquireEnd,
			LimitChange: l.limitChange,
			Leak:        l.leak,
			Heartbeat:   l.heartbeat,
		},
		Lease:    l.lease,
		LeaseEnd: l.leaseEnd,
		Call:     l.call,
	}
}

type log struct {
	logger        *slog.Logger
	config        Config
	ordinary      slog.Level // of statements that are neither slow nor failed
	calls, leases atomic.Int64
	center        atomic.Int64 // of the limit, as it was last written at LevelInfo
	failing       atomic.Bool  // the last heartbeat was not answered
	waits         throttle     // by class, and by reason if they were refused
}

func (l *log) acquireEnd(ctx context.Context, a gate.AcquireEnd) {
	if a.Optional || a.Err == nil && a.Waited < l.config.Slow || !l.logger.Enabled(ctx, slog.LevelWarn) {
		return
	}
	attributes := []slog.Attr{
		slog.String("class", a.Class),
		slog.Duration("waited", a.Waited),
		slog.Int("limit", a.Limit),
		slog.Int("in_flight", a.InFlight),
		slog.Int("waiting", a.Waiting),
	}
	message, reason := "slow wait for a permit", ""
	if a.Err != nil {
		message, reason = "no permit", errortype.Of(a.Err)
		attributes = append(attributes, slog.String("reason", reason))
	}
	if before, ok := l.waits.pass(a.Class + " " + reason); ok {
		l.logger.LogAttrs(ctx, slog.LevelWarn, message, append(attributes, slog.Int64("unwritten", before))...)
	}
}

// limitChange writes what an adaptive gate does at the level of ordinary
// statements, until its limit has moved by a quarter.
func (l *log) limitChange(c gate.LimitChange) {
	level, last := slog.LevelDebug, l.center.Load()
	if c.Reason == gate.LimitSet || 4*int64(c.Center) >= 5*last || 5*int64(c.Center) <= 4*last {
		level = slog.LevelInfo
		l.center.Store(int64(c.Center))
	}
	l.logger.LogAttrs(context.Background(), level, "limit changed",
		slog.Int("from", c.Old), slog.Int("to", c.New), slog.Int("center", c.Center), slog.String("reason", c.Reason))
}

func (l *log) leak(k gate.Leak) {
	level, message := slog.LevelWarn, "permit held too long"
	if k.Returned {
		level, message = slog.LevelInfo, "permit held too long was released"
	}
	attributes := []slog.Attr{slog.String("class", k.Class), slog.Duration("held", k.Held)}
	if k.Goroutine != 0 {
		attributes = append(attributes, slog.Int64("goroutine", k.Goroutine))
	}
	if k.Statement != "" {
		attributes = append(attributes, slog.String("statement", k.Statement))
	}
	if k.Stack != "" && !k.Returned {
		attributes = append(attributes, slog.String("stack", k.Stack))
	}
	l.logger.LogAttrs(context.Background(), level, message, attributes...)
}

// heartbeat writes what a member of a fleet knows: ordinary heartbeats at LevelDebug.
func (l *log) heartbeat(s gate.FleetStats) {
	level, message := slog.LevelDebug, "fleet heartbeat"
	attributes := []slog.Attr{
		slog.Int("share", s.Granted),
		slog.Int("target", s.Target),
		slog.Float64("demand", s.Demand),
		slog.Int("budget", s.Budget),
		slog.Int("members", s.Members),
		slog.Int("active", s.Active),
		slog.Uint64("heartbeats", s.Heartbeats),
		slog.Uint64("failures", s.Failures),
	}
	switch before := l.failing.Swap(s.LastError != nil); {
	case s.LastError != nil:
		level, message = slog.LevelWarn, "fleet heartbeat failed"
		attributes = append(attributes, l.failure(s.LastError))
	case before:
		level, message = slog.LevelInfo, "fleet heartbeat is answered again"
	}
	l.logger.LogAttrs(context.Background(), level, message, attributes...)
}

func (l *log) lease(ctx context.Context, s poolgate.LeaseStart) context.Context {
	if s.Err != nil && s.Connecting > 0 && !operation.IsOptional(ctx) { // acquireEnd has written what had no permit
		l.logger.LogAttrs(ctx, slog.LevelWarn, "no connection",
			slog.String("class", s.Class), slog.Duration("connecting", s.Connecting), l.failure(s.Err))
	}
	return ctx
}

func (l *log) leaseEnd(ctx context.Context, e poolgate.LeaseEnd) {
	if !l.logger.Enabled(ctx, slog.LevelDebug) || !l.nth(&l.leases) {
		return
	}
	l.logger.LogAttrs(ctx, slog.LevelDebug, "connection released",
		slog.String("class", e.Start.Class),
		slog.Duration("waited", e.Start.Waited),
		slog.Duration("connecting", e.Start.Connecting),
		slog.Duration("held", e.Held),
		slog.Duration("busy", e.Busy),
		slog.Int("calls", e.Calls),
		slog.Bool("discarded", e.Discarded))
}

func (l *log) call(ctx context.Context, c poolgate.Call) {
	level, message := l.ordinary, "statement"
	switch {
	case c.Took >= l.config.Slow:
		level, message = slog.LevelWarn, "slow statement"
	case c.Err == nil && !l.nth(&l.calls):
		return
	}
	if !l.logger.Enabled(ctx, level) {
		return
	}
	attributes := []slog.Attr{
		slog.String("kind", c.Kind),
		slog.Duration("took", c.Took),
		slog.String("class", c.Lease.Class),
	}
	if c.Query != "" {
		attributes = append(attributes, slog.String("query", l.query(c.Query)))
	}
	if c.Batch > 0 {
		attributes = append(attributes, slog.Int("batch", c.Batch))
	}
	if l.config.Values && len(c.Args) > 0 {
		attributes = append(attributes, slog.String("args", arguments(c.Args)))
	}
	if c.Err != nil {
		attributes = append(attributes, l.failure(c.Err))
	}
	l.logger.LogAttrs(ctx, level, message, attributes...)
}

// nth reports whether to write this one of all that n counts.
func (l *log) nth(n *atomic.Int64) bool { return (n.Add(1)-1)%int64(l.config.Every) == 0 }

func (l *log) query(query string) string {
	if l.config.Values {
		return query
	}
	return redact.Statement(query, longestStatement)
}

func (l *log) failure(err error) slog.Attr {
	if l.config.Values {
		return slog.String("error", err.Error())
	}
	return slog.String("error", errortype.Of(err))
}

func arguments(args []driver.NamedValue) string {
	var b strings.Builder
	for i, arg := range args {
		if i > 0 {
			b.WriteString(", ")
		}
		if value, ok := arg.Value.(string); ok {
			fmt.Fprintf(&b, "$%d=%q", arg.Ordinal, value)
		} else {
			fmt.Fprintf(&b, "$%d=%v", arg.Ordinal, arg.Value)
		}
	}
	return b.String()
}
