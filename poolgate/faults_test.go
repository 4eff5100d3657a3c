package poolgate_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// operations are the ways to have the driver called, by the call that is meant.
var operations = map[string]func(ctx context.Context, db *sql.DB) error{
	"connect": execOnce,
	"exec":    execOnce,
	"reset":   execOnce,
	"check": func(ctx context.Context, db *sql.DB) error {
		rows, err := db.QueryContext(ctx, "x", 1)
		if err != nil {
			return err
		}
		return rows.Close()
	},
	"query": func(ctx context.Context, db *sql.DB) error {
		rows, err := db.QueryContext(ctx, "x")
		if err != nil {
			return err
		}
		return rows.Close()
	},
	"prepare": func(ctx context.Context, db *sql.DB) error {
		stmt, err := db.PrepareContext(ctx, "x")
		if err != nil {
			return err
		}
		return stmt.Close()
	},
	"ping": func(ctx context.Context, db *sql.DB) error { return db.PingContext(ctx) },
	"begin": func(ctx context.Context, db *sql.DB) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		return tx.Rollback()
	},
	"commit": func(ctx context.Context, db *sql.DB) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		defer tx.Rollback()
		return tx.Commit()
	},
	"rollback": func(ctx context.Context, db *sql.DB) error {
		tx, err := db.BeginTx(ctx, nil)
		if err != nil {
			return err
		}
		return tx.Rollback()
	},
}

func execOnce(ctx context.Context, db *sql.DB) error {
	_, err := db.ExecContext(ctx, "x", 1)
	return err
}

