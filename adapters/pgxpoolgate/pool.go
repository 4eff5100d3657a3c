package pgxpoolgate

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A Pool is a *pgxpool.Pool behind a gate. Its methods of the same names do what
// those of the *pgxpool.Pool do, under a permit: each call first waits for one, and
// returns a *gate.RejectedError if it is refused. The permit is held as long as the
// connection.
//
// It is safe for concurrent use.
type Pool struct {
	inner  *pgxpool.Pool
	gate   *gate.Gate
	links  *links // nil with Wrap
	config Config
	db     *poolgate.DB
	most   *atomic.Int64 // connections that are kept; negative for any number

	class     string // of all that it checks out; "" leaves it to the context
	outOfBand bool   // all that it checks out is of the gate's lane
}

func newPool(inner *pgxpool.Pool, g *gate.Gate, config Config, links *links) *Pool {
	p := &Pool{inner: inner, gate: g, links: links, config: config, most: new(atomic.Int64)}
	p.most.Store(-1)
	p.db = poolgate.OpenShared(newSource(p), config.Gate)
	return p
}

// Gate returns the gate: for its Stats, for observers, and to take permits for work
// that does not go through the Pool. To change the limit use [Pool.SetLimit].
func (p *Pool) Gate() *gate.Gate { return p.gate }

// Inner returns the pool behind the gate. Calls on it pass no gate. It is for a
// connection that is kept for good, such as one for LISTEN.
func (p *Pool) Inner() *pgxpool.Pool { return p.inner }

// SetLimit changes the limit while the Pool is in use, see [gate.Gate.SetLimit].
// It refuses a limit above MaxConns of the inner pool, which cannot be changed.
func (p *Pool) SetLimit(n int) error {
	if err := fits("SetLimit", n, p.config.Gate.OutOfBand, int(p.inner.Stat().MaxConns())); err != nil {
		return err
	}
	return p.gate.SetLimit(n)
}

// Class returns a view of the Pool for the gate's class of that name, whatever
// class the context carries. It shares everything else with the Pool, and Close of
// either closes both. Per call, gate.WithClass does the same. Class panics if the
// gate has no class of that name.
func (p *Pool) Class(name string) *Pool {
	if !slices.ContainsFunc(p.config.Gate.Classes, func(c gate.Class) bool { return c.Name == name }) && name != gate.DefaultClass {
		panic(fmt.Sprintf("pgxpoolgate: Class(%q): Config.Gate.Classes has no class of this name", name))
	}
	view := *p
	view.class, view.outOfBand = name, false
	return &view
}

// OutOfBand returns a view of the Pool for single statements while the goroutine
// has a transaction or rows open. Its permits are those of the gate's lane,
// gate.Config.OutOfBand, and do not count towards the limit: a goroutine that holds
// a permit can wait for one of these and does not wait for itself. Do not hold a
// connection of the view while you query the Pool: that can wait for itself, and
// ends with gate.ErrDeadlock. BeginTx and Begin on it return
// [poolgate.ErrOutOfBand].
//
// OutOfBand panics if the gate has no lane.
func (p *Pool) OutOfBand() *Pool {
	if p.gate.Stats().OutOfBand.Max == 0 {
		panic("pgxpoolgate: OutOfBand: the gate has no lane, as Config.Gate.OutOfBand is NoOutOfBand " +
			"or MaxConns of the pgxpool leaves no connection besides the limit")
	}
	view := *p
	view.class, view.outOfBand = "", true
	return &view
}

// classOf is the class of a checkout under ctx.
func (p *Pool) classOf(ctx context.Context) string {
	switch {
	case p.outOfBand:
		return gate.OutOfBandClass
	case p.class != "":
		return p.class
	}
	return p.gate.ClassOf(ctx)
}

// Close stops admission: those who wait for a permit get gate.ErrClosed, and so do
// later calls. Like pgxpool's, it then waits until all connections are given back.
// It closes the DB, and the inner pool if the Pool owns it. To bound the wait, call
// Gate().Drain with a context before.
func (p *Pool) Close() {
	p.gate.Drain(context.Background()) // whose only error is the context's
	p.db.Close()                       // which holds nothing any more
	if p.config.CloseInner {
		p.inner.Close()
	}
}

// Stat returns the statistics of the inner pool. Nobody waits there: who waits for
// a permit, and for how long, is in Gate().Stats(). A connection that is being
// closed because it was bad counts as acquired.
func (p *Pool) Stat() *pgxpool.Stat { return p.inner.Stat() }

// Config returns a copy of the configuration of the inner pool.
func (p *Pool) Config() *pgxpool.Config { return p.inner.Config() }

// Reset closes all connections, those that are in use when they are given back.
func (p *Pool) Reset() { p.inner.Reset() }

// Acquire returns a connection, with its permit, until [Conn.Release].
func (p *Pool) Acquire(ctx context.Context) (*Conn, error) {
	c := new(Conn)
	if err := c.lease.acquire(ctx, p); err != nil {
		return nil, err
	}
	return c, nil
}

