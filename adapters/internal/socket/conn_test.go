package socket

import (
	"context"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"os"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
)

// patience is how long a test waits for what should happen at once.
const patience = 10 * time.Second

// dialled returns the two ends of a connection that a Line has dialled.
func dialled(t *testing.T) (*Line, *Conn, net.Conn) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	line := &Line{Dial: new(net.Dialer).DialContext}
	conn, err := line.DialContext(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	there, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	here := conn.(*Conn)
	t.Cleanup(func() { here.Conn.Close(); there.Close() })
	return line, here, there
}

// within checks that f returns in time.
func within(t *testing.T, what string, f func()) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); f() }()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s takes longer than %v", what, patience)
	}
}

func TestSentCountsBytes(t *testing.T) {
	_, here, _ := dialled(t)
	for range 3 {
		if _, err := here.Write(make([]byte, 7)); err != nil {
			t.Fatal(err)
		}
	}
	if here.Writes(func() {}) {
		t.Error("nothing was written, but Writes says so")
	}
	if !here.Writes(func() { here.Write([]byte("x")) }) {
		t.Error("Writes does not see a write")
	}
	if n := here.Sent(); n != 21 {
		t.Errorf("Sent is %d, want 21", n)
	}
	if err := here.Err(); err != nil {
		t.Errorf("Err is %v", err)
	}
}

func TestLimit(t *testing.T) {
	t.Run("a read ends after the context, and the next does not", func(t *testing.T) {
		_, here, there := dialled(t)
		ctx, cancel := context.WithCancel(t.Context())
		lift := here.Limit(ctx, time.Millisecond, 0)
		time.AfterFunc(10*time.Millisecond, cancel)
		within(t, "Read", func() {
			if _, err := here.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
		lift()
		there.Write([]byte("x"))
		if _, err := here.Read(make([]byte, 1)); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		if !errors.Is(here.Err(), os.ErrDeadlineExceeded) {
			t.Errorf("Err is %v", here.Err())
		}
	})

	t.Run("a read ends after the timeout", func(t *testing.T) {
		_, here, _ := dialled(t)
		lift := here.Limit(context.Background(), 0, 10*time.Millisecond)
		defer lift()
		within(t, "Read", func() {
			if _, err := here.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("got %v", err)
			}
		})
	})

	t.Run("a write that the peer does not take ends after the context", func(t *testing.T) {
		_, here, _ := dialled(t)
		ctx, cancel := context.WithCancel(t.Context())
		defer here.LimitWrites(ctx)()
		time.AfterFunc(10*time.Millisecond, cancel)
		within(t, "Write", func() {
			for {
				if _, err := here.Write(make([]byte, 1<<20)); err != nil {
					break
				}
			}
		})
	})
}

func TestCloseOfAConnectionInUse(t *testing.T) {
	line, here, there := dialled(t)
	if line.Established(nil) != here {
		t.Fatal("another connection is established")
	}
	if err := here.Close(); err != nil { // as the driver does
		t.Error(err)
	}
	within(t, "Read", func() {
		if _, err := here.Read(make([]byte, 1)); err == nil {
			t.Error("the driver can read after Close")
		}
		if _, err := there.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("the server reads %v, want the end", err)
		}
	})
	ended := make(chan struct{})
	go func() { here.End(func() bool { return true }); close(ended) }()
	there.Write(make([]byte, 1<<20)) // what it was about to say
	select {
	case <-ended:
		t.Error("End has returned before the server has closed")
	case <-time.After(3 * firstEndWait):
	}
	there.Close()
	within(t, "End", func() { <-ended })
}

func TestEndGivesUpOnAServerThatCannotBeReached(t *testing.T) {
	line, here, _ := dialled(t)
	line.Established(nil)
	asked := 0
	within(t, "End", func() {
		here.End(func() bool { asked++; return asked < 2 })
	})
	if asked != 2 {
		t.Errorf("it asked %d times, want 2", asked)
	}
}

func TestCloseOfAnIdleConnectionDoesNotWait(t *testing.T) {
	line, here, _ := dialled(t)
	line.Established(nil)
	here.Idle()
	within(t, "Close", func() { here.Close() })
	if _, err := here.Conn.Write([]byte("x")); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the socket is open: %v", err)
	}
}

