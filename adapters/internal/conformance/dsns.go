package conformance

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// secret is in every password of the tests, and in no error.
const secret = "s3cr3t"

// testWrongDSNs hands Open what people mistype. What can be seen to be wrong is
// refused at once, and no error repeats a piece of the password.
func testWrongDSNs(t *testing.T, d Driver) {
	for _, dsn := range []string{
		"postgres://u:s3cr3t@127.0.0.1:54x2/db",
		"postgres://u:s3cr3t@127.0.0.1:99999/db",
		"postgres://u:s3cr3t%zz@127.0.0.1:1/db",
		"postgres://u:s3cr3t/s3cr3t@127.0.0.1:1/db",
		"postgres://u:s3cr3t@127.0.0.1:1/db?sslmode=s3cr3t",
		"postgres://u:s3cr3t@127.0.0.1:1/db?sslmode=disable&connect_timeout=s3cr3t",
		"postgres://u:s3cr3t@[::1/db?sslmode=disable",
		"postgress://u:s3cr3t@127.0.0.1:1/db",
		"postgress://u:s3cr3t@127.0.0.1:1/db?sslmode=disable",
		"jdbc:postgresql://127.0.0.1:1/db?user=u&password=s3cr3t&ssl=false",
		"u:s3cr3t@tcp(127.0.0.1:1)/db",
		"u:s3cr3t@tcp(127.0.0.1:1)/db?timeout=5s",
		"host=127.0.0.1 port=1 user=u password=s3cr3t sslmode",
		"host=127.0.0.1 port=1 user=u password=a s3cr3t sslmode=disable",
		"host=127.0.0.1 port=1 user=u password='s3cr3t sslmode=disable",
		"host=127.0.0.1 port=s3cr3t user=u password=s3cr3t sslmode=disable",
	} {
		t.Run("refused: "+dsn, func(t *testing.T) {
			db, err := d.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1}})
			if err == nil {
				db.Close()
				t.Fatal("it is not refused")
			}
			discreet(t, err)
			if text := err.Error(); !strings.HasPrefix(text, d.Name()+"gate: dsn: ") || !strings.Contains(text, "postgres://user:password@host") {
				t.Errorf("the error does not say what is wrong and what is right: %s", text)
			}
		})
	}

	for _, c := range `@/?#%&=:;,'"\[]{}<>|^$+~ ` + "`\t\nä" {
		password := secret + string(c) + secret
		for _, dsn := range []string{
			"postgres://u:" + password + "@127.0.0.1:1/db?sslmode=disable",
			"postgres://u@127.0.0.1:1/db?sslmode=disable&password=" + password,
			"user=u password=" + password + " host=127.0.0.1 port=1 sslmode=disable",
			"user=u password='" + password + "' host=127.0.0.1 port=1 sslmode=disable",
		} {
			t.Run("never repeated: "+dsn, func(t *testing.T) {
				defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
				db, err := d.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1}})
				if err != nil {
					discreet(t, err)
					return
				}
				defer db.Close()
				ctx, cancel := context.WithTimeout(t.Context(), time.Second)
				defer cancel()
				if err := db.PingContext(ctx); err == nil {
					t.Error("something answers on port 1")
				} else {
					discreet(t, err)
				}
			})
		}
	}

	t.Run("what the server refuses is its own error, with the SQLSTATE", func(t *testing.T) {
		u, err := url.Parse(pgserver.ForTest(t).DSN())
		if err != nil || u.User == nil {
			t.Skip("the server's DSN is no URL with a user")
		}
		u.User = url.UserPassword(u.User.Username(), secret)
		mistyped := withOption(u.String(), "sslmod", "disable") // which only the server can tell from a setting
		u.Path = "/nowhere"
		defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
		for dsn, want := range map[string]string{mistyped: "42704", u.String(): "3D000"} {
			db, err := d.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1}})
			if err != nil {
				t.Fatal(err)
			}
			err = db.PingContext(t.Context())
			if state(err) != want {
				t.Errorf("got %v, want %s", err, want)
			}
			discreet(t, err)
			db.Close()
		}
	})

	t.Run("a configuration that is wrong is refused by its field, and nothing is left", func(t *testing.T) {
		defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
		for field, config := range map[string]gate.Config{
			"Limit":   {},
			"MaxWait": {Limit: 1, MaxWait: -1},
		} {
			_, err := d.Open("postgres://u:s3cr3t@127.0.0.1:1/db?sslmode=disable", poolgate.Config{Gate: config})
			if err == nil || !strings.Contains(err.Error(), field) {
				t.Errorf("%s: got %v", field, err)
				continue
			}
			discreet(t, err)
		}
	})

	t.Run("a server that accepts and says nothing", func(t *testing.T) { testSilentServer(t, d) })
}

// discreet checks that err holds nothing of a password, however it is printed.
func discreet(t *testing.T, err error) {
	t.Helper()
	for _, format := range []string{"%v", "%+v", "%#v"} {
		if text := fmt.Sprintf(format, err); strings.Contains(text, secret) {
			t.Errorf("the error repeats a password: %s", text)
		}
	}
}

// testSilentServer connects to what accepts connections and never answers.
func testSilentServer(t *testing.T, d Driver) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	dsn := "postgres://u:s3cr3t@" + silent.Addr().String() + "/db?sslmode=disable"

	for _, test := range []struct {
		name   string
		option string
		end    func(context.Context) (context.Context, context.CancelFunc)
		want   error // nil if any will do
	}{
		{"connect_timeout", "&connect_timeout=1", context.WithCancel, nil},
		{"the context's deadline", "", func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 50*time.Millisecond)
		}, context.DeadlineExceeded},
		{"the context's cancellation", "", func(ctx context.Context) (context.Context, context.CancelFunc) {
			ctx, cancel := context.WithCancel(ctx)
			time.AfterFunc(50*time.Millisecond, cancel)
			return ctx, cancel
		}, context.Canceled},
	} {
		t.Run("given up by "+test.name, func(t *testing.T) {
			db, err := d.Open(dsn+test.option, poolgate.Config{Gate: gate.Config{Limit: 1}})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			ctx, cancel := test.end(t.Context())
			defer cancel()
			failed := make(chan error, 1)
			go func() { failed <- db.PingContext(ctx) }()
			select {
			case err := <-failed:
				if err == nil || !errors.Is(err, test.want) && test.want != nil {
					t.Errorf("got %v, want %v", err, test.want)
				}
				discreet(t, err)
			case <-time.After(patience):
				t.Fatal("it still waits")
			}
			if n := db.Gate().Stats().InFlight; n != 0 {
				t.Errorf("%d permits are held", n)
			}
		})
	}
}