func TestDriverPanics(t *testing.T) {
	ctx := context.Background()
	for call, do := range operations {
		t.Run("a panic in "+call+" reaches the caller, and the permit comes back", func(t *testing.T) {
			db, r := open(t, modern, limit(1))
			if call == "connect" || call == "reset" {
				db, r = openLosing(t, limit(1))
			}
			if call == "reset" {
				must(t, execOnce(ctx, db.DB)) // a connection to be used again
			}
			r.set(func(c string, _ int) error {
				if c == call {
					panic("driver: " + call)
				}
				return nil
			})
			for range 3 {
				if got := panics(func() { do(ctx, db.DB) }); got != "driver: "+call {
					t.Fatalf("arrived as %v", got)
				}
				if got := db.Gate().Stats().InFlight; got != 0 {
					t.Fatalf("%d permits are held", got)
				}
				if call == "reset" {
					break // the inner pool has lost this connection, and counts it as in use
				}
			}
			r.set(nil)
			must(t, do(ctx, db.DB))
		})
	}

	for call, do := range operations {
		if call == "connect" || call == "reset" || call == "rows.close" || call == "stmt.close" {
			continue // which no observer sees
		}
		t.Run("a panic of an observer of "+call+" reaches the caller, and the permit comes back", func(t *testing.T) {
			for _, lease := range []bool{true, false} {
				db, _ := openLosing(t, limit(1))
				o := poolgate.Observer{Call: func(context.Context, poolgate.Call) { panic("observer") }}
				if lease {
					o = poolgate.Observer{Lease: func(context.Context, poolgate.LeaseStart) context.Context { panic("observer") }}
				}
				stop := db.Observe(o)
				if got := panics(func() { do(ctx, db.DB) }); got != "observer" {
					t.Fatalf("arrived as %v", got)
				}
				if got := db.Gate().Stats().InFlight; got != 0 {
					t.Fatalf("%d permits are held", got)
				}
				stop()
				must(t, do(ctx, db.DB))
			}
		})
	}

	t.Run("a panic of an observer of the gate reaches the caller, and the permit comes back", func(t *testing.T) {
		db, _ := openLosing(t, limit(1))
		stop := db.Observe(poolgate.Observer{Gate: gate.Observer{AcquireEnd: func(context.Context, gate.AcquireEnd) { panic("observer") }}})
		if got := panics(func() { execOnce(ctx, db.DB) }); got != "observer" {
			t.Errorf("arrived as %v", got)
		}
		if got := db.Gate().Stats().InFlight; got != 0 {
			t.Fatalf("%d permits are held", got)
		}
		stop()
		must(t, execOnce(ctx, db.DB))
	})

	for name, config := range map[string]poolgate.Config{
		"discarded": limit(1),
		"reset":     {Gate: gate.Config{Limit: 1}, Reset: poolgate.ResetAlways},
	} {
		for event, o := range map[string]poolgate.Observer{
			"LeaseEnd": {LeaseEnd: func(context.Context, poolgate.LeaseEnd) { panic("observer") }},
			"Release": {
				Gate:     gate.Observer{Release: func(gate.Release) { panic("observer") }},
				LeaseEnd: func(context.Context, poolgate.LeaseEnd) {},
			},
		} {
			t.Run("a panic in "+event+" as a connection is "+name+" reaches the caller", func(t *testing.T) {
				db, _ := openLosing(t, config)
				stop := db.Observe(o)
				got := panics(func() {
					conn, err := db.Conn(ctx)
					must(t, err)
					if name == "discarded" {
						conn.Raw(func(any) error { return driver.ErrBadConn })
					}
					conn.Close()
				})
				if got != "observer" {
					t.Errorf("arrived as %v", got)
				}
				if got := db.Gate().Stats().InFlight; got != 0 {
					t.Fatalf("%d permits are held", got)
				}
				stop()
				must(t, execOnce(ctx, db.DB))
			})
		}
	}

	for _, call := range []string{"valid", "close"} {
		t.Run("a panic in "+call+" as the connection goes back does not keep the permit", func(t *testing.T) {
			db, r := openLosing(t, limit(1))
			r.set(func(c string, _ int) error {
				if c == call {
					panic("driver: " + call)
				}
				return nil
			})
			got := panics(func() {
				conn, err := db.Conn(ctx)
				must(t, err)
				if call == "close" {
					conn.Raw(func(any) error { return driver.ErrBadConn })
				}
				conn.Close()
			})
			if got != "driver: "+call {
				t.Errorf("arrived as %v", got)
			}
			if got := db.Gate().Stats().InFlight; got != 0 {
				t.Errorf("%d permits are held", got)
			}
		})
	}

	t.Run("a goroutine that ends inside the driver gives its permit back", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		r.set(func(c string, _ int) error {
			if c == "query" {
				runtime.Goexit()
			}
			return nil
		})
		done := make(chan struct{})
		go func() {
			defer close(done)
			db.QueryContext(ctx, "x")
		}()
		<-done
	})

	t.Run("a transaction whose call has panicked does not call the driver any more, which may be closing the connection", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		tx, err := db.BeginTx(ctx, nil)
		must(t, err)
		var after atomic.Int64
		closing := make(chan struct{})
		r.set(func(call string, _ int) error {
			switch call {
			case "exec":
				panic("driver")
			case "close":
				<-closing
			case "rollback", "commit":
				after.Add(1)
			}
			return nil
		})
		panics(func() { tx.ExecContext(ctx, "x") })
		if err := tx.Rollback(); !errors.Is(err, driver.ErrBadConn) {
			t.Errorf("got %v", err)
		}
		close(closing)
		if n := after.Load(); n != 0 {
			t.Errorf("the driver was called %d times", n)
		}
		waitFor(t, func() bool { return db.Gate().Stats().InFlight == 0 })
	})

	t.Run("a Conn whose call has panicked is dead", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		conn, err := db.Conn(ctx)
		must(t, err)
		defer conn.Close()
		r.set(func(call string, _ int) error {
			if call == "exec" {
				panic("driver")
			}
			return nil
		})
		panics(func() { conn.ExecContext(ctx, "x") }) // after a Query, database/sql would hang here, gated or not
		r.set(nil)
		if got := db.Gate().Stats().InFlight; got != 0 {
			t.Errorf("%d permits are held", got)
		}
		if err := poolgate.Raw(conn, func(modernConn) error { return nil }); err != driver.ErrBadConn {
			t.Errorf("Raw: %v", err)
		}
	})
}

