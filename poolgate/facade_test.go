package poolgate_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCallSequences(t *testing.T) {
	ctx := context.Background()
	for _, test := range []struct {
		name  string
		shape func(*recConn) driver.Conn
		do    func(t *testing.T, db *sql.DB)
		want  []string
	}{
		{"an exec holds its permit for the call and returns its connection first", modern, func(t *testing.T, db *sql.DB) {
			_, err := db.ExecContext(ctx, "x")
			must(t, err)
			_, err = db.ExecContext(ctx, "x")
			must(t, err)
		}, []string{
			"connect#1 held=1", "exec#1 held=1", "valid#1 held=1",
			"reset#1 held=1", "exec#1 held=1", "valid#1 held=1",
		}},
		{"rows hold it until they are closed", modern, func(t *testing.T, db *sql.DB) {
			rows, err := db.QueryContext(ctx, "x")
			must(t, err)
			must(t, rows.Close())
		}, []string{"connect#1 held=1", "query#1 held=1", "rows.close#1 held=1", "valid#1 held=1"}},
		{"a transaction holds it until its end", modern, func(t *testing.T, db *sql.DB) {
			tx, err := db.BeginTx(ctx, nil)
			must(t, err)
			_, err = tx.ExecContext(ctx, "x")
			must(t, err)
			must(t, tx.Commit())
			tx, err = db.BeginTx(ctx, nil)
			must(t, err)
			must(t, tx.Rollback())
		}, []string{
			"connect#1 held=1", "begin#1 held=1", "exec#1 held=1", "commit#1 held=1", "valid#1 held=1",
			"reset#1 held=1", "begin#1 held=1", "rollback#1 held=1", "valid#1 held=1",
		}},
		{"a cancelled transaction keeps its connection where the driver can reset and validate it", modern,
			cancelledTx, []string{"connect#1 held=1", "begin#1 held=1", "rollback#1 held=1", "valid#1 held=1"}},
		{"a cancelled transaction discards its connection where the driver cannot", noValidator,
			cancelledTx, []string{"connect#1 held=1", "begin#1 held=1", "rollback#1 held=1", "close#1 held=1"}},
		{"a Conn is one checkout until it is closed", modern, func(t *testing.T, db *sql.DB) {
			conn, err := db.Conn(ctx)
			must(t, err)
			_, err = conn.ExecContext(ctx, "x")
			must(t, err)
			must(t, conn.PingContext(ctx))
			tx, err := conn.BeginTx(ctx, nil)
			must(t, err)
			must(t, tx.Commit())
			must(t, conn.Close())
		}, []string{
			"connect#1 held=1", "exec#1 held=1", "ping#1 held=1", "begin#1 held=1", "commit#1 held=1", "valid#1 held=1",
		}},
		{"a Raw that succeeds, or fails with an error of its own, keeps the connection", modern, func(t *testing.T, db *sql.DB) {
			for _, want := range []error{nil, errors.New("mine")} {
				conn, err := db.Conn(ctx)
				must(t, err)
				if err := conn.Raw(func(any) error { return want }); err != want {
					t.Errorf("got %v, want %v", err, want)
				}
				must(t, conn.Close())
			}
		}, []string{"connect#1 held=1", "valid#1 held=1", "reset#1 held=1", "valid#1 held=1"}},
		{"a Raw that says that the connection is bad has it discarded", modern, func(t *testing.T, db *sql.DB) {
			conn, err := db.Conn(ctx)
			must(t, err)
			if err := conn.Raw(func(any) error { return driver.ErrBadConn }); err != driver.ErrBadConn {
				t.Errorf("got %v", err)
			}
			if err := conn.Close(); err != sql.ErrConnDone {
				t.Errorf("Close after it: %v", err)
			}
		}, []string{"connect#1 held=1", "close#1 held=1"}},
		{"a Raw that panics has it discarded", modern, func(t *testing.T, db *sql.DB) {
			conn, err := db.Conn(ctx)
			must(t, err)
			if got := panics(func() { conn.Raw(func(any) error { panic("mine") }) }); got != "mine" {
				t.Errorf("the panic arrived as %v", got)
			}
		}, []string{"connect#1 held=1", "close#1 held=1"}},
		{"a Stmt is prepared once, and stays with its connection", modern, func(t *testing.T, db *sql.DB) {
			for range 2 {
				stmt, err := db.PrepareContext(ctx, "x")
				must(t, err)
				_, err = stmt.ExecContext(ctx)
				must(t, err)
				must(t, stmt.Close())
			}
		}, []string{
			"connect#1 held=1", "prepare#1 held=1", "valid#1 held=1", "reset#1 held=1", "stmt.exec#1 held=1", "valid#1 held=1",
			"reset#1 held=1", "valid#1 held=1", "reset#1 held=1", "stmt.exec#1 held=1", "valid#1 held=1",
		}},
		{"a Stmt of a driver that prepares everything is prepared again for each checkout", plain, func(t *testing.T, db *sql.DB) {
			stmt, err := db.PrepareContext(ctx, "x")
			must(t, err)
			_, err = stmt.ExecContext(ctx)
			must(t, err)
			must(t, stmt.Close())
		}, []string{
			"connect#1 held=1", "prepare#1 held=1", "stmt.close#1 held=1", "prepare#1 held=1", "stmt.exec#1 held=1", "stmt.close#1 held=1",
		}},
		{"Ping asks the driver", modern, func(t *testing.T, db *sql.DB) {
			must(t, db.PingContext(ctx))
		}, []string{"connect#1 held=1", "ping#1 held=1", "valid#1 held=1"}},
		{"Ping of a driver that cannot is a checkout", plain, func(t *testing.T, db *sql.DB) {
			must(t, db.PingContext(ctx))
		}, []string{"connect#1 held=1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			db, r := open(t, test.shape, limit(3))
			test.do(t, db.DB)
			waitIdle(t, db)
			expect(t, r.take(), test.want...)
		})
	}
}

