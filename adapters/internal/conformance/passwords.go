package conformance

import (
	"bufio"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// printable is every printable ASCII character.
var printable = func() (all []string) {
	for c := ' '; c <= '~'; c++ {
		all = append(all, string(c))
	}
	return all
}()

// testPasswords tries every printable ASCII character at every place of a
// password. Written as it should be, the server gets it; written in any other
// way, no error repeats a piece of it.
func testPasswords(t *testing.T, d Driver) {
	var passwords []string
	for _, c := range printable {
		passwords = append(passwords, c, c+secret, secret+c+secret, secret+c, c+secret+c, c+c+secret)
	}

	t.Run("the server gets a password that is written as it should be", func(t *testing.T) {
		defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
		asks := newAskingServer(t)
		defer asks.stop()
		host, port, _ := net.SplitHostPort(asks.Addr().String())
		quote := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
		for _, password := range passwords {
			for _, dsn := range []string{
				"postgres://u:" + percent(password) + "@" + asks.Addr().String() + "/db?sslmode=disable",
				"postgres://u@" + asks.Addr().String() + "/db?sslmode=disable&password=" + percent(password),
				"user=u password='" + quote.Replace(password) + "' host=" + host + " port=" + port + " dbname=db sslmode=disable",
			} {
				db, err := d.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1}})
				if err != nil {
					t.Errorf("%s: %v", dsn, err)
					continue
				}
				err = db.PingContext(t.Context())
				db.Close()
				if got := asks.password(); got != password || state(err) != "28P01" {
					t.Errorf("%s: the server got %q: %v", dsn, got, err)
				}
				discreet(t, err)
			}
		}
	})

	// Pieces of a password may be taken for a port, and what follows for a
	// database, an option or a host.
	for _, c := range printable {
		passwords = append(passwords, "54321"+c+secret, "54321"+c+secret+c+secret)
	}
	const special = "@/?#%&=:;,'\"\\[] "
	for _, a := range special {
		for _, b := range special {
			pair := string(a) + string(b)
			passwords = append(passwords, pair+secret, secret+pair+secret, "54321"+pair+secret, string(a)+secret+string(b)+secret)
		}
	}
	t.Run("no error and no span repeats a password that is not", func(t *testing.T) {
		defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
		for _, password := range passwords {
			if !strings.Contains(password, secret) {
				continue
			}
			for _, dsn := range []string{
				"postgres://localhost:" + password + "@127.0.0.1:1/db?sslmode=disable",
				"postgresql://localhost:" + password + "@127.0.0.1:1",
				"postgres://localhost@127.0.0.1:1/db?sslmode=disable&password=" + password,
				"postgres://127.0.0.1:1/db?password=" + password + "&sslmode=disable&user=u",
				"user=u password=" + password + " host=127.0.0.1 port=1 sslmode=disable",
				"user=u password='" + password + "' host=127.0.0.1 port=1 sslmode=disable",
				"host=127.0.0.1 port=1 user=u sslmode=disable password=" + password,
			} {
				if c, err := d.Connector(dsn); err == nil { // what spans and metrics have
					if host, _ := c.Server(); strings.Contains(host+c.Database(), secret) {
						t.Errorf("%s: the server is %s, the database %s", dsn, host, c.Database())
					}
				}
				db, err := d.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1}})
				if err == nil {
					ctx, cancel := context.WithTimeout(t.Context(), time.Second)
					err = db.PingContext(ctx)
					cancel()
					db.Close()
				}
				if err == nil {
					t.Errorf("%s: something answers", dsn)
					continue
				}
				if text := fmt.Sprintf("%v %+v %#v", err, err, err); strings.Contains(text, secret) {
					t.Errorf("%s: the error repeats a password: %v", dsn, err)
				}
			}
		}
	})
}

// percent returns text with every byte but letters and digits percent-encoded.
func percent(text string) string {
	var b strings.Builder
	for _, c := range []byte(text) {
		if '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "%%%02X", c)
		}
	}
	return b.String()
}

// An askingServer asks who connects for a password, as PostgreSQL does, and
// refuses it.
type askingServer struct {
	net.Listener
	serving sync.WaitGroup

	mu   sync.Mutex // guards last
	last string
}

func newAskingServer(t *testing.T) *askingServer {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &askingServer{Listener: listener}
	s.serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.serving.Go(func() {
				defer conn.Close()
				s.ask(conn)
			})
		}
	})
	return s
}

func (s *askingServer) stop() {
	s.Close()
	s.serving.Wait()
}

// password returns the last password that was sent.
func (s *askingServer) password() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer func() { s.last = "" }()
	return s.last
}

// ask reads a startup message, asks for a password in clear text, and refuses
// it.
func (s *askingServer) ask(conn net.Conn) {
	r := bufio.NewReader(conn)
	body := func() string {
		var length [4]byte
		if _, err := io.ReadFull(r, length[:]); err != nil {
			return ""
		}
		text := make([]byte, min(binary.BigEndian.Uint32(length[:]), 1<<16)-4)
		io.ReadFull(r, text)
		return string(text)
	}
	body()
	conn.Write([]byte{'R', 0, 0, 0, 8, 0, 0, 0, 3})
	if kind, err := r.ReadByte(); err != nil || kind != 'p' {
		return
	}
	password := strings.TrimSuffix(body(), "\x00")
	s.mu.Lock()
	s.last = password
	s.mu.Unlock()
	refusal := "SFATAL\x00VFATAL\x00C28P01\x00Mpassword authentication failed for user \"u\"\x00\x00"
	conn.Write(binary.BigEndian.AppendUint32([]byte{'E'}, uint32(len(refusal)+4)))
	conn.Write([]byte(refusal))
}
