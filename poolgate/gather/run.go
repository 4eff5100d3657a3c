package gather

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"sync"

	"github.com/poolgate/poolgate/internal/operation"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/session"
)

// A DB runs the statements of a gather: a *poolgate.DB or an *sql.DB, such as a
// view of one.
type DB interface {
	session.DBTX
	Conn(context.Context) (*sql.Conn, error)
}

// Run runs statements side by side, each under a permit of its own, and returns
// when all have ended. It leaves no goroutine, connection or permit behind.
//
//	err := gather.Run(ctx, db, gather.Options{},
//		gather.Query(&page.Orders, "SELECT … WHERE customer = $1", customer),
//		gather.One(&page.Total, "SELECT sum(amount) …"),
//		gather.Exec(nil, "UPDATE …"))
//
// Run returns the [*StatementError] of the statement that failed first, or with
// Options.AllErrors those of all that failed, joined in their order. If a
// transaction could not be begun or committed, Run returns that error; if ctx
// ended before all statements had begun, ctx.Err(). If a statement panics, Run
// cancels the others and panics with a [*PanicError]. If a statement ends its
// goroutine, as testing.T.FailNow does, Run ends its caller's.
//
// If ctx carries a unit of package session that has a transaction open, the
// statements of a *poolgate.DB take their permits from the gate's lane out of
// band, if it has one, so that they cannot wait for the permit that the unit
// holds. They do not see what the unit has written and not committed.
//
// Without statements Run does nothing. It returns an error that names the field
// of o that it cannot accept.
func Run(ctx context.Context, db DB, o Options, statements ...Statement) error {
	return run(ctx, db, o, len(statements), func(ctx context.Context, db session.DBTX, i int) (err error) {
		h := &handle{DBTX: db, given: ctx}
		defer func() { err = h.end(err) }() // also if the statement panics
		return statements[i](ctx, h)
	})
}

func run(ctx context.Context, db DB, o Options, n int, statement func(context.Context, session.DBTX, int) error) (err error) {
	if err := o.check(); err != nil {
		return err
	}
	if n == 0 {
		return nil
	}
	lane := false
	if session.From(ctx).InTx() {
		db, lane = outOfBand(db)
	}
	ctx, end := operation.Start(ctx, "gather")
	g := &gathering{caller: ctx, db: db, options: o, n: n, statement: statement, workers: o.workers(n)}
	if end != nil {
		defer func() { g.tell(end, err, lane) }()
	}
	if o.Chunked && o.Consistency != Pipelined {
		g.chunk = g.workers
	}
	g.turn.L = &g.mu
	g.ctx, g.cancel = context.WithCancel(ctx)
	defer g.running.Wait() // also if a statement ends this goroutine
	defer g.cancel()
	switch o.Consistency {
	case Independent:
		g.guard(g.independent)
	case Snapshot:
		g.guard(g.snapshot)
	case Serial:
		g.guard(func() { g.serial(beginSerial) })
	case Pipelined:
		g.guard(g.pipelined)
	}
	g.running.Wait()
	return g.outcome()
}

// outOfBand returns the view of db that takes no permits of the limit, and
// reports whether db has one.
func outOfBand(db DB) (DB, bool) {
	if d, ok := db.(*poolgate.DB); ok && d.Gate().Stats().OutOfBand.Max > 0 {
		return d.OutOfBand(), true
	}
	return db, false
}

// A gathering is one call of Run.
type gathering struct {
	caller    context.Context
	ctx       context.Context // the statements'
	cancel    context.CancelFunc
	db        DB
	options   Options
	n         int
	statement func(ctx context.Context, db session.DBTX, i int) error
	workers   int // how many statements run at once
	chunk     int // how many are a wave, or 0

	running sync.WaitGroup // the goroutines that spawn has started

	mu       sync.Mutex // guards what follows
	turn     sync.Cond  // a statement of the wave has ended, or all is stopped
	next     int        // the statement that begins next
	ended    int
	waveEnd  int // the statement at which the next wave begins
	stopped  bool
	failed   []error // by statement with AllErrors, otherwise the first
	err      error   // of a transaction
	missing  error   // why a connection could not join
	panicked *PanicError
	exited   bool // a statement has ended its goroutine
}