func cancelledTx(t *testing.T, db *sql.DB) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	_, err := db.BeginTx(ctx, nil)
	must(t, err)
	cancel() // database/sql rolls back on a goroutine of its own
	waitFor(t, func() bool { return db.Stats().InUse == 0 })
}

func panics(f func()) (value any) {
	defer func() { value = recover() }()
	f()
	return nil
}

// The driver's optional interfaces decide what database/sql does.
func TestInterfaces(t *testing.T) {
	ctx := context.Background()
	all := func(t *testing.T, db *sql.DB) {
		_, err := db.ExecContext(ctx, "x", 1)
		must(t, err)
		rows, err := db.QueryContext(ctx, "x", 1)
		must(t, err)
		must(t, rows.Close())
	}
	for _, test := range []struct {
		name  string
		shape func(*recConn) driver.Conn
	}{
		{"neither Execer nor Queryer", plain},
		{"an Execer", func(c *recConn) driver.Conn {
			return struct {
				*recConn
				driver.ExecerContext
			}{c, execer{c}}
		}},
		{"a Queryer", func(c *recConn) driver.Conn {
			return struct {
				*recConn
				driver.QueryerContext
			}{c, queryer{c}}
		}},
		{"the forms without a context", func(c *recConn) driver.Conn {
			return struct {
				*recConn
				driver.Execer
				driver.Queryer
			}{c, legacyExecer{c}, legacyQuery{c}}
		}},
		{"a resetter without a Validator", noValidator},
		{"a Validator without a resetter", func(c *recConn) driver.Conn {
			return struct {
				*recConn
				driver.Validator
			}{c, validator{c}}
		}},
		{"a resetter and Validator alone", func(c *recConn) driver.Conn {
			return struct {
				*recConn
				driver.SessionResetter
				driver.Validator
			}{c, resetter{c}, validator{c}}
		}},
		{"an Execer that resets", func(c *recConn) driver.Conn {
			return struct {
				*recConn
				driver.ExecerContext
				driver.SessionResetter
				driver.Validator
			}{c, execer{c}, resetter{c}, validator{c}}
		}},
		{"a Queryer that resets", func(c *recConn) driver.Conn {
			return struct {
				*recConn
				driver.QueryerContext
				driver.SessionResetter
				driver.Validator
			}{c, queryer{c}, resetter{c}, validator{c}}
		}},
		{"all of them", modern},
	} {
		t.Run(test.name+": the driver is asked as by a bare pool", func(t *testing.T) {
			r := &recorder{shape: test.shape}
			bare := sql.OpenDB(r)
			defer bare.Close()
			all(t, bare)
			cancelledTx(t, bare)
			want := calls(r.take())

			db, r := open(t, test.shape, limit(3))
			all(t, db.DB)
			cancelledTx(t, db.DB)
			waitIdle(t, db)
			expect(t, calls(r.take()), want...)
		})
	}

	t.Run("a driver that wants its statements prepared is asked twice, as by a bare pool", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		r.set(func(call string, _ int) error {
			if call == "exec" || call == "query" {
				return driver.ErrSkip
			}
			return nil
		})
		all(t, db.DB)
		expect(t, calls(r.take()), "connect#1", "check#1", "exec#1", "prepare#1", "check#1", "stmt.exec#1",
			"stmt.close#1", "valid#1", "reset#1", "check#1", "query#1", "prepare#1", "check#1", "stmt.query#1",
			"rows.close#1", "stmt.close#1", "valid#1")
	})

	t.Run("the driver checks, converts, removes and declines arguments", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		for _, arg := range []any{"remove me", "skip me", 7} {
			_, err := db.ExecContext(ctx, "x", arg)
			must(t, err)
		}
		refused := errors.New("not this one")
		r.set(func(call string, _ int) error {
			if call == "check" {
				return refused
			}
			return nil
		})
		if _, err := db.ExecContext(ctx, "x", 1); !errors.Is(err, refused) {
			t.Errorf("got %v", err)
		}
	})

	t.Run("an isolation level is refused where the driver knows none", func(t *testing.T) {
		db, _ := open(t, plain, limit(1))
		for _, opts := range []*sql.TxOptions{{Isolation: sql.LevelSerializable}, {ReadOnly: true}} {
			if _, err := db.BeginTx(ctx, opts); err == nil || !strings.Contains(err.Error(), "driver does not support") {
				t.Errorf("got %v", err)
			}
		}
	})

	t.Run("named parameters are refused where the driver knows none", func(t *testing.T) {
		db, _ := open(t, func(c *recConn) driver.Conn {
			return struct {
				*recConn
				driver.Execer
				driver.Queryer
			}{c, legacyExecer{c}, legacyQuery{c}}
		}, limit(1))
		if _, err := db.ExecContext(ctx, "x", sql.Named("a", 1)); err == nil || !strings.Contains(err.Error(), "Named Parameters") {
			t.Errorf("Exec: %v", err)
		}
		if _, err := db.QueryContext(ctx, "x", sql.Named("a", 1)); err == nil || !strings.Contains(err.Error(), "Named Parameters") {
			t.Errorf("Query: %v", err)
		}
	})
}

