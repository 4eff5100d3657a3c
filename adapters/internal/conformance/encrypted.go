package conformance

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/testing/faultproxy"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// testEncrypted does with TLS what depends on the socket below it.
func testEncrypted(t *testing.T, d Driver) {
	if pgserver.ForTest(t).External() {
		t.Skip("the server is not ours, and may have no TLS")
	}
	cert, key := certificate(t)
	server, err := pgserver.Start(t.Context(), pgserver.Config{Settings: map[string]string{
		"ssl": "on", "ssl_cert_file": cert, "ssl_key_file": key,
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	dsn := server.CreateDatabase(t)
	proxy, through := faultproxy.Start(t, dsn)
	through = withOption(withOption(through, "application_name", "gated"), "sslmode", "require")
	db, err := d.Open(through, poolgate.Config{Gate: gate.Config{Limit: 2}})
	if err != nil {
		t.Fatal(err)
	}
	f := watch(t, d, dsn, db)
	t.Cleanup(func() { proxy.Resume(); proxy.Bury() })

	t.Run("it is encrypted", func(t *testing.T) {
		if !scalar[bool](t, f, "select ssl from pg_stat_ssl where pid = pg_backend_pid()") {
			t.Error("it is not")
		}
	})

	t.Run("a statement is cancelled on the server", func(t *testing.T) {
		for range 20 {
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(10*time.Millisecond, cancel)
			if _, err := f.ExecContext(ctx, "select pg_sleep(60)"); !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
			f.settled(t)
			if n := f.count(t, "application_name = 'gated' and state = 'active'"); n > 0 {
				t.Errorf("%d backends are active", n)
			}
		}
		f.usable(t)
	})

	t.Run("idle connections that the server has closed are not used", func(t *testing.T) {
		// Not through the proxy, by which an end comes a moment later.
		db, err := d.Open(withOption(dsn, "sslmode", "require"), poolgate.Config{Gate: gate.Config{Limit: 2}})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		f := &fixture{DB: db, driver: d, dsn: dsn, observer: f.observer}
		var pids []int
		for _, c := range f.hold(t, 2) {
			pids = append(pids, backend(t, c))
			c.Close()
		}
		f.settled(t)
		f.kill(t, pids...)
		for range 4 {
			if _, err := f.ExecContext(t.Context(), "select 1"); err != nil {
				t.Error(err)
			}
		}
		f.usable(t)
	})

	t.Run("idle connections that have vanished are not used", func(t *testing.T) {
		for _, c := range f.hold(t, 2) {
			c.Close()
		}
		f.settled(t)
		time.Sleep(1200 * time.Millisecond) // for each to be idle for longer than PingAfter
		proxy.Vanish()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		if _, err := f.ExecContext(ctx, "select 1"); err != nil {
			t.Error(err)
		}
		f.usable(t)
	})

	t.Run("a server that says nothing does not keep its caller", func(t *testing.T) {
		proxy.Stop()
		ctx, cancel := context.WithCancel(t.Context())
		endsWithContext(t, func() error { _, err := f.ExecContext(ctx, "select 1"); return err }, cancel)
		f.settled(t)
		proxy.Resume()
		f.usable(t)
	})
}

// certificate makes a certificate and its key, in files that the server can
// read, and would refuse to read if others could.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "poolgate-tls-") // t.TempDir is not for other users
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, kind string, bytes []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}), 0o600); err != nil {
			t.Fatal(err)
		}
		// Where we are root, the server is another user.
		if os.Geteuid() != 0 {
			return path
		}
		for _, account := range []string{"postgres", "nobody"} {
			u, err := user.Lookup(account)
			if err != nil {
				continue
			}
			uid, _ := strconv.Atoi(u.Uid)
			if err := os.Chown(path, uid, -1); err != nil {
				t.Fatal(err)
			}
			break
		}
		return path
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return write("cert.pem", "CERTIFICATE", cert), write("key.pem", "PRIVATE KEY", secret)
}
