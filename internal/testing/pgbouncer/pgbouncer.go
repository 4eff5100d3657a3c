//go:build unix

// Package pgbouncer gives tests a PgBouncer.
package pgbouncer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// EnvPath names the environment variable with the path of pgbouncer, where it is
// not on PATH.
const EnvPath = "POOLGATE_PGBOUNCER"

// EnvRequire names the environment variable that, set to 1, makes tests fail that
// would be skipped for want of a PgBouncer.
const EnvRequire = "POOLGATE_REQUIRE_PGBOUNCER"

// ErrUnavailable says that there is no PgBouncer on this machine.
var ErrUnavailable = errors.New("no pgbouncer found: install one (apt-get install pgbouncer) or set " + EnvPath)

// startTimeout is long for the sake of machines that do much else.
const startTimeout = time.Minute

// Config describes the PgBouncer to start. The zero value is in transaction mode,
// with PgBouncer's defaults.
type Config struct {
	// Mode is pool_mode; "" is transaction.
	Mode string

	// PoolSize is how many connections to the server it has at most; 0 is 20.
	PoolSize int

	// Settings are further settings by name, as in pgbouncer.ini.
	Settings map[string]string
}

// A Bouncer is a PgBouncer that accepts connections. One goroutine at a time may
// restart or close it.
type Bouncer struct {
	dsn  string
	path string // of the program
	dir  string

	cmd   *exec.Cmd
	log   *bytes.Buffer // to be read when it has ended
	ended chan struct{}
}

// Find returns the path of pgbouncer, or an error that matches ErrUnavailable.
func Find() (string, error) {
	if path := os.Getenv(EnvPath); path != "" {
		return path, nil
	}
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path, nil
		}
	}
	return "", ErrUnavailable
}

// ForTest starts a PgBouncer in front of the server of dsn, a URL, which the
// test's cleanup ends: it fails the test if PgBouncer has ended before. Where there
// is no pgbouncer, the test is skipped, or fails if the environment says
// POOLGATE_REQUIRE_PGBOUNCER=1.
func ForTest(t testing.TB, dsn string, config Config) *Bouncer {
	t.Helper()
	if _, err := Find(); err != nil {
		if os.Getenv(EnvRequire) == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	b, err := Start(context.Background(), dsn, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

// Start starts a PgBouncer in front of the server of dsn, a URL. Any number of
// clients can connect to it.
func Start(ctx context.Context, dsn string, config Config) (_ *Bouncer, err error) {
	path, err := Find()
	if err != nil {
		return nil, err
	}
	server, err := url.Parse(dsn)
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	b := &Bouncer{path: path}
	if b.dir, err = os.MkdirTemp("", "pgbouncer"); err != nil {
		return nil, err
	}
	if err = os.Chmod(b.dir, 0o755); err == nil {
		err = os.WriteFile(b.file(), []byte(config.ini(server, port)), 0o644)
	}
	if err != nil {
		os.RemoveAll(b.dir)
		return nil, err
	}
	own := *server
	own.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	b.dsn = own.String()
	if err := b.start(ctx); err != nil {
		os.RemoveAll(b.dir)
		return nil, err
	}
	return b, nil
}

func (c Config) ini(server *url.URL, port int) string {
	settings := map[string]string{
		"listen_addr":        "127.0.0.1",
		"listen_port":        strconv.Itoa(port),
		"unix_socket_dir":    "",
		"auth_type":          "any",
		"pool_mode":          cmp.Or(c.Mode, "transaction"),
		"default_pool_size":  strconv.Itoa(cmp.Or(c.PoolSize, 20)),
		"max_client_conn":    "2000",
		"server_login_retry": "1",
	}
	if os.Geteuid() == 0 { // as which it does not run
		settings["user"] = "postgres"
	}
	maps.Copy(settings, c.Settings)
	ini := fmt.Sprintf("[databases]\n* = host=%s port=%s user=%s\n[pgbouncer]\n",
		server.Hostname(), server.Port(), server.User.Username())
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		ini += name + " = " + settings[name] + "\n"
	}
	return ini
}

func (b *Bouncer) file() string { return filepath.Join(b.dir, "pgbouncer.ini") }

// start starts the process, and returns when it accepts connections.
func (b *Bouncer) start(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	cmd, log, ended := exec.Command(b.path, "-q", b.file()), &bytes.Buffer{}, make(chan struct{})
	cmd.Stderr = log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	go func() {
		cmd.Wait()
		close(ended)
	}()
	b.cmd, b.log, b.ended = cmd, log, ended
	for {
		conn, notReady := pgx.Connect(ctx, b.dsn)
		if notReady == nil {
			conn.Close(ctx)
			return nil
		}
		select {
		case <-ended:
			return fmt.Errorf("pgbouncer ended while it was starting: %s", bytes.TrimSpace(log.Bytes()))
		case <-ctx.Done():
			b.stop()
			return fmt.Errorf("pgbouncer was not ready in time: %w (last attempt: %w)", ctx.Err(), notReady)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// stop ends the process at once, and returns an error if it had ended before.
func (b *Bouncer) stop() error {
	select {
	case <-b.ended:
		return fmt.Errorf("pgbouncer had ended by itself: %s", bytes.TrimSpace(b.log.Bytes()))
	default:
	}
	b.cmd.Process.Kill() // fails only if it has ended
	<-b.ended
	return nil
}

// Restart ends the process, with all connections of its clients, and starts it
// again on the same port. It returns when that accepts connections.
func (b *Bouncer) Restart(ctx context.Context) error {
	if err := b.stop(); err != nil {
		return err
	}
	return b.start(ctx)
}

// DSN returns the URL of the database of Start, through the PgBouncer.
func (b *Bouncer) DSN() string { return b.dsn }

// KeepsStatements reports whether this version can keep track of prepared
// statements in transaction mode, as those since 1.21 do with the setting
// max_prepared_statements.
func KeepsStatements() bool {
	path, err := Find()
	if err != nil {
		return false
	}
	out, err := exec.Command(path, "--version").Output() // "PgBouncer 1.18.0" and more
	var major, minor int
	_, scanned := fmt.Sscanf(strings.TrimPrefix(string(out), "PgBouncer "), "%d.%d", &major, &minor)
	return err == nil && scanned == nil && (major > 1 || minor >= 21)
}

// Close ends the PgBouncer. It returns an error if it had ended before.
func (b *Bouncer) Close() error {
	return errors.Join(b.stop(), os.RemoveAll(b.dir))
}

func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