// calls strips the permits from what was recorded.
func calls(events []string) []string {
	for i, e := range events {
		events[i], _, _ = strings.Cut(e, " ")
	}
	return events
}

func waitFor(t *testing.T, what func() bool) {
	t.Helper()
	for end := time.Now().Add(5 * time.Second); !what(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("waited in vain")
		}
	}
}

func TestAdmission(t *testing.T) {
	ctx := context.Background()

	t.Run("a waiting caller occupies no connection", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		rows, err := db.QueryContext(ctx, "x")
		must(t, err)
		done := make(chan error)
		go func() {
			_, err := db.ExecContext(ctx, "x")
			done <- err
		}()
		waitFor(t, func() bool { return db.Gate().Stats().Waiting == 1 })
		if s := db.Stats(); s.InUse != 1 || s.WaitCount != 0 {
			t.Errorf("inner pool: %+v", s)
		}
		must(t, rows.Close())
		must(t, <-done)
		expect(t, calls(r.take()), "connect#1", "query#1", "rows.close#1", "valid#1", "reset#1", "exec#1", "valid#1")
	})

	t.Run("a refusal is returned as it is, is not tried again, and the driver never hears of it", func(t *testing.T) {
		config := limit(1)
		config.Gate.MaxWaiting = gate.NoWaiting
		db, r := open(t, modern, config)
		conn, err := db.Conn(ctx)
		must(t, err)
		_, err = db.ExecContext(ctx, "x")
		if _, same := err.(*gate.RejectedError); !same || !errors.Is(err, gate.ErrQueueFull) || errors.Is(err, driver.ErrBadConn) {
			t.Errorf("got %T: %v", err, err)
		}
		if got := db.Gate().Stats().QueueFull; got != 1 {
			t.Errorf("asked %d times", got)
		}
		must(t, conn.Close())
		expect(t, calls(r.take()), "connect#1", "valid#1")
	})

	t.Run("a context that ends while waiting is what the caller gets", func(t *testing.T) {
		db, _ := open(t, modern, limit(1))
		conn, err := db.Conn(ctx)
		must(t, err)
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		if _, err := db.ExecContext(short, "x"); !errors.Is(err, context.DeadlineExceeded) || !errors.Is(err, gate.ErrCanceled) {
			t.Errorf("got %v", err)
		}
		must(t, conn.Close())
	})

	t.Run("waiting ends even where the context does not", func(t *testing.T) {
		config := limit(1)
		config.Gate.MaxWait = time.Millisecond
		db, _ := open(t, modern, config)
		conn, err := db.Conn(ctx)
		must(t, err)
		if _, err := db.ExecContext(ctx, "x"); !errors.Is(err, gate.ErrWaitTimeout) {
			t.Errorf("got %v", err)
		}
		must(t, conn.Close())
	})

	t.Run("a connection that cannot be made gives its permit back", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		refused := errors.New("connection refused")
		r.set(func(call string, _ int) error { return refused })
		if _, err := db.ExecContext(ctx, "x"); err != refused {
			t.Errorf("got %v", err)
		}
	})
}

