package poolgate_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// openDB opens a pool of a recorder's connections.
func openDB(t *testing.T, config poolgate.Config) (*poolgate.DB, *recorder) {
	t.Helper()
	r := &recorder{shape: modern}
	db, err := poolgate.OpenDB(r, config)
	must(t, err)
	r.observe(db.Gate())
	t.Cleanup(func() {
		r.set(nil)
		waitIdle(t, db)
		db.Close()
	})
	return db, r
}

// closed waits until n connections are open, and returns which were closed.
func closed(t *testing.T, db *poolgate.DB, r *recorder, n int) []string {
	t.Helper()
	waitFor(t, func() bool { return db.Stats().OpenConnections == n })
	all := slices.DeleteFunc(calls(r.take()), func(e string) bool { return !strings.HasPrefix(e, "close#") })
	slices.Sort(all)
	return all
}

func TestOpenDBRefuses(t *testing.T) {
	for _, test := range []struct {
		connector driver.Connector
		config    poolgate.Config
		text      string
	}{
		{nil, limit(1), "the driver.Connector is nil"},
		{nullConnector{}, poolgate.Config{}, "Config.Gate: gate: Config.Limit"},
		{nullConnector{}, poolgate.Config{Gate: gate.Config{Limit: 1}, MaxIdleTime: -1}, "Config.MaxIdleTime"},
		{nullConnector{}, poolgate.Config{Gate: gate.Config{Limit: 1}, MaxLifetime: -1}, "Config.MaxLifetime"},
		{nullConnector{}, poolgate.Config{Gate: gate.Config{Limit: 1}, MinOpen: -1}, "Config.MinOpen"},
	} {
		if _, err := poolgate.OpenDB(test.connector, test.config); err == nil || !strings.Contains(err.Error(), test.text) {
			t.Errorf("got %v, want …%s…", err, test.text)
		}
	}
	inner := sql.OpenDB(nullConnector{})
	defer inner.Close()
	if _, err := poolgate.Wrap(inner, poolgate.Config{Gate: gate.Config{Limit: 1}, MinOpen: 1}); err == nil || !strings.Contains(err.Error(), "Config.MinOpen") {
		t.Errorf("got %v", err)
	}
}

