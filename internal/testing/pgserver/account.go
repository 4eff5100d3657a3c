//go:build unix

package pgserver

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// serverAccount returns who is to run PostgreSQL: ourselves (nil), or another
// account if we are root, as which it refuses to run.
func serverAccount() (*syscall.Credential, error) {
	if os.Geteuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("the id of user %s: %w", name, err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("the group of user %s: %w", name, err)
		}
		return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
	}
	return nil, errors.New("PostgreSQL does not run as root, and there is neither a user postgres nor nobody: " +
		"run as an ordinary user or set " + EnvDSN)
}

// baseFor returns the directory in which to make that of a cluster which
// account runs.
func baseFor(account *syscall.Credential) string {
	if base := os.TempDir(); suits(base, account) {
		return base
	}
	return "/tmp"
}

// suits reports whether a cluster can live in base: the path of a Unix socket
// in it has to fit into about 100 bytes, and account must get there.
func suits(base string, account *syscall.Credential) bool {
	const room = 100 - len("/pg-123456789012/.s.PGSQL.65535")
	if !filepath.IsAbs(base) || len(base) > room {
		return false
	}
	if account == nil {
		return true
	}
	for dir := base; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode().Perm()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}