func TestContexts(t *testing.T) {
	type key struct{}
	ctx, cancel := context.WithCancel(context.WithValue(context.Background(), key{}, "mine"))
	defer cancel()
	db, r := open(t, modern, limit(1))
	conn, err := db.Conn(ctx)
	must(t, err)
	defer conn.Close()
	for _, test := range []struct {
		name string
		do   func() error
	}{
		{"Exec", func() error { _, err := conn.ExecContext(ctx, "x"); return err }},
		{"Query", func() error {
			rows, err := conn.QueryContext(ctx, "x")
			if err == nil {
				err = rows.Close()
			}
			return err
		}},
		{"Prepare", func() error {
			stmt, err := conn.PrepareContext(ctx, "x")
			if err == nil {
				err = stmt.Close()
			}
			return err
		}},
		{"Ping", func() error { return conn.PingContext(ctx) }},
		{"BeginTx", func() error {
			tx, err := conn.BeginTx(ctx, nil)
			if err == nil {
				err = tx.Commit()
			}
			return err
		}},
	} {
		t.Run(test.name+" hands the driver the caller's context, which outlives the call", func(t *testing.T) {
			r.see(context.Background())
			must(t, test.do())
			if r.seen.Value(key{}) != "mine" || r.seen.Err() != nil {
				t.Errorf("the driver saw %v, now %v", r.seen, r.seen.Err())
			}
			if r.seen != ctx {
				t.Errorf("the driver saw another context: %v", r.seen)
			}
		})
	}
}

