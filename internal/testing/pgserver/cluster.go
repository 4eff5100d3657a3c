//go:build unix

package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// startTimeout is long because a machine that runs many tests at once may
	// need a minute for what takes a second.
	startTimeout = 3 * time.Minute
	// pollInterval is the pause between two attempts to connect to a server
	// that is starting.
	pollInterval = 10 * time.Millisecond
	// portAttempts is how often another port is tried after somebody took
	// the one that was free a moment ago.
	portAttempts = 5
)

// errPortTaken says that postgres could not listen on its port.
var errPortTaken = errors.New("the port was taken by somebody else")

// A cluster is a data directory and the postgres that runs on it.
type cluster struct {
	binDir   string
	dir      string // holds data, log and the socket, and goes when we go
	port     int
	account  *syscall.Credential // who runs it; nil for ourselves
	watchdog *watchdog
	config   Config

	mu       sync.Mutex // held while the server is started or stopped, guards what follows
	postgres *process   // nil until it was started

	closing  sync.Once
	closeErr error // written once, under closing
}

// startCluster makes a cluster with the programs in binDir and returns when it
// accepts connections. After an error nothing of it is left.
func startCluster(ctx context.Context, binDir string, cfg Config) (*cluster, error) {
	return newCluster(ctx, binDir, cfg, (*cluster).initdb)
}

// newCluster is startCluster with a function that creates the data directory.
func newCluster(ctx context.Context, binDir string, cfg Config, create func(*cluster, context.Context) error) (_ *cluster, err error) {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()

	account, err := serverAccount()
	if err != nil {
		return nil, err
	}
	w, err := makeDir(baseFor(account), account)
	if err != nil {
		return nil, err
	}
	c := &cluster{binDir: binDir, dir: w.dir, account: account, watchdog: w, config: cfg}
	defer func() {
		if err != nil {
			c.close() // the error that counts is why it did not start
		}
	}()
	if err := create(c, ctx); err != nil {
		return nil, err
	}
	for range portAttempts {
		var port int
		if port, err = freePort(); err != nil {
			return nil, err
		}
		if err = c.startPostgres(ctx, port); !errors.Is(err, errPortTaken) {
			break
		}
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

func (c *cluster) dataDir() string { return filepath.Join(c.dir, "data") }

func (c *cluster) dsn() string {
	return fmt.Sprintf("postgres://postgres@127.0.0.1:%d/postgres?sslmode=disable", c.port)
}

// initdb creates the data directory. Syncing it is skipped, since a crash of
// the machine takes this cluster with it; what runs on it later syncs.
func (c *cluster) initdb(ctx context.Context) error {
	return c.finish(ctx, "initdb",
		"--no-sync", "--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C",
		"--pgdata="+c.dataDir())
}

// finish runs a program of PostgreSQL to its end.
func (c *cluster) finish(ctx context.Context, program string, args ...string) error {
	p, err := c.run(program, syscall.SIGKILL, args...)
	if err != nil {
		return err
	}
	select {
	case <-p.done:
	case <-ctx.Done():
		p.killGroup()
		return fmt.Errorf("%s was stopped: %w", program, ctx.Err())
	}
	if p.err != nil {
		return fmt.Errorf("%s failed: %w%s", program, p.err, c.logTail())
	}
	return nil
}

// startPostgres starts the server on port and waits until it accepts
// connections. errPortTaken is worth another try; after any other error the
// process may still run, to be stopped by close.
func (c *cluster) startPostgres(ctx context.Context, port int) (err error) {
	c.port = port
	cfg := c.config
	args := []string{
		"-D", c.dataDir(),
		"-c", "listen_addresses=127.0.0.1",
		"-c", fmt.Sprintf("port=%d", c.port),
		"-c", "unix_socket_directories=" + c.dir,
		// Shared memory for parallel queries lies in the data directory and
		// not in /dev/shm: it goes with the directory whatever happens, and
		// the 64 MB that containers give to /dev/shm do not limit it.
		"-c", "dynamic_shared_memory_type=mmap",
	}
	if cfg.MaxConnections > 0 {
		args = append(args, "-c", fmt.Sprintf("max_connections=%d", cfg.MaxConnections))
	}
	for _, name := range slices.Sorted(maps.Keys(cfg.Settings)) {
		args = append(args, "-c", name+"="+cfg.Settings[name])
	}
	// SIGQUIT makes postgres end all its backends and free its shared memory.
	if c.postgres, err = c.run("postgres", syscall.SIGQUIT, args...); err != nil {
		return err
	}
	return c.awaitReady(ctx, c.postgres)
}

// restart stops the server and starts it again on the same port.
func (c *cluster) restart(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	c.mu.Lock()
	defer c.mu.Unlock()
	select {
	case <-c.postgres.done:
		return fmt.Errorf("postgres had ended before it was restarted: %w%s", c.postgres.ended(), c.logTail())
	default:
	}
	c.postgres.shutdown()
	return c.startPostgres(ctx, c.port)
}

func (c *cluster) awaitReady(ctx context.Context, postgres *process) error {
	// Somebody else on the port may never answer: the end of postgres ends
	// the attempt to connect.
	attempts, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-postgres.done:
			cancel()
		case <-attempts.Done():
		}
	}()
	tick := time.NewTicker(pollInterval)
	defer tick.Stop()
	for {
		notReady := ping(attempts, c.dsn(), c.dataDir())
		if notReady == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-postgres.done:
			tail := c.logTail()
			if strings.Contains(tail, "could not create any TCP/IP sockets") {
				return errPortTaken
			}
			return fmt.Errorf("postgres ended while it was starting: %w%s", postgres.ended(), tail)
		case <-ctx.Done():
			return fmt.Errorf("postgres was not ready in time: %w (last attempt: %w)%s",
				ctx.Err(), notReady, c.logTail())
		}
	}
}