func TestPool(t *testing.T) {
	ctx := context.Background()
	config := func(n int, change func(*poolgate.Config)) poolgate.Config {
		c := limit(n)
		change(&c)
		return c
	}

	t.Run("the connection that was used last is used first", func(t *testing.T) {
		db, r := openDB(t, limit(3))
		fill(t, db, 3)
		r.take()
		for range 3 {
			_, err := db.ExecContext(ctx, "x")
			must(t, err)
		}
		for _, e := range r.take() {
			if !strings.Contains(e, "#3 ") {
				t.Errorf("got %s", e)
			}
		}
	})

	t.Run("the order of calls, and who holds what", func(t *testing.T) {
		db, r := openDB(t, limit(1))
		for range 2 {
			_, err := db.ExecContext(ctx, "x")
			must(t, err)
		}
		must(t, db.Close())
		waitFor(t, func() bool { return db.Stats().OpenConnections == 0 })
		expect(t, r.take(), "connect#1 held=1", "exec#1 held=1", "valid#1 held=1",
			"reset#1 held=1", "exec#1 held=1", "valid#1 held=1", "close#1 held=0")
	})

	t.Run("as many are kept as the gate can use, and the limit changes that", func(t *testing.T) {
		db, r := openDB(t, limit(4))
		fill(t, db, 4)
		if s := db.Stats(); s.Idle != 4 || s.MaxOpenConnections != 5 {
			t.Errorf("%+v", s)
		}
		must(t, db.SetLimit(2)) // and one out of band
		expect(t, closed(t, db, r, 3), "close#1")
		must(t, db.SetLimit(6))
		fill(t, db, 6)
		if s := db.Stats(); s.Idle != 6 || s.MaxIdleClosed != 1 {
			t.Errorf("%+v", s)
		}
	})

	t.Run("MaxIdle bounds them", func(t *testing.T) {
		for _, test := range []struct{ max, kept int }{{2, 2}, {9, 4}, {-1, 0}} {
			db, _ := openDB(t, config(4, func(c *poolgate.Config) { c.MaxIdle = test.max }))
			fill(t, db, 4)
			waitFor(t, func() bool { return db.Stats().OpenConnections == test.kept })
		}
	})

	t.Run("MaxIdleTime closes what nobody uses", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			db, r := openDB(t, config(4, func(c *poolgate.Config) { c.MaxIdleTime = time.Minute }))
			fill(t, db, 4)
			for range 10 {
				time.Sleep(9 * time.Second)
				_, err := db.ExecContext(ctx, "x")
				must(t, err)
			}
			expect(t, closed(t, db, r, 1), "close#1", "close#2", "close#3")
			time.Sleep(61 * time.Second)
			expect(t, closed(t, db, r, 0), "close#4")
			if s := db.Stats(); s.MaxIdleTimeClosed != 4 {
				t.Errorf("%+v", s)
			}
		})
	})

	t.Run("MaxLifetime closes each in the last tenth of it, used or not", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			db, r := openDB(t, config(20, func(c *poolgate.Config) { c.MaxLifetime = time.Hour }))
			fill(t, db, 20)
			time.Sleep(54*time.Minute - time.Second)
			if n := len(closed(t, db, r, 20)); n != 0 {
				t.Errorf("%d were closed early", n)
			}
			moments := map[time.Duration]int{}
			for at := time.Duration(0); at < 7*time.Minute; at += 10 * time.Second {
				before := db.Stats().OpenConnections
				time.Sleep(10 * time.Second)
				synctest.Wait()
				moments[at] = before - db.Stats().OpenConnections
				_, err := db.ExecContext(ctx, "x") // one is in use until its end
				must(t, err)
			}
			if s := db.Stats(); s.MaxLifetimeClosed != 20 || s.OpenConnections != 1 {
				t.Errorf("%+v", s)
			}
			for at, n := range moments {
				if n > 8 {
					t.Errorf("%d were closed at once, %v after the first could be", n, at)
				}
			}
		})
	})

	t.Run("MinOpen opens in the background, and again what is lost", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			db, r := openDB(t, config(4, func(c *poolgate.Config) { c.MinOpen, c.MaxIdleTime = 3, time.Minute }))
			synctest.Wait()
			if s := db.Stats(); s.Idle != 3 || db.Gate().Stats().Acquired != 0 {
				t.Errorf("%+v", s)
			}
			conn, err := db.Conn(ctx)
			must(t, err)
			conn.Raw(func(any) error { return driver.ErrBadConn })
			synctest.Wait()
			if s := db.Stats(); s.Idle != 3 {
				t.Errorf("%+v", s)
			}
			r.set(func(call string, _ int) error {
				if call == "connect" {
					return errors.New("no route")
				}
				return nil
			})
			time.Sleep(2 * time.Minute)
			connects := slices.DeleteFunc(calls(r.take()), func(e string) bool { return !strings.HasPrefix(e, "connect#") })
			if s := db.Stats(); s.OpenConnections != 0 || len(connects) < 30 || len(connects) > 200 {
				t.Errorf("%+v, %d attempts", s, len(connects))
			}
			r.set(nil)
			time.Sleep(2 * time.Second)
			synctest.Wait()
			if s := db.Stats(); s.Idle != 3 {
				t.Errorf("%+v", s)
			}
			must(t, db.Close())
			synctest.Wait()
			if s := db.Stats(); s.OpenConnections != 0 {
				t.Errorf("%+v", s)
			}
		})
	})

	t.Run("of idle connections that are bad two are tried, then a new one is opened", func(t *testing.T) {
		db, r := openDB(t, limit(5))
		fill(t, db, 5)
		r.take()
		kill(r, "reset")
		_, err := db.ExecContext(ctx, "x")
		must(t, err)
		waitFor(t, func() bool { return db.Stats().OpenConnections == 4 })
		got := slices.DeleteFunc(r.take(), func(e string) bool { return strings.HasPrefix(e, "close") })
		expect(t, got, "reset#5 held=1", "reset#4 held=1", "connect#6 held=1", "exec#6 held=1", "valid#6 held=1")
	})

	t.Run("a driver's connection need be neither resetter nor validator", func(t *testing.T) {
		r := &recorder{shape: plain}
		db, err := poolgate.OpenDB(r, limit(1))
		must(t, err)
		defer db.Close()
		for range 3 {
			_, err := db.ExecContext(ctx, "x")
			must(t, err)
		}
		if r.conns != 1 {
			t.Errorf("%d connections", r.conns)
		}
		cancelledTx(t, db.DB) // upon which it may not be used again
		waitIdle(t, db)
		if s := db.Stats(); s.OpenConnections != 0 {
			t.Errorf("%+v", s)
		}
	})

	t.Run("panics of the driver lose nothing", func(t *testing.T) {
		for _, call := range []string{"connect", "reset", "valid", "close"} {
			db, r := openDB(t, limit(1))
			if call != "connect" {
				fill(t, db, 1)
			}
			r.set(func(c string, _ int) error {
				if c == call {
					panic("driver")
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
			if got != "driver" {
				t.Errorf("%s: arrived as %v", call, got)
			}
			waitIdle(t, db)
			waitFor(t, func() bool { return db.Stats().OpenConnections == 0 })
			r.set(nil)
			_, err := db.ExecContext(ctx, "x")
			must(t, err)
		}
	})
}

func TestShareBoundsConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := &recorder{shape: modern}
		db, err := poolgate.OpenDB(r, poolgate.Config{Gate: gate.Config{Limit: 4}, MinOpen: 100})
		must(t, err)
		defer db.Close()
		expect := func(what string, open int) {
			t.Helper()
			time.Sleep(time.Minute)
			if s := db.Stats(); s.OpenConnections != open || s.MaxOpenConnections != open {
				t.Errorf("%s: %+v, want %d", what, s, open)
			}
		}
		expect("no share", 5)
		db.SetShare(50, time.Time{})
		expect("a share above the limit", 5)
		db.SetShare(2, time.Time{})
		expect("a share", 2)
		must(t, db.SetLimit(8))
		expect("another limit", 2)
		if n := db.Gate().MostPermits(); n != 10 {
			t.Errorf("%d permits may be out", n)
		}
		db.SetShare(-1, time.Time{})
		expect("no share left", 0)
		db.SetShare(50, time.Time{})
		expect("a share above the limit again", 10)
		db.SetShare(50, time.Now().Add(10*time.Second))
		expect("a share that has ended", 0)
	})
}

