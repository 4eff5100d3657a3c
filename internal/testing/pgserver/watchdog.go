//go:build unix

package pgserver

import (
	"crypto/rand"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

//go:embed watchdog.sh
var watchdogScript string

// A watchdog is a process that clears a directory away, with the server that
// may still run in it, when we close it or die, in whatever way that happens.
type watchdog struct {
	cmd  *exec.Cmd
	dir  string
	pipe *os.File // the end that the system closes when we die
}

// makeDir makes a directory in base that belongs to account, or to us if that
// is nil, and is watched from before it exists.
func makeDir(base string, account *syscall.Credential) (*watchdog, error) {
	w, err := watch(filepath.Join(base, "pg-"+strings.ToLower(rand.Text()[:12])))
	if err != nil {
		return nil, err
	}
	err = os.Mkdir(w.dir, 0o700)
	if err == nil && account != nil {
		err = os.Chown(w.dir, int(account.Uid), int(account.Gid))
	}
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	return w, nil
}

// watch starts the watchdog of dir.
func watch(dir string) (*watchdog, error) {
	theirs, ours, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("watchdog: %w", err)
	}
	defer theirs.Close()
	cmd := exec.Command("/bin/sh", "-c", watchdogScript, "pgserver-watchdog", dir)
	cmd.Dir = "/"
	cmd.Stdin = theirs
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("watchdog: %w", err), ours.Close())
	}
	return &watchdog{cmd: cmd, dir: dir, pipe: ours}, nil
}

// close sets the watchdog off and returns when it is done.
func (w *watchdog) close() error {
	w.pipe.Close()
	w.cmd.Wait() // how it ended does not matter: the directory tells
	if err := os.RemoveAll(w.dir); err != nil {
		return fmt.Errorf("removing the server's directory: %w", err)
	}
	return nil
}