func TestWrap(t *testing.T) {
	t.Run("what it cannot accept is refused with the field's name", func(t *testing.T) {
		inner := sql.OpenDB(nullConnector{})
		defer inner.Close()
		inner.SetMaxOpenConns(10)
		for _, test := range []struct {
			inner  *sql.DB
			config poolgate.Config
			text   string
		}{
			{nil, limit(1), "the *sql.DB is nil"},
			{inner, poolgate.Config{}, "Config.Gate: gate: Config.Limit must be at least 1"},
			{inner, limit(11), "Config.Gate.Limit is 11, but the inner pool's MaxOpenConns is 10"},
		} {
			db, err := poolgate.Wrap(test.inner, test.config)
			if db != nil || err == nil || !strings.Contains(err.Error(), test.text) {
				t.Errorf("got %v, want …%s…", err, test.text)
			}
		}
	})

	t.Run("a pool that is gated already is refused, and so are its views", func(t *testing.T) {
		db, _ := open(t, modern, poolgate.Config{Gate: gate.Config{Limit: 2, Classes: []gate.Class{{Name: "web"}}}})
		for name, gated := range map[string]*sql.DB{
			"the DB": db.DB, "a class": db.Class("web"), "out of band": db.OutOfBand(),
		} {
			again, err := poolgate.Wrap(gated, limit(1))
			if again != nil || err == nil || !strings.Contains(err.Error(), "gated already") {
				t.Errorf("%s: got %v", name, err)
			}
		}
	})

	t.Run("the highest limit keeps idle connections", func(t *testing.T) {
		db, _ := open(t, modern, limit(math.MaxInt))
		must(t, db.Ping())
		if s := db.Stats(); s.Idle != 1 {
			t.Errorf("%+v", s)
		}
	})

	// burst has n connections in use at once.
	burst := func(t *testing.T, db *poolgate.DB, n int) {
		var conns []*sql.Conn
		for range n {
			conn, err := db.Conn(context.Background())
			must(t, err)
			conns = append(conns, conn)
		}
		for _, conn := range conns {
			must(t, conn.Close())
		}
	}

	t.Run("the inner pool keeps as many idle connections as the limit says", func(t *testing.T) {
		db, _ := open(t, modern, limit(7))
		burst(t, db, 7)
		if s := db.Stats(); s.Idle != 7 || s.MaxIdleClosed != 0 {
			t.Errorf("%+v", s)
		}
	})

	t.Run("it keeps what somebody has set on it", func(t *testing.T) {
		inner := sql.OpenDB(nullConnector{})
		inner.SetMaxIdleConns(2)
		config := limit(7)
		config.CloseInner = true
		db, err := poolgate.Wrap(inner, config)
		must(t, err)
		defer db.Close()
		burst(t, db, 7)
		if s := db.Stats(); s.Idle != 2 {
			t.Errorf("%+v", s)
		}
	})

	t.Run("SetLimit changes both, within what the inner pool can serve", func(t *testing.T) {
		db, _ := open(t, modern, limit(1))
		db.Inner().SetMaxOpenConns(5)
		must(t, db.SetLimit(5))
		burst(t, db, 5)
		if s := db.Stats(); s.Idle != 5 {
			t.Errorf("%+v", s)
		}
		for _, n := range []int{0, 6} {
			if err := db.SetLimit(n); err == nil || !strings.Contains(err.Error(), "SetLimit") {
				t.Errorf("SetLimit(%d): %v", n, err)
			}
		}
		if got := db.Gate().Stats().Limit; got != 5 {
			t.Errorf("the limit is %d", got)
		}
	})

	t.Run("the driver is the inner pool's", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		if db.Driver() != r {
			t.Errorf("got %T", db.Driver())
		}
	})
}

func TestClose(t *testing.T) {
	ctx := context.Background()

	t.Run("what is out goes on, who waits is refused, and the inner pool is left alone", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		tx, err := db.BeginTx(ctx, nil)
		must(t, err)
		waiter := make(chan error)
		go func() {
			_, err := db.ExecContext(ctx, "x")
			waiter <- err
		}()
		waitFor(t, func() bool { return db.Gate().Stats().Waiting == 1 })
		must(t, db.Close())
		if err := <-waiter; !errors.Is(err, gate.ErrClosed) {
			t.Errorf("the waiter got %v", err)
		}
		if _, err := db.ExecContext(ctx, "x"); err == nil || err.Error() != "sql: database is closed" {
			t.Errorf("a newcomer got %v", err)
		}
		_, err = tx.ExecContext(ctx, "x")
		must(t, err)
		must(t, tx.Commit())
		expect(t, r.take(), "connect#1 held=1", "begin#1 held=1", "exec#1 held=1", "commit#1 held=1", "valid#1 held=1")
		_, err = db.Inner().ExecContext(ctx, "x")
		must(t, err)
	})

	t.Run("an inner pool that it owns is closed, and what is out still goes on", func(t *testing.T) {
		config := limit(2)
		config.CloseInner = true
		db, r := open(t, modern, config)
		_, err := db.ExecContext(ctx, "x")
		must(t, err)
		tx, err := db.BeginTx(ctx, nil)
		must(t, err)
		must(t, db.Close())
		must(t, tx.Commit())
		waitIdle(t, db)
		if s := db.Stats(); s.OpenConnections != 0 {
			t.Errorf("%d connections are open", s.OpenConnections)
		}
		expect(t, calls(r.take()), "connect#1", "exec#1", "valid#1", "reset#1", "begin#1", "commit#1", "valid#1", "close#1")
		if _, err := db.Inner().ExecContext(ctx, "x"); err == nil {
			t.Error("the inner pool is open")
		}
	})
}