// AcquireFunc calls f with a connection, and releases it when f has returned or
// panics. The context is only for Acquire.
func (p *Pool) AcquireFunc(ctx context.Context, f func(*Conn) error) error {
	c, err := p.Acquire(ctx)
	if err != nil {
		return err
	}
	defer c.Release()
	return f(c)
}

// AcquireAllIdle acquires the connections that are idle, as far as permits for
// them are free at once. It waits for none. The view of OutOfBand acquires none.
func (p *Pool) AcquireAllIdle(ctx context.Context) []*Conn {
	if p.outOfBand {
		return nil
	}
	var permits []gate.Permit
	defer func() {
		for _, permit := range permits {
			permit.Release()
		}
	}()
	class := ctx
	if p.class != "" {
		class = gate.WithClass(ctx, p.class)
	}
	for range p.inner.Stat().IdleConns() {
		permit, ok := p.gate.TryAcquire(class)
		if !ok {
			break
		}
		permits = append(permits, permit)
	}
	if len(permits) == 0 {
		return nil
	}
	var conns []*Conn
	told := false
	defer func() {
		if !told { // an observer panics
			for _, c := range conns {
				c.Release()
			}
		}
	}()
	for _, conn := range p.inner.AcquireAllIdle(ctx) {
		if len(permits) == 0 {
			conn.Release()
			continue
		}
		c := new(Conn)
		c.lease.watch = p.db.Lease(ctx)
		c.lease.watch.Permitted()
		c.lease.hold(p, permits[0], conn)
		conns, permits = append(conns, c), permits[1:]
	}
	for _, c := range conns {
		if c.lease.watch != nil {
			c.lease.started(ctx, p, nil)
		}
	}
	told = true
	return conns
}

// Exec executes a statement on a connection.
func (p *Pool) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	l := new(lease)
	if err := l.acquire(ctx, p); err != nil {
		return pgconn.CommandTag{}, err
	}
	defer l.release()
	return l.exec(ctx, l.conn.Conn(), sql, args)
}

// Query executes a query. The connection is given back when the rows are closed,
// which they also are when Next has returned false or Scan an error.
func (p *Pool) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	r := new(ownRows)
	if err := r.own.acquire(ctx, p); err != nil {
		return errRows{err}, err
	}
	returned := false
	defer r.own.releaseUnless(&returned)
	r.rows.lease, r.rows.owns = &r.own, true
	err := r.rows.query(ctx, r.own.conn.Conn(), sql, args)
	returned = true
	return &r.rows, err
}

// QueryRow executes a query of which the first row is wanted. The connection is
// given back by Scan, which must be called.
func (p *Pool) QueryRow(ctx context.Context, sql string, args ...any) pgx.Row {
	r := new(ownRow)
	if err := r.own.acquire(ctx, p); err != nil {
		return errRow{err}
	}
	returned := false
	defer r.own.releaseUnless(&returned)
	r.row.lease, r.row.owns = &r.own, true
	r.row.query(ctx, r.own.conn.Conn(), sql, args)
	returned = true
	return &r.row
}

// SendBatch sends a batch. The connection is given back when the results are
// closed, or, if the batch began a transaction, when that has ended.
func (p *Pool) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	l := new(lease)
	if err := l.acquire(ctx, p); err != nil {
		return pgx.FailedBatchResults(b, err)
	}
	returned := false
	defer l.releaseUnless(&returned)
	br := l.sendBatch(ctx, l.conn.Conn(), b, true)
	returned = true
	return br
}

// CopyFrom copies rows into a table by COPY, and returns how many.
func (p *Pool) CopyFrom(ctx context.Context, table pgx.Identifier, columns []string, rows pgx.CopyFromSource) (int64, error) {
	l := new(lease)
	if err := l.acquire(ctx, p); err != nil {
		return 0, err
	}
	defer l.release()
	return l.copyFrom(ctx, l.conn.Conn(), table, columns, rows)
}

// Begin begins a transaction with the server's defaults.
func (p *Pool) Begin(ctx context.Context) (pgx.Tx, error) { return p.BeginTx(ctx, pgx.TxOptions{}) }

// BeginTx begins a transaction. The connection is given back by Commit or Rollback,
// of which one must be called: as with pgx, the end of ctx does not end the
// transaction.
func (p *Pool) BeginTx(ctx context.Context, options pgx.TxOptions) (pgx.Tx, error) {
	if p.outOfBand {
		return nil, errOutOfBand
	}
	l := new(lease)
	if err := l.acquire(ctx, p); err != nil {
		return nil, err
	}
	begun := false
	defer l.releaseUnless(&begun)
	t, err := l.beginTx(ctx, l.conn.Conn(), options, true)
	begun = err == nil
	return t, err
}

// Ping asks the server for an answer, on a connection.
func (p *Pool) Ping(ctx context.Context) error {
	l := new(lease)
	if err := l.acquire(ctx, p); err != nil {
		return err
	}
	defer l.release()
	return l.ping(ctx, l.conn.Conn())
}