// openLosing is open for tests after which the inner pool, like any
// database/sql pool, counts a connection as in use that is lost.
func openLosing(t *testing.T, config poolgate.Config) (*poolgate.DB, *recorder) {
	r := &recorder{shape: modern}
	config.CloseInner = true
	db, err := poolgate.Wrap(sql.OpenDB(r), config)
	must(t, err)
	r.gate = db.Gate()
	t.Cleanup(func() {
		r.set(nil)
		db.Close()
	})
	return db, r
}

// kill has every connection that exists now answer that it is bad.
func kill(r *recorder, call string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	dead := r.conns
	r.on = func(c string, conn int) error {
		if c == call && conn <= dead {
			return driver.ErrBadConn
		}
		return nil
	}
}

// fill leaves n idle connections in the inner pool.
func fill(t *testing.T, db *poolgate.DB, n int) {
	t.Helper()
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

func TestBadConnections(t *testing.T) {
	ctx := context.Background()

	for _, call := range []string{"exec", "query", "prepare", "begin", "reset"} {
		t.Run("many that died while idle fail no "+call, func(t *testing.T) {
			db, r := open(t, modern, limit(6))
			fill(t, db, 6)
			r.take()
			kill(r, call)
			must(t, operations[call](ctx, db.DB))
			// database/sql itself looks after those that fail to be reset.
			if s := db.Stats(); s.OpenConnections != 1 && call != "reset" {
				t.Errorf("%d connections are open, want the new one", s.OpenConnections)
			}
			for _, e := range r.take() {
				if e[len(e)-1] != '1' {
					t.Errorf("more than one permit: %s", e)
				}
			}
		})
	}

	t.Run("one that has done something is not replaced", func(t *testing.T) {
		for name, first := range map[string]func(*sql.Conn) error{
			"Exec":          func(c *sql.Conn) error { _, err := c.ExecContext(ctx, "x"); return err },
			"Ping":          func(c *sql.Conn) error { return c.PingContext(ctx) },
			"Raw":           func(c *sql.Conn) error { return poolgate.Raw(c, func(modernConn) error { return nil }) },
			"a failed Exec": func(c *sql.Conn) error { c.ExecContext(ctx, "x", "fail"); return nil },
		} {
			db, r := open(t, modern, limit(2))
			conn, err := db.Conn(ctx)
			must(t, err)
			if name == "a failed Exec" {
				r.set(func(c string, _ int) error {
					if c == "exec" {
						return errors.New("syntax error")
					}
					return nil
				})
			}
			must(t, first(conn))
			kill(r, "query")
			if _, err := conn.QueryContext(ctx, "x"); !errors.Is(err, driver.ErrBadConn) {
				t.Errorf("after %s: %v", name, err)
			}
			if got := r.conns; got != 1 {
				t.Errorf("after %s: %d connections were made", name, got)
			}
			if err := conn.Close(); err != sql.ErrConnDone {
				t.Errorf("after %s: the connection was not given up: %v", name, err)
			}
			waitIdle(t, db)
		}
	})

	t.Run("Ping asks the connection that it is called on", func(t *testing.T) {
		db, r := open(t, modern, limit(2))
		conn, err := db.Conn(ctx)
		must(t, err)
		kill(r, "ping")
		if err := conn.PingContext(ctx); !errors.Is(err, driver.ErrBadConn) {
			t.Errorf("got %v", err)
		}
		if r.conns != 1 {
			t.Errorf("%d connections were made", r.conns)
		}
	})

	t.Run("a commit on a bad connection is an error and not tried again", func(t *testing.T) {
		db, r := open(t, modern, limit(2))
		kill(r, "none")
		tx, err := db.BeginTx(ctx, nil)
		must(t, err)
		kill(r, "commit")
		if err := tx.Commit(); !errors.Is(err, driver.ErrBadConn) {
			t.Errorf("got %v", err)
		}
		waitIdle(t, db)
		expect(t, calls(r.take()), "connect#1", "begin#1", "commit#1", "close#1")
	})

	t.Run("a driver whose every connection is bad is given up in bounded time", func(t *testing.T) {
		db, r := open(t, modern, limit(3))
		var execs atomic.Int32
		r.set(func(call string, _ int) error {
			if call == "exec" {
				execs.Add(1)
				return driver.ErrBadConn
			}
			return nil
		})
		if err := execOnce(ctx, db.DB); !errors.Is(err, driver.ErrBadConn) {
			t.Errorf("got %v", err)
		}
		// database/sql asks three times; each asks at most what can be idle, and then two new ones.
		if got := execs.Load(); got > 3*(3+2) {
			t.Errorf("%d tries", got)
		}
	})

	t.Run("where no other connection is to be had, that is the error", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		refused := errors.New("connection refused")
		must(t, execOnce(ctx, db.DB))
		r.set(func(call string, _ int) error {
			switch call {
			case "exec":
				return driver.ErrBadConn
			case "connect":
				return refused
			}
			return nil
		})
		if err := execOnce(ctx, db.DB); err != refused {
			t.Errorf("got %v", err)
		}
	})
}

