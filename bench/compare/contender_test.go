package compare

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"io"
	"math"
	"testing"
	"time"

	"github.com/failsafe-go/failsafe-go/adaptivelimiter"
	"github.com/failsafe-go/failsafe-go/bulkhead"
	"github.com/jackc/puddle/v2"
	"github.com/platinummonkey/go-concurrency-limits/core"
	"github.com/platinummonkey/go-concurrency-limits/limit"
	"github.com/platinummonkey/go-concurrency-limits/limiter"
	"github.com/platinummonkey/go-concurrency-limits/strategy"
	"golang.org/x/sync/semaphore"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// A contender is something that lets a limited number in at once.
type contender interface {
	// do waits until it may, calls hold, and lets the next one in. It returns
	// an error, without a call of hold, if ctx ends before that or the
	// contender refuses.
	do(ctx context.Context, hold func()) error
	close()
}

// contenders are all that are compared, with what makes each: for a limit, and
// for so many goroutines, which are all to find a place in the queue.
var contenders = []struct {
	name string
	make func(tb testing.TB, limit, goroutines int) contender
}{
	{"gate", newGate},
	{"gate-classes", newGateWithClasses},
	{"semaphore", newSemaphore},
	{"channel", newChannel},
	{"failsafe-bulkhead", newBulkhead},
	{"failsafe-adaptive", newAdaptive},
	{"concurrency-limits", newConcurrencyLimits},
	{"puddle", newPuddle},
	{"database-sql", newDatabaseSQL},
}

const wholeDay = 24 * time.Hour

type gated struct{ *gate.Gate }

func newGate(tb testing.TB, limit, goroutines int) contender {
	return makeGate(tb, gate.Config{Limit: limit, MaxWaiting: goroutines, MaxWait: wholeDay})
}

// newGateWithClasses has a class that half of the limit is reserved for, and one
// that the web has precedence over. The benchmarks' goroutines are half of the
// one and half of the other, see classOf, so both always have waiters.
func newGateWithClasses(tb testing.TB, limit, goroutines int) contender {
	return makeGate(tb, gate.Config{Limit: limit, MaxWaiting: goroutines, MaxWait: wholeDay, Classes: []gate.Class{
		{Name: "web", Reserved: limit / 2},
		{Name: "reports"},
	}})
}

func makeGate(tb testing.TB, config gate.Config) contender {
	g, err := gate.New(config)
	if err != nil {
		tb.Fatal(err)
	}
	return gated{g}
}

// classOf returns a context of the class that the i-th goroutine is of.
func classOf(ctx context.Context, i int) context.Context {
	if i%2 == 0 {
		return gate.WithClass(ctx, "web")
	}
	return gate.WithClass(ctx, "reports")
}

func (g gated) do(ctx context.Context, hold func()) error {
	p, err := g.Acquire(ctx)
	if err != nil {
		return err
	}
	hold()
	p.Release()
	return nil
}

func (g gated) close() { g.Close() }

type weighted struct{ *semaphore.Weighted }

func newSemaphore(_ testing.TB, limit, _ int) contender {
	return weighted{semaphore.NewWeighted(int64(limit))}
}

func (s weighted) do(ctx context.Context, hold func()) error {
	if err := s.Acquire(ctx, 1); err != nil {
		return err
	}
	hold()
	s.Release(1)
	return nil
}

func (weighted) close() {}

type channel chan struct{}

func newChannel(_ testing.TB, limit, _ int) contender { return make(channel, limit) }

func (c channel) do(ctx context.Context, hold func()) error {
	select {
	case c <- struct{}{}:
	case <-ctx.Done():
		return ctx.Err()
	}
	hold()
	<-c
	return nil
}

func (channel) close() {}

type bulk struct{ bulkhead.Bulkhead[any] }

func newBulkhead(_ testing.TB, limit, _ int) contender { return bulk{bulkhead.New[any](uint(limit))} }

