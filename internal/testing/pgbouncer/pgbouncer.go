//go:build unix

// Package pgbouncer gives tests a PgBouncer in transaction mode.
package pgbouncer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
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

// A Bouncer is a PgBouncer that accepts connections.
type Bouncer struct {
	dsn   string
	dir   string
	cmd   *exec.Cmd
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

// Start starts a PgBouncer in transaction mode in front of the server of dsn, a
// URL. It has up to poolSize connections to the server, and any number of clients.
func Start(ctx context.Context, dsn string, poolSize int) (_ *Bouncer, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
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
	b := &Bouncer{ended: make(chan struct{})}
	if b.dir, err = os.MkdirTemp("", "pgbouncer"); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			b.Close()
		}
	}()
	config := fmt.Sprintf(`[databases]
* = host=%s port=%s user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = %d
max_client_conn = 2000
ignore_startup_parameters = extra_float_digits
server_login_retry = 1
`, server.Hostname(), server.Port(), server.User.Username(), port, poolSize)
	if os.Geteuid() == 0 { // as which it does not run
		config += "user = postgres\n"
	}
	file := filepath.Join(b.dir, "pgbouncer.ini")
	if err = os.Chmod(b.dir, 0o755); err == nil {
		err = os.WriteFile(file, []byte(config), 0o644)
	}
	if err != nil {
		return nil, err
	}
	b.cmd = exec.Command(path, "-q", file)
	var log bytes.Buffer // to be read when it has ended
	b.cmd.Stderr = &log
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err = b.cmd.Start(); err != nil {
		b.cmd = nil
		return nil, err
	}
	go func() {
		b.cmd.Wait()
		close(b.ended)
	}()
	own := *server
	own.Host = net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	b.dsn = own.String()
	for {
		conn, notReady := pgx.Connect(ctx, b.dsn)
		if notReady == nil {
			conn.Close(ctx)
			return b, nil
		}
		select {
		case <-b.ended:
			return nil, fmt.Errorf("pgbouncer ended while it was starting: %s", bytes.TrimSpace(log.Bytes()))
		case <-ctx.Done():
			return nil, fmt.Errorf("pgbouncer was not ready in time: %w (last attempt: %w)", ctx.Err(), notReady)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// DSN returns the URL of the database of Start, through the PgBouncer.
func (b *Bouncer) DSN() string { return b.dsn }

// Close ends the PgBouncer.
func (b *Bouncer) Close() error {
	if b.cmd != nil {
		b.cmd.Process.Kill() // fails only if it has ended
		<-b.ended
	}
	return os.RemoveAll(b.dir)
}

func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, err
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
