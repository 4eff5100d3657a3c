package poolgate_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A recorder is a driver that writes down what is asked of it, each call with
// the connection's number and how many permits are out at that moment:
// "exec#1 held=1". It does nothing but succeed unless on says otherwise.
type recorder struct {
	shape func(*recConn) driver.Conn // which interfaces its connections show

	mu     sync.Mutex
	events []string
	conns  int
	gate   *gate.Gate

	// on is asked in every call, without the lock; it may fail, panic or block.
	on func(call string, conn int) error
	// seen is the context of the last call that had one.
	seen context.Context
}

func (r *recorder) record(call string, conn int) error {
	r.mu.Lock()
	held := -1
	if r.gate != nil {
		held = r.gate.Stats().InFlight
	}
	r.events = append(r.events, fmt.Sprintf("%s#%d held=%d", call, conn, held))
	on := r.on
	r.mu.Unlock()
	if on != nil {
		return on(call, conn)
	}
	return nil
}

// take returns what was recorded since the last time.
func (r *recorder) take() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	events := r.events
	r.events = nil
	return events
}

func (r *recorder) set(on func(call string, conn int) error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.on = on
}

// observe has the recorder count g's permits.
func (r *recorder) observe(g *gate.Gate) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.gate = g
}

func (r *recorder) see(ctx context.Context) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen = ctx
}

func (r *recorder) Connect(ctx context.Context) (driver.Conn, error) {
	r.mu.Lock()
	r.conns++
	n := r.conns
	r.mu.Unlock()
	if err := r.record("connect", n); err != nil {
		return nil, err
	}
	return r.shape(&recConn{r: r, n: n}), nil
}

func (r *recorder) Driver() driver.Driver            { return r }
func (r *recorder) Open(string) (driver.Conn, error) { return r.Connect(context.Background()) }

// recConn has what every driver's connection has; the types below add the rest.
type recConn struct {
	r *recorder
	n int
}

func (c *recConn) Prepare(string) (driver.Stmt, error) {
	if err := c.r.record("prepare", c.n); err != nil {
		return nil, err
	}
	return recStmt{c}, nil
}

func (c *recConn) Begin() (driver.Tx, error) {
	if err := c.r.record("begin", c.n); err != nil {
		return nil, err
	}
	return recTx{c}, nil
}

func (c *recConn) Close() error { return c.r.record("close", c.n) }

func (c *recConn) exec(ctx context.Context) (driver.Result, error) {
	c.r.see(ctx)
	return driver.RowsAffected(1), c.r.record("exec", c.n)
}

func (c *recConn) query(ctx context.Context) (driver.Rows, error) {
	c.r.see(ctx)
	if err := c.r.record("query", c.n); err != nil {
		return nil, err
	}
	return recRows{c}, nil
}

type (
	execer       struct{ *recConn }
	queryer      struct{ *recConn }
	legacyExecer struct{ *recConn }
	legacyQuery  struct{ *recConn }
	resetter     struct{ *recConn }
	validator    struct{ *recConn }
	contextual   struct{ *recConn }
)

func (c execer) ExecContext(ctx context.Context, _ string, _ []driver.NamedValue) (driver.Result, error) {
	return c.exec(ctx)
}

func (c queryer) QueryContext(ctx context.Context, _ string, _ []driver.NamedValue) (driver.Rows, error) {
	return c.query(ctx)
}

func (c legacyExecer) Exec(string, []driver.Value) (driver.Result, error) {
	return c.exec(context.TODO())
}
func (c legacyQuery) Query(string, []driver.Value) (driver.Rows, error) {
	return c.query(context.TODO())
}

func (c resetter) ResetSession(ctx context.Context) error {
	c.r.see(ctx)
	return c.r.record("reset", c.n)
}

func (c validator) IsValid() bool { return c.r.record("valid", c.n) == nil }

func (c contextual) PrepareContext(ctx context.Context, query string) (driver.Stmt, error) {
	c.r.see(ctx)
	stmt, err := c.Prepare(query)
	if err != nil {
		return nil, err
	}
	return contextualStmt{stmt.(recStmt)}, nil
}

func (c contextual) BeginTx(ctx context.Context, _ driver.TxOptions) (driver.Tx, error) {
	c.r.see(ctx)
	return c.Begin()
}

