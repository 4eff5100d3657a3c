package conformance

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/poolgate/poolgate/poolgate"
)

// testRaw takes the driver's own connection out of the gate.
func testRaw(t *testing.T, d Driver) {
	f := open(t, d, 1)
	conn := func(t *testing.T) (*sql.Conn, int) {
		t.Helper()
		c := f.hold(t, 1)[0]
		return c, backend(t, c)
	}
	// discarded checks that c and its backend are gone.
	discarded := func(t *testing.T, c *sql.Conn, pid int) {
		t.Helper()
		if _, err := c.ExecContext(t.Context(), "select 1"); !errors.Is(err, sql.ErrConnDone) {
			t.Errorf("the Conn still works, or %v", err)
		}
		eventually(t, "its backend is gone", func() bool { return f.count(t, "pid = "+strconv.Itoa(pid)) == 0 })
		f.usable(t)
	}

	t.Run("it is the connection that the Conn works on, and is good afterwards", func(t *testing.T) {
		c, pid := conn(t)
		for range 2 {
			called := false
			err := d.Raw(c, func(raw int) error {
				if called = true; raw != pid {
					t.Errorf("it is that of %d, want %d", raw, pid)
				}
				return nil
			})
			if err != nil || !called {
				t.Errorf("called: %v, error: %v", called, err)
			}
			if got := backend(t, c); got != pid {
				t.Errorf("the backend is %d now, was %d", got, pid)
			}
		}
	})

	t.Run("a type that it is not is a clear error, and costs nothing", func(t *testing.T) {
		c, pid := conn(t)
		err := poolgate.Raw(c, func(*strings.Builder) error {
			t.Error("the function is called")
			return nil
		})
		if !errors.Is(err, poolgate.ErrRawType) || !strings.Contains(err.Error(), "*strings.Builder") ||
			!strings.Contains(err.Error(), "Conn") {
			t.Errorf("got %v", err)
		}
		if got := backend(t, c); got != pid {
			t.Errorf("the backend is %d now, was %d", got, pid)
		}
	})

	t.Run("an error of the function comes back as it is, and costs nothing", func(t *testing.T) {
		c, pid := conn(t)
		mine := errors.New("mine")
		if err := d.Raw(c, func(int) error { return mine }); err != mine {
			t.Errorf("got %v", err)
		}
		if got := backend(t, c); got != pid {
			t.Errorf("the backend is %d now, was %d", got, pid)
		}
	})

	for name, bad := range map[string]error{
		"ErrBadConn":           driver.ErrBadConn,
		"a wrapped ErrBadConn": fmt.Errorf("mine: %w", driver.ErrBadConn),
	} {
		t.Run(name+" of the function discards the connection", func(t *testing.T) {
			c, pid := conn(t)
			if err := d.Raw(c, func(int) error { return bad }); !errors.Is(err, driver.ErrBadConn) {
				t.Errorf("got %v", err)
			}
			discarded(t, c, pid)
		})
	}

	t.Run("a panic of the function goes on, and discards the connection", func(t *testing.T) {
		c, pid := conn(t)
		func() {
			defer func() {
				if r := recover(); r != "mine" {
					t.Errorf("recovered %v", r)
				}
			}()
			d.Raw(c, func(int) error { panic("mine") })
		}()
		discarded(t, c, pid)
	})
}