// run starts a program of PostgreSQL in the cluster's directory, under its
// account, with its output in the log. deathSignal is what the system sends
// it when we die, where it knows how to.
func (c *cluster) run(program string, deathSignal syscall.Signal, args ...string) (*process, error) {
	log, err := os.Create(c.logFile())
	if err != nil {
		return nil, err
	}
	defer log.Close() // the child has its own
	cmd := exec.Command(filepath.Join(c.binDir, program), args...)
	cmd.Dir = c.dir // our own may be closed to the account
	cmd.Env = environment()
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = processAttr(deathSignal)
	cmd.SysProcAttr.Credential = c.account
	p, err := startProcess(cmd)
	if err != nil {
		return nil, fmt.Errorf("starting %s: %w", program, err)
	}
	return p, nil
}

// close stops the server, then lets the watchdog remove what is left.
func (c *cluster) close() error {
	c.closing.Do(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		var early error
		if c.postgres != nil {
			select {
			case <-c.postgres.done:
				early = fmt.Errorf("postgres ended before it was closed: %w%s", c.postgres.ended(), c.logTail())
			default:
				c.postgres.shutdown()
			}
		}
		c.closeErr = errors.Join(early, c.watchdog.close())
	})
	return c.closeErr
}

func (c *cluster) logFile() string { return filepath.Join(c.dir, "log") }

// logTail returns the last lines of the log, for the end of an error message.
func (c *cluster) logTail() string {
	const lines = 15
	log, err := os.ReadFile(c.logFile())
	log = bytes.TrimSpace(log)
	if err != nil || len(log) == 0 {
		return ""
	}
	all := strings.Split(string(log), "\n")
	return "; the end of its log:\n" + strings.Join(all[max(0, len(all)-lines):], "\n")
}

// environment is ours without what would change how PostgreSQL behaves.
func environment() []string {
	env := slices.DeleteFunc(os.Environ(), func(v string) bool {
		return strings.HasPrefix(v, "PG") || strings.HasPrefix(v, "LC_") ||
			strings.HasPrefix(v, "LANG") || strings.HasPrefix(v, "TZ=")
	})
	return append(env, "LC_ALL=C", "TZ=UTC")
}

func freePort() (int, error) {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return 0, fmt.Errorf("looking for a free port: %w", err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port, nil
}