func TestRequestsToCancel(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	cancelling := 0
	line := &Line{Dial: new(net.Dialer).DialContext, Cancelling: func() { cancelling++ }, CancelTimeout: 50 * time.Millisecond}
	dial := func() (here, there net.Conn) {
		t.Helper()
		here, err := line.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		there, err = l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { here.Close(); there.Close() })
		return here, there
	}
	dial()
	line.Established(nil)

	answered, there := dial()
	if line.Settled() {
		t.Error("it is settled before the server has taken the request")
	}
	elsewhere, err := line.DialContext(t.Context(), "tcp", "127.0.0.1:1") // as another server of the same name
	if err != nil {
		t.Fatalf("a request to cancel goes to another server: %v", err)
	}
	defer elsewhere.Close()
	if there, err := l.Accept(); err != nil {
		t.Fatal(err)
	} else {
		there.Close()
	}
	if _, err := elsewhere.Read(make([]byte, 1)); err != io.EOF {
		t.Error(err)
	}
	there.Close()
	answered.SetDeadline(time.Now().Add(patience)) // which is not later than CancelTimeout
	if _, err := answered.Read(make([]byte, 1)); err != io.EOF {
		t.Fatal(err)
	}
	if !line.Settled() || cancelling != 2 {
		t.Errorf("settled: %v; Cancelling was called %d times", line.Settled(), cancelling)
	}

	ignored, _ := dial()
	ignored.SetDeadline(time.Now().Add(time.Hour))
	within(t, "Read", func() {
		if _, err := ignored.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
	if line.Settled() {
		t.Error("it is settled, though the server has not taken the request")
	}
}

func TestLost(t *testing.T) {
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	mine := errors.New("mine")
	for _, test := range []struct {
		name            string
		checkout, start int64 // of 10 bytes that were sent
		harmless, ended bool
		err             error
		is, isNot       []error
	}{
		{"nothing was sent since the checkout", 10, 10, false, false, mine,
			[]error{driver.ErrBadConn}, []error{poolgate.ErrOutcomeUnknown}},
		{"nothing was sent of this call", 5, 10, false, false, mine,
			[]error{mine}, []error{driver.ErrBadConn, poolgate.ErrOutcomeUnknown}},
		{"it was sent", 5, 5, false, false, mine,
			[]error{mine, poolgate.ErrOutcomeUnknown}, []error{driver.ErrBadConn}},
		{"it was sent, and the driver says ErrBadConn", 5, 5, false, false, driver.ErrBadConn,
			[]error{poolgate.ErrOutcomeUnknown}, []error{driver.ErrBadConn}},
		{"it was sent and is harmless", 5, 5, true, false, mine,
			[]error{mine}, []error{driver.ErrBadConn, poolgate.ErrOutcomeUnknown}},
		{"it was sent, and the context has ended", 5, 5, false, true, mine,
			[]error{mine, context.Canceled, poolgate.ErrOutcomeUnknown}, []error{driver.ErrBadConn}},
		{"it was not sent, and the context has ended", 10, 10, false, true, driver.ErrBadConn,
			[]error{context.Canceled}, []error{driver.ErrBadConn, poolgate.ErrOutcomeUnknown}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := new(Conn)
			c.sent.Store(10)
			ctx := t.Context()
			if test.ended {
				ctx = cancelled
			}
			got := c.Lost(ctx, Call{Checkout: test.checkout, Start: test.start, Harmless: test.harmless}, test.err)
			for _, want := range test.is {
				if !errors.Is(got, want) {
					t.Errorf("%v is not %v", got, want)
				}
			}
			for _, not := range test.isNot {
				if errors.Is(got, not) {
					t.Errorf("%v is %v", got, not)
				}
			}
		})
	}
}

func init() { epoch = epoch.Add(-time.Hour) } // for connections that were heard long ago

func TestSilence(t *testing.T) {
	now := clock()
	pings := 0
	answer := Ping{After: time.Minute, Timeout: 20 * time.Millisecond, Send: func() error { pings++; return nil }}
	silent := answer
	silent.Send = func() error { pings++; time.Sleep(silent.Timeout); return errors.New("timeout") }
	var s Silence
	check := func(what string, heard time.Duration, ping Ping, wantPings int, want error) {
		t.Helper()
		_, here, _ := dialled(t)
		here.heard = heard
		pings = 0
		if err := s.Check(t.Context(), here, &ping); err != want {
			t.Errorf("%s: got %v, want %v", what, err, want)
		}
		if pings != wantPings {
			t.Errorf("%s: %d pings, want %d", what, pings, wantPings)
		}
	}
	check("used just now", now, answer, 0, nil)
	check("idle", now-2*time.Minute, answer, 1, nil)
	check("idle and silent", now-3*time.Minute, silent, 1, driver.ErrBadConn)
	check("idle for longer than the silent one", now-4*time.Minute, answer, 0, driver.ErrBadConn)
	check("used just before that was found", now, answer, 1, nil)
	check("used afterwards", clock(), answer, 0, nil)

	never := answer
	never.After = -1
	check("idle, without pings", clock()+time.Millisecond, never, 0, nil)

	t.Run("a ping leaves the caller half of its time, and says nothing of others", func(t *testing.T) {
		var s Silence
		_, here, _ := dialled(t)
		long := Ping{After: time.Minute, Timeout: time.Hour, Send: func() error { _, err := here.Read(make([]byte, 1)); return err }}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		here.heard = now - 5*time.Minute
		within(t, "Check", func() {
			if err := s.Check(ctx, here, &long); err != driver.ErrBadConn {
				t.Errorf("got %v", err)
			}
		})
		if ctx.Err() != nil {
			t.Error("the caller has no time left")
		}
		_, other, _ := dialled(t)
		other.heard = now - 10*time.Minute
		if err := s.Check(t.Context(), other, &answer); err != nil {
			t.Errorf("another one: %v", err)
		}
	})
}

// A driver can set the deadline of a call while another goroutine writes for the
// call: what limits writes must not take that away.
func TestLimitWritesLeavesTheDeadlineOfReads(t *testing.T) {
	_, here, _ := dialled(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	defer here.LimitWrites(ctx)()
	here.SetDeadline(time.Now().Add(Patience))
	if _, err := here.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	within(t, "a read", func() {
		if _, err := here.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("the error is %v", err)
		}
	})
}
