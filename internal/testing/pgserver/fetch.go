//go:build unix

package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// fetchCommand is the package of the program that downloads PostgreSQL. It
// belongs to another module, so that this one does not depend on what it needs.
const fetchCommand = "github.com/poolgate/poolgate/bench/cmd/fetchpostgres"

// fetched returns the directory of the binaries in the user's cache, and
// downloads them if they are not there. It refuses root, whose server runs under
// another account that cannot read root's cache.
func fetched(ctx context.Context) (string, error) {
	if os.Geteuid() == 0 {
		return "", ErrUnavailable
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("%w (none could be fetched: %w)", ErrUnavailable, err)
	}
	dir, err := fetch(ctx, goRun, filepath.Join(cache, "poolgate"))
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case err != nil:
		return "", fmt.Errorf("%w (none could be fetched: %w)", ErrUnavailable, err)
	}
	return dir, nil
}

// goRun builds and runs fetchCommand: in a workspace that has it, the source
// there, and elsewhere the version that this program was built with.
func goRun(args ...string) *exec.Cmd {
	command := fetchCommand
	if info, ok := debug.ReadBuildInfo(); ok && strings.HasPrefix(fetchCommand, info.Main.Path+"/") &&
		semver.MatchString(info.Main.Version) {
		command += "@" + info.Main.Version
	}
	return exec.Command("go", append([]string{"run", command}, args...)...)
}

// semver matches the version of a release, and not "(devel)" or that of a
// build from a checkout.
var semver = regexp.MustCompile(`^v[0-9]+\.[0-9]+\.[0-9]+$`)

// fetch has run download the binaries into cache, unless they are there, and
// returns their directory. run takes the arguments of fetchCommand and returns
// the command. Several processes may call fetch at once: one downloads, and the
// others wait for it.
func fetch(ctx context.Context, run func(args ...string) *exec.Cmd, cache string) (binDir string, err error) {
	home := filepath.Join(cache, fmt.Sprintf("postgresql-%s-%s-%s", FetchVersion, runtime.GOOS, runtime.GOARCH))
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
	if err := download(run, w.dir, unpacked); err != nil {
		return "", err
	}
	// What an earlier, incomplete state left there would be in the way.
	if err := os.RemoveAll(home); err != nil {
		return "", err
	}
	return binDir, os.Rename(unpacked, home)
}

// download runs fetchCommand in dir. It cannot be interrupted, but ends with
// this process.
func download(run func(args ...string) *exec.Cmd, dir, unpacked string) error {
	port, err := freePort()
	if err != nil {
		return err
	}
	cmd := run("-dir", dir, "-unpacked", unpacked, "-port", strconv.Itoa(port))
	stdin, err := cmd.StdinPipe() // the program ends when it is closed
	if err != nil {
		return err
	}
	defer stdin.Close()
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out))
	}
	return nil
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