// Everything at once, under the race detector.
func TestUnderFire(t *testing.T) {
	operationsTotal := 100_000
	if testing.Short() {
		operationsTotal = 5_000
	}
	t.Run("cancellations, bad connections, panics and failing connects leave nothing behind", func(t *testing.T) {
		const goroutines, permits = 32, 6
		config := limit(permits)
		config.Gate = gate.Config{Limit: permits, MaxWaiting: 25}
		db, r := open(t, modern, config)
		var panicked, failed, succeeded atomic.Int64
		r.set(func(call string, conn int) error {
			switch rand.IntN(40) {
			case 0:
				return driver.ErrBadConn
			case 1:
				return errors.New("driver: " + call)
			case 2:
				// A panic while a connection goes out of or back into the
				// inner pool loses it there, gated or not.
				// Nor can a façade guard Stmt and Rows.
				switch call {
				case "connect", "reset", "valid", "close", "stmt.close", "rows.close":
				default:
					panic(errDriver)
				}
			case 3:
				time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
			}
			if got := db.Gate().Stats().InFlight; got > permits {
				t.Errorf("%d in flight", got)
			}
			return nil
		})
		var do []func(context.Context, *sql.DB) error
		for _, f := range operations {
			do = append(do, f)
		}
		var left atomic.Int64
		left.Store(int64(operationsTotal))
		var wg sync.WaitGroup
		for range goroutines {
			wg.Go(func() {
				for left.Add(-1) >= 0 {
					ctx, cancel := context.WithCancel(context.Background())
					if rand.IntN(3) == 0 {
						ctx, cancel = context.WithTimeout(ctx, time.Duration(rand.IntN(300))*time.Microsecond)
					}
					var err error
					if p := panics(func() { err = do[rand.IntN(len(do))](ctx, db.DB) }); p != nil {
						if p != errDriver {
							t.Errorf("a panic of our own: %v", p)
						}
						panicked.Add(1)
					} else if err != nil {
						failed.Add(1)
					} else {
						succeeded.Add(1)
					}
					cancel()
				}
			})
		}
		wg.Wait()
		waitIdle(t, db)
		if panicked.Load() == 0 || failed.Load() == 0 || succeeded.Load() == 0 {
			t.Errorf("%d panicked, %d failed, %d succeeded", panicked.Load(), failed.Load(), succeeded.Load())
		}
		t.Logf("%d panicked, %d failed, %d succeeded; %+v", panicked.Load(), failed.Load(), succeeded.Load(), db.Gate().Stats())
	})
}

var errDriver = errors.New("driver: panic")