func (c contextual) Ping(ctx context.Context) error {
	c.r.see(ctx)
	return c.r.record("ping", c.n)
}

func (c contextual) CheckNamedValue(v *driver.NamedValue) error {
	if err := c.r.record("check", c.n); err != nil {
		return err
	}
	switch v.Value {
	case "remove me":
		return driver.ErrRemoveArgument
	case "skip me":
		return driver.ErrSkip
	}
	return nil
}

// modernConn has every interface, as lib/pq's connection does.
type modernConn struct {
	*recConn
	driver.ExecerContext
	driver.QueryerContext
	driver.SessionResetter
	driver.Validator
	contextual
}

func (c modernConn) Prepare(q string) (driver.Stmt, error) { return c.recConn.Prepare(q) }
func (c modernConn) Begin() (driver.Tx, error)             { return c.recConn.Begin() }
func (c modernConn) Close() error                          { return c.recConn.Close() }

func modern(c *recConn) driver.Conn {
	return modernConn{c, execer{c}, queryer{c}, resetter{c}, validator{c}, contextual{c}}
}

func plain(c *recConn) driver.Conn { return c }

// noValidator is as pgx's connection is.
func noValidator(c *recConn) driver.Conn {
	return struct {
		*recConn
		driver.ExecerContext
		driver.QueryerContext
		driver.SessionResetter
	}{c, execer{c}, queryer{c}, resetter{c}}
}

type recStmt struct{ c *recConn }

func (s recStmt) Close() error  { return s.c.r.record("stmt.close", s.c.n) }
func (s recStmt) NumInput() int { return -1 }
func (s recStmt) Exec([]driver.Value) (driver.Result, error) {
	return driver.RowsAffected(1), s.c.r.record("stmt.exec", s.c.n)
}
func (s recStmt) Query([]driver.Value) (driver.Rows, error) {
	return recRows(s), s.c.r.record("stmt.query", s.c.n)
}

// contextualStmt has the methods of the statements of lib/pq and pgx, and is kept.
type contextualStmt struct{ recStmt }

func (s contextualStmt) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	s.c.r.see(ctx)
	return s.Exec(nil)
}

func (s contextualStmt) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	s.c.r.see(ctx)
	return s.Query(nil)
}

type recTx struct{ c *recConn }

func (t recTx) Commit() error   { return t.c.r.record("commit", t.c.n) }
func (t recTx) Rollback() error { return t.c.r.record("rollback", t.c.n) }

type recRows struct{ c *recConn }

func (r recRows) Columns() []string         { return nil }
func (r recRows) Next([]driver.Value) error { return io.EOF }
func (r recRows) Close() error              { return r.c.r.record("rows.close", r.c.n) }

// open wraps a recorder. When the test ends nothing may be held any more.
func open(t *testing.T, shape func(*recConn) driver.Conn, config poolgate.Config) (*poolgate.DB, *recorder) {
	t.Helper()
	leaks := goleak.IgnoreCurrent()
	r := &recorder{shape: shape}
	inner := sql.OpenDB(r)
	db, err := poolgate.Wrap(inner, config)
	if err != nil {
		t.Fatal(err)
	}
	r.gate = db.Gate()
	t.Cleanup(func() {
		r.set(nil)
		waitIdle(t, db)
		db.Close()
		inner.Close()
		goleak.VerifyNone(t, leaks)
	})
	return db, r
}

func limit(n int) poolgate.Config { return poolgate.Config{Gate: gate.Config{Limit: n}} }

// waitIdle waits until nothing is held, for database/sql ends cancelled
// transactions on a goroutine of its own.
func waitIdle(t *testing.T, db *poolgate.DB) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); ; time.Sleep(time.Millisecond) {
		g, pool := db.Gate().Stats(), db.Stats()
		if g.InFlight == 0 && g.Waiting == 0 && pool.InUse == 0 {
			return
		}
		if time.Now().After(end) {
			t.Errorf("left behind: %d permits, %d waiters, %d connections in use", g.InFlight, g.Waiting, pool.InUse)
			return
		}
	}
}

func expect(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("\ngot  %s\nwant %s", strings.Join(got, ", "), strings.Join(want, ", "))
	}
}
