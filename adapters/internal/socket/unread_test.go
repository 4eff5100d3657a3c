//go:build unix

package socket

import (
	"net"
	"path/filepath"
	"testing"
	"time"
)

// pair returns the two ends of a connection.
func pair(t testing.TB, network, address string) (here, there net.Conn) {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if here, err = net.Dial(network, l.Addr().String()); err != nil {
		t.Fatal(err)
	}
	if there, err = l.Accept(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { here.Close(); there.Close() })
	return here, there
}

// becomes waits for what was sent to arrive.
func becomes(t *testing.T, conn net.Conn, want bool) {
	t.Helper()
	for end := time.Now().Add(10 * time.Second); Unread(conn) != want; time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("Unread stays %v", !want)
		}
	}
}

func TestUnread(t *testing.T) {
	for network, address := range map[string]string{
		"tcp":  "127.0.0.1:0",
		"unix": filepath.Join(t.TempDir(), "socket"),
	} {
		t.Run("what was sent is unread until it is read, on "+network, func(t *testing.T) {
			here, there := pair(t, network, address)
			if Unread(here) {
				t.Error("something is unread before anything was sent")
			}
			if _, err := there.Write([]byte("x")); err != nil {
				t.Fatal(err)
			}
			becomes(t, here, true)
			b := make([]byte, 2)
			if n, err := here.Read(b); n != 1 || b[0] != 'x' || err != nil {
				t.Errorf("read %q, %v", b[:n], err)
			}
			if Unread(here) {
				t.Error("something is unread after it was read")
			}
		})

		t.Run("the end is unread, on "+network, func(t *testing.T) {
			here, there := pair(t, network, address)
			there.Close()
			becomes(t, here, true)
		})
	}

	t.Run("a reset is unread", func(t *testing.T) {
		here, there := pair(t, "tcp", "127.0.0.1:0")
		there.(*net.TCPConn).SetLinger(0)
		there.Close()
		becomes(t, here, true)
	})

	t.Run("a socket that was closed here is", func(t *testing.T) {
		here, _ := pair(t, "tcp", "127.0.0.1:0")
		here.Close()
		if !Unread(here) {
			t.Error("it looks good")
		}
	})

	t.Run("a deadline that has passed does not count", func(t *testing.T) {
		here, _ := pair(t, "tcp", "127.0.0.1:0")
		here.SetDeadline(time.Unix(1, 0))
		if Unread(here) {
			t.Error("something is unread")
		}
	})

	t.Run("it does not wait for another reader", func(t *testing.T) {
		here, there := pair(t, "tcp", "127.0.0.1:0")
		read := make(chan struct{})
		go func() {
			defer close(read)
			here.Read(make([]byte, 1))
		}()
		time.Sleep(20 * time.Millisecond) // for it to be in Read
		if Unread(here) {
			t.Error("something is unread")
		}
		there.Close()
		<-read
	})

	t.Run("encryption is looked through", func(t *testing.T) {
		here, there := pair(t, "tcp", "127.0.0.1:0")
		if Unread(wrapped{inner: here}) {
			t.Error("something is unread")
		}
		there.Close()
		becomes(t, wrapped{inner: here}, true)
	})

	t.Run("what is no socket has nothing unread", func(t *testing.T) {
		here, there := net.Pipe()
		there.Close()
		defer here.Close()
		if Unread(here) {
			t.Error("something is unread")
		}
	})
}

func TestSilenceLooksAtTheSocket(t *testing.T) {
	here, there := pair(t, "tcp", "127.0.0.1:0")
	there.Close()
	becomes(t, here, true)
	pings := 0
	ping := Ping{After: time.Minute, Timeout: time.Second, Send: func() error { pings++; return nil }}
	var s Silence
	idle := &Conn{Conn: here, heard: clock() - 2*lookAfter}
	if err := s.Check(t.Context(), idle, &ping); err != nil || pings != 1 {
		t.Errorf("%d pings, %v", pings, err)
	}
}

// wrapped is a connection as *tls.Conn is one: with another one inside.
type wrapped struct {
	net.Conn // nil
	inner    net.Conn
}

func (w wrapped) NetConn() net.Conn { return w.inner }

func BenchmarkUnread(b *testing.B) {
	here, _ := pair(b, "tcp", "127.0.0.1:0")
	b.ReportAllocs()
	for b.Loop() {
		if Unread(here) {
			b.Fatal("something is unread")
		}
	}
}