// MinOpen opens no connection only to close it again, which would never end.
func TestMinOpenThatCannotBeKept(t *testing.T) {
	for name, test := range map[string]struct {
		maxIdle, want int
		invalid       bool
	}{
		"no idle connections":          {maxIdle: -1, want: 0},
		"fewer idle connections":       {maxIdle: 2, want: 2},
		"connections that are invalid": {invalid: true, want: 0},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{shape: modern}
				db, err := poolgate.OpenDB(r, poolgate.Config{Gate: gate.Config{Limit: 4}, MinOpen: 3, MaxIdle: test.maxIdle})
				must(t, err)
				defer db.Close()
				opened := 0
				r.set(func(call string, _ int) error {
					switch {
					case call == "connect":
						if opened++; opened > 100 {
							return errors.New("too many")
						}
					case call == "valid" && test.invalid:
						return errors.New("invalid")
					}
					return nil
				})
				time.Sleep(10*time.Second + time.Millisecond)
				conn, err := db.Conn(t.Context())
				must(t, err)
				conn.Raw(func(any) error { return driver.ErrBadConn })
				conn.Close()
				time.Sleep(time.Second)
				if n := db.Stats().OpenConnections; n != test.want || opened > 20 {
					t.Errorf("%d are open after %d were opened, want %d", n, opened, test.want)
				}
			})
		})
	}
}

// A Close of the driver that blocks keeps the permit, and nothing else.
func TestSlowClose(t *testing.T) {
	ctx := context.Background()
	for name, open := range map[string]func(*recorder) (*poolgate.DB, error){
		"OpenDB": func(r *recorder) (*poolgate.DB, error) { return poolgate.OpenDB(r, limit(1)) },
		"Wrap": func(r *recorder) (*poolgate.DB, error) {
			return poolgate.Wrap(sql.OpenDB(r), poolgate.Config{Gate: gate.Config{Limit: 1}, CloseInner: true})
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := &recorder{shape: modern}
				db, err := open(r)
				must(t, err)
				r.observe(db.Gate())
				const closing = 10 * time.Second
				r.set(func(call string, _ int) error {
					switch call {
					case "exec":
						return driver.ErrBadConn
					case "close":
						time.Sleep(closing)
					}
					return nil
				})
				began := time.Now()
				conn, err := db.Conn(ctx)
				must(t, err)
				if _, err := conn.ExecContext(ctx, "x"); !errors.Is(err, driver.ErrBadConn) {
					t.Errorf("got %v", err)
				}
				if took := time.Since(began); took > 100*time.Millisecond {
					t.Errorf("the caller waited for %v", took)
				}
				if h := db.Gate().Holders(); len(h) != 1 || h[0].Statement != "x" {
					t.Errorf("holders: %+v", h)
				}
				// Who called it and is next is no deadlock.
				next, err := db.Conn(ctx)
				must(t, err)
				if took := time.Since(began); took < closing {
					t.Errorf("the next had a permit after %v", took)
				}
				must(t, next.Close())

				// Drain waits for it, and Close does not.
				conn, err = db.Conn(ctx)
				must(t, err)
				conn.ExecContext(ctx, "x")
				began = time.Now()
				short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
				if err := db.Gate().Drain(short); err != context.DeadlineExceeded {
					t.Errorf("Drain: %v", err)
				}
				must(t, db.Close())
				if took := time.Since(began); took > 300*time.Millisecond {
					t.Errorf("Close took %v", took)
				}
				must(t, db.Gate().Drain(ctx))
				if took := time.Since(began); took < closing-time.Second {
					t.Errorf("Drain was done after %v", took)
				}
				synctest.Wait()
				if s := db.Stats(); s.OpenConnections != 0 {
					t.Errorf("%+v", s)
				}
			})
		})
	}
}