// independent runs statements on the pool with every worker.
func (g *gathering) independent() {
	for range g.workers - 1 {
		g.spawn(g.work)
	}
	g.work()
}

// work runs statements until there are none.
func (g *gathering) work() {
	for i, ok := g.take(); ok; i, ok = g.take() {
		g.end(i, g.statement(g.ctx, g.db, i))
	}
}

// spawn runs worker in a new goroutine.
func (g *gathering) spawn(worker func()) { g.running.Go(func() { g.guard(worker) }) }

// guard runs worker and keeps its panic for the caller's goroutine.
func (g *gathering) guard(worker func()) {
	returned := false
	defer func() {
		if returned {
			return
		}
		value := recover()
		g.mu.Lock()
		defer g.mu.Unlock()
		if value == nil {
			g.exited = true
		} else if g.panicked == nil {
			g.panicked = &PanicError{value, debug.Stack()}
		}
		g.stop()
	}()
	worker()
	returned = true
}

// take returns the next statement to begin, if there is one.
func (g *gathering) take() (i int, ok bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.chunk > 0 && g.next == g.waveEnd && g.ended < g.next && !g.stopped {
		g.turn.Wait()
	}
	if g.stopped || g.next == g.n || g.ctx.Err() != nil {
		return 0, false
	}
	if g.chunk > 0 && g.next == g.waveEnd {
		g.waveEnd += g.chunk
	}
	i = g.next
	g.next++
	return i, true
}

// more reports whether there are statements left to begin.
func (g *gathering) more() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.stopped && g.next < g.n
}

// end notes how statement i has ended.
func (g *gathering) end(i int, err error) {
	err = g.explain(err)
	g.mu.Lock()
	defer g.mu.Unlock()
	g.ended++
	switch {
	case err == nil || g.stopped && !g.options.AllErrors:
	case g.options.AllErrors:
		if g.failed == nil {
			g.failed = make([]error, g.n)
		}
		g.failed[i] = &StatementError{i, err}
	default:
		g.failed = []error{&StatementError{i, err}}
		g.stop()
	}
	if g.chunk > 0 {
		g.turn.Broadcast()
	}
}

// fail ends the gather because a transaction failed.
func (g *gathering) fail(err error) {
	err = g.explain(err)
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.stopped {
		g.err = err
		g.stop()
	}
}

// without notes that a connection could not join.
func (g *gathering) without(err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.missing == nil {
		g.missing = err
	}
}

// explain adds that the caller's context has ended. Some drivers say only that
// the server was asked to cancel, and a COMMIT that is given up late ends with
// the error of another context.
func (g *gathering) explain(err error) error {
	ended := g.caller.Err()
	switch {
	case err == nil || ended == nil || errors.Is(err, ended):
		return err
	case errors.Is(err, context.Canceled):
		return fmt.Errorf("%w (%v)", ended, err)
	}
	return fmt.Errorf("%w (%w)", ended, err)
}

// stop lets no further statement begin, and cancels those that are running. The
// caller holds g.mu.
func (g *gathering) stop() {
	g.stopped = true
	g.cancel()
	g.turn.Broadcast()
}

// whole reports whether every statement has succeeded.
func (g *gathering) whole() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return !g.stopped && g.failed == nil && g.ended == g.n
}

// outcome returns what Run returns, or panics, when nothing runs any more.
func (g *gathering) outcome() error {
	switch {
	case g.panicked != nil:
		panic(g.panicked)
	case g.exited:
		runtime.Goexit()
	case g.failed != nil && !g.options.AllErrors:
		return g.failed[0]
	}
	err := g.err
	if err == nil && g.ended < g.n {
		if err = g.caller.Err(); err == nil {
			err = errors.Join(fmt.Errorf("gather: no connection is left for %d of %d statements", g.n-g.ended, g.n), g.missing)
		}
	}
	if g.failed == nil {
		return err
	}
	return errors.Join(append(g.failed, err)...)
}

// tell tells the observer of the gather that it has ended.
func (g *gathering) tell(end operation.End, err error, lane bool) {
	if g.panicked != nil {
		err = g.panicked
	}
	end(err, slog.String("consistency", g.options.Consistency.String()), slog.Int("statements", g.n), slog.Bool("out_of_band", lane))
}

// over reports whether the gather was stopped.
func (g *gathering) over() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stopped
}