func TestClass(t *testing.T) {
	ctx := context.Background()
	config := limit(3)
	config.Gate.Classes = []gate.Class{{Name: "reports", Max: 1}}
	inClass := func(db *poolgate.DB, name string) int {
		for _, c := range db.Gate().Stats().Classes {
			if c.Name == name {
				return c.InFlight
			}
		}
		return -1
	}

	t.Run("a view's checkouts are of its class, on the same pool and gate", func(t *testing.T) {
		db, r := open(t, modern, config)
		view := db.Class("reports")
		if db.Class("reports") != view {
			t.Error("asked twice, two views")
		}
		tx, err := view.BeginTx(gate.WithClass(ctx, gate.DefaultClass), nil)
		must(t, err)
		if got := inClass(db, "reports"); got != 1 {
			t.Errorf("%d of the class in flight", got)
		}
		short, cancel := context.WithTimeout(ctx, time.Millisecond)
		defer cancel()
		if _, err := view.ExecContext(short, "x"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a second one above the class's Max: %v", err)
		}
		_, err = db.ExecContext(ctx, "x")
		must(t, err)
		must(t, tx.Commit())
		waitIdle(t, db)
		if r.conns != 2 || db.Stats().OpenConnections != 2 {
			t.Errorf("%d connections were made", r.conns)
		}
	})

	t.Run("a call's class is that of its context", func(t *testing.T) {
		db, r := open(t, modern, config)
		conn, err := db.Conn(gate.WithClass(ctx, "reports"))
		must(t, err)
		if got := inClass(db, "reports"); got != 1 {
			t.Errorf("%d of the class in flight", got)
		}
		must(t, conn.Close())
		r.take()
	})

	t.Run("the driver does not see the view's class", func(t *testing.T) {
		db, r := open(t, modern, config)
		_, err := db.Class("reports").ExecContext(ctx, "x")
		must(t, err)
		if r.seen != ctx {
			t.Errorf("the driver saw %v", r.seen)
		}
	})

	t.Run("views close with the DB, and a view that is closed takes nothing with it", func(t *testing.T) {
		db, _ := open(t, modern, config)
		view := db.Class("reports")
		must(t, view.Close())
		if _, err := view.ExecContext(ctx, "x"); err == nil {
			t.Error("the closed view works")
		}
		_, err := db.Class("reports").ExecContext(ctx, "x")
		must(t, err)
		again := db.Class("reports")
		must(t, db.Close())
		for _, view := range []*sql.DB{again, db.Class("reports")} {
			if _, err := view.ExecContext(ctx, "x"); err == nil || err.Error() != "sql: database is closed" {
				t.Errorf("got %v", err)
			}
		}
	})

	t.Run("a class that the gate does not have is a panic", func(t *testing.T) {
		db, _ := open(t, modern, config)
		if panics(func() { db.Class("rports") }) == nil {
			t.Error("no panic")
		}
	})
}