func (b bulk) do(ctx context.Context, hold func()) error {
	if err := b.AcquirePermit(ctx); err != nil {
		return err
	}
	hold()
	b.ReleasePermit()
	return nil
}

func (bulk) close() {}

type adaptive struct {
	adaptivelimiter.AdaptiveLimiter[any]
}

// newAdaptive fixes the limit from both sides: what is compared is what it
// costs to pass a limit, not which limit it finds.
func newAdaptive(_ testing.TB, limit, _ int) contender {
	n := uint(limit)
	return adaptive{adaptivelimiter.NewBuilder[any]().WithLimits(n, n, n).Build()}
}

func (a adaptive) do(ctx context.Context, hold func()) error {
	p, err := a.AcquirePermit(ctx)
	if err != nil {
		return err
	}
	hold()
	p.Record()
	return nil
}

func (adaptive) close() {}

type limits struct{ core.Limiter }

// newConcurrencyLimits has its queue in order of arrival, and waiters whose
// context ends leave.
func newConcurrencyLimits(tb testing.TB, n, goroutines int) contender {
	const second = int64(time.Second)
	inner, err := limiter.NewDefaultLimiter(limit.NewFixedLimit("fixed", n, nil), second, second, 1e5, 100,
		strategy.NewSimpleStrategy(n), limit.NoopLimitLogger{}, core.EmptyMetricRegistryInstance)
	if err != nil {
		tb.Fatal(err)
	}
	return limits{limiter.NewQueueBlockingLimiterFromConfig(inner, limiter.QueueLimiterConfig{
		Ordering:            limiter.OrderingFIFO,
		MaxBacklogSize:      goroutines,
		MaxBacklogTimeout:   time.Second, // its default
		BacklogEvictDoneCtx: true,
	})}
}

// do tries again if it has waited in vain: one that joins the queue in the
// instant of the last release is not woken.
func (l limits) do(ctx context.Context, hold func()) error {
	for {
		if listener, ok := l.Acquire(ctx); ok {
			hold()
			listener.OnSuccess()
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}

func (limits) close() {}

type puddled struct{ *puddle.Pool[int] }

func newPuddle(tb testing.TB, limit, _ int) contender {
	pool, err := puddle.NewPool(&puddle.Config[int]{
		Constructor: func(context.Context) (int, error) { return 0, nil },
		Destructor:  func(int) {},
		MaxSize:     int32(min(limit, math.MaxInt32)),
	})
	if err != nil {
		tb.Fatal(err)
	}
	return puddled{pool}
}

func (p puddled) do(ctx context.Context, hold func()) error {
	r, err := p.Acquire(ctx)
	if err != nil {
		return err
	}
	hold()
	r.Release()
	return nil
}

func (p puddled) close() { p.Close() }

type pooled struct{ *sql.DB }

func newDatabaseSQL(_ testing.TB, limit, _ int) contender {
	db := sql.OpenDB(nullConnector{})
	db.SetMaxOpenConns(limit)
	db.SetMaxIdleConns(limit)
	return pooled{db}
}

func (p pooled) do(ctx context.Context, hold func()) error {
	c, err := p.Conn(ctx)
	if err != nil {
		return err
	}
	hold()
	return c.Close()
}

func (p pooled) close() { p.Close() }

// A driver that does nothing, at no cost.
type (
	nullConnector struct{}
	nullDriver    struct{}
	nullConn      struct{}
)

func (nullConnector) Connect(context.Context) (driver.Conn, error) { return nullConn{}, nil }
func (nullConnector) Driver() driver.Driver                        { return nullDriver{} }
func (nullDriver) Open(string) (driver.Conn, error)                { return nullConn{}, nil }
func (nullConn) Prepare(string) (driver.Stmt, error)               { return nil, io.EOF }
func (nullConn) Begin() (driver.Tx, error)                         { return nil, io.EOF }
func (nullConn) Close() error                                      { return nil }
