package poolgate_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestReadOnly(t *testing.T) {
	t.Run("a COMMIT that stalls does not hold the caller beyond its deadline", func(t *testing.T) {
		for _, cancelled := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				db, r := openDB(t, limit(1))
				const stall, deadline = 20 * time.Second, time.Second
				execs := 0
				r.set(func(call string, _ int) error {
					if call == "exec" {
						if execs++; execs == 3 {
							time.Sleep(stall) // and the driver does not heed its context
						}
					}
					return nil
				})
				ctx, cancel := context.WithTimeout(t.Context(), deadline)
				defer cancel()
				began := time.Now()
				if cancelled {
					time.AfterFunc(deadline/2, cancel)
				}
				_, err := db.OutOfBandReadOnly().ExecContext(ctx, "select")
				must(t, err) // what was read was read
				if took := time.Since(began); took > deadline+100*time.Millisecond {
					t.Errorf("it took %v", took)
				}
				if n := db.Gate().Stats().OutOfBand.InFlight; n != 1 {
					t.Errorf("%d permits are out while the server is still at work", n)
				}
				time.Sleep(stall)
				if n := db.Gate().Stats().OutOfBand.InFlight; n != 0 {
					t.Errorf("%d permits are out", n)
				}
			})
		}
	})

	t.Run("a COMMIT that fails or panics costs the connection", func(t *testing.T) {
		for _, do := range []func() error{
			func() error { return errors.New("no") },
			func() error { panic("driver") },
		} {
			db, r := openDB(t, limit(1))
			execs := 0
			r.set(func(call string, _ int) error {
				if call == "exec" {
					if execs++; execs == 3 {
						return do()
					}
				}
				return nil
			})
			_, err := db.OutOfBandReadOnly().Exec("select")
			must(t, err)
			waitIdle(t, db)
			waitFor(t, func() bool { return db.Stats().OpenConnections == 0 })
		}
	})

	t.Run("a server that has no BEGIN READ ONLY is a clear error", func(t *testing.T) {
		db, r := openDB(t, limit(1))
		syntax := errors.New(`near "READ": syntax error`)
		r.set(func(call string, _ int) error {
			if call == "exec" {
				return syntax
			}
			return nil
		})
		for range 3 {
			_, err := db.OutOfBandReadOnly().Exec("select")
			if !errors.Is(err, syntax) || !strings.Contains(err.Error(), "OutOfBandReadOnly needs a server that knows BEGIN READ ONLY") {
				t.Errorf("got %v", err)
			}
		}
		waitIdle(t, db)
	})

	t.Run("a driver that prepares everything will do", func(t *testing.T) {
		db, r := open(t, plain, limit(1))
		_, err := db.OutOfBandReadOnly().Exec("select")
		must(t, err)
		waitIdle(t, db)
		expect(t, calls(r.take()), "connect#1", "prepare#1", "stmt.exec#1", "prepare#1", "stmt.exec#1", "stmt.close#1",
			"stmt.close#1", "prepare#1", "stmt.exec#1", "stmt.close#1")
	})

	t.Run("a bad connection is tried again", func(t *testing.T) {
		db, r := openDB(t, limit(2))
		fill(t, db, 2)
		kill(r, "exec")
		for range 3 {
			_, err := db.OutOfBandReadOnly().Exec("select")
			must(t, err)
		}
		waitIdle(t, db)
	})

	t.Run("it has no transactions", func(t *testing.T) {
		db, r := openDB(t, limit(1))
		if _, err := db.OutOfBandReadOnly().Begin(); err == nil || errors.Is(err, driver.ErrBadConn) {
			t.Errorf("got %v", err)
		}
		for _, e := range r.take() {
			if strings.HasPrefix(e, "begin") {
				t.Error("it began one")
			}
		}
	})
}