// The embedded *sql.DB has settings too, and ORMs and habits make them there.
func TestSettingsOfTheEmbeddedDB(t *testing.T) {
	ctx := context.Background()

	t.Run("idle connections asked of the façade hold no permit", func(t *testing.T) {
		db, _ := open(t, modern, limit(2))
		db.DB.SetMaxIdleConns(5)
		db.DB.SetConnMaxLifetime(time.Hour)
		db.DB.SetConnMaxIdleTime(time.Hour)
		for range 3 {
			_, err := db.ExecContext(ctx, "x")
			must(t, err)
			if got := db.Gate().Stats().InFlight; got != 0 {
				t.Fatalf("%d permits are held", got)
			}
		}
	})

	t.Run("open connections bounded there make no queue before the gate's", func(t *testing.T) {
		for _, used := range []bool{false, true} {
			config := limit(2)
			config.Gate.MaxWait = 20 * time.Millisecond
			db, _ := open(t, modern, config)
			if used {
				fill(t, db, 2)
			}
			db.DB.SetMaxOpenConns(1)
			db.DB.SetMaxIdleConns(1)
			var conns []*sql.Conn
			for range 2 {
				conn, err := db.Conn(ctx)
				must(t, err)
				conns = append(conns, conn)
			}
			if _, err := db.ExecContext(ctx, "x"); !errors.Is(err, gate.ErrWaitTimeout) {
				t.Errorf("used %v: got %v", used, err)
			}
			for _, conn := range conns {
				must(t, conn.Close())
			}
		}
	})

	t.Run("a caller that waits in such a queue nevertheless goes on to the gate", func(t *testing.T) {
		for _, gone := range []bool{false, true} {
			db, _ := open(t, modern, limit(2))
			conn, err := db.Conn(ctx)
			must(t, err)
			db.DB.SetMaxOpenConns(1) // between the two calls, so that nothing undoes it
			waiting, cancel := context.WithCancel(ctx)
			defer cancel()
			done := make(chan error)
			go func() {
				_, err := db.ExecContext(waiting, "x")
				done <- err
			}()
			waitFor(t, func() bool { return db.DB.Stats().WaitCount == 1 })
			if gone {
				cancel()
				if err := <-done; err != context.Canceled {
					t.Errorf("got %v", err)
				}
			}
			conn.Raw(func(any) error { return driver.ErrBadConn }) // upon which database/sql opens one for it
			if !gone {
				must(t, <-done)
			}
			waitIdle(t, db)
			_, err = db.ExecContext(ctx, "x")
			must(t, err)
		}
	})
}

func TestRaw(t *testing.T) {
	ctx := context.Background()

	t.Run("it reaches the driver's connection, and any wrapper on the way", func(t *testing.T) {
		db, _ := open(t, func(c *recConn) driver.Conn { return &wrapper{modern(c)} }, limit(1))
		conn, err := db.Conn(ctx)
		must(t, err)
		defer conn.Close()
		must(t, poolgate.Raw(conn, func(c modernConn) error {
			if c.n != 1 {
				t.Errorf("connection %d", c.n)
			}
			return nil
		}))
		must(t, poolgate.Raw(conn, func(*wrapper) error { return nil }))
		mine := errors.New("mine")
		if err := poolgate.Raw(conn, func(modernConn) error { return mine }); err != mine {
			t.Errorf("got %v", err)
		}
		must(t, conn.Raw(func(dc any) error {
			if _, ok := dc.(interface{ Raw() driver.Conn }).Raw().(modernConn); !ok {
				t.Error("Raw of the façade's connection is not the innermost")
			}
			return nil
		}))
	})

	t.Run("another type than the driver's is an error that names both", func(t *testing.T) {
		db, _ := open(t, func(c *recConn) driver.Conn { return &wrapper{modern(c)} }, limit(1))
		conn, err := db.Conn(ctx)
		must(t, err)
		defer conn.Close()
		err = poolgate.Raw(conn, func(*nullConn) error { return nil })
		want := "poolgate: the driver's connection is of another type: " +
			"it is *poolgate_test.wrapper around poolgate_test.modernConn, not *poolgate_test.nullConn"
		if !errors.Is(err, poolgate.ErrRawType) || err.Error() != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})

	t.Run("it works on a pool without a gate", func(t *testing.T) {
		bare := sql.OpenDB(nullConnector{})
		defer bare.Close()
		conn, err := bare.Conn(ctx)
		must(t, err)
		defer conn.Close()
		must(t, poolgate.Raw(conn, func(*nullConn) error { return nil }))
	})
}

// wrapper wraps a connection as an instrumenting driver does.
type wrapper struct{ driver.Conn }

func (w *wrapper) Raw() driver.Conn { return w.Conn }
