//go:build unix

package pgserver

import (
	"cmp"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// usualPlaces are where packages put PostgreSQL's programs without putting
// them on PATH. The asterisk stands for the version.
var usualPlaces = []string{
	"/usr/lib/postgresql/*/bin",         // Debian, Ubuntu
	"/usr/pgsql-*/bin",                  // PostgreSQL's own RPMs
	"/opt/homebrew/opt/postgresql*/bin", // Homebrew, Apple silicon
	"/usr/local/opt/postgresql*/bin",    // Homebrew, Intel
	"/Library/PostgreSQL/*/bin",         // EDB's installer
	"/Applications/Postgres.app/Contents/Versions/*/bin",
}

// locate returns the directory that holds initdb and postgres.
func locate(ctx context.Context) (string, error) {
	if dir, ok := installed(usualPlaces); ok {
		return dir, nil
	}
	return fetched(ctx)
}

// installed looks on PATH and then in places, the highest version first.
func installed(places []string) (dir string, ok bool) {
	if path, err := exec.LookPath("postgres"); err == nil {
		// PATH may hold a link to postgres where initdb is not.
		if real, err := filepath.EvalSymlinks(path); err == nil && complete(filepath.Dir(real)) {
			return filepath.Dir(real), true
		}
	}
	var found []string
	for _, place := range places {
		dirs, _ := filepath.Glob(place) // fails only for a malformed pattern
		found = append(found, dirs...)
	}
	found = slices.DeleteFunc(found, func(dir string) bool { return !complete(dir) })
	if len(found) == 0 {
		return "", false
	}
	return slices.MaxFunc(found, func(a, b string) int { return cmp.Compare(version(a), version(b)) }), true
}

// complete reports whether dir holds the programs that we need.
func complete(dir string) bool {
	for _, program := range []string{"initdb", "postgres"} {
		info, err := os.Stat(filepath.Join(dir, program))
		if err != nil || info.IsDir() || info.Mode().Perm()&0o111 == 0 {
			return false
		}
	}
	return true
}

// version reads the version out of a path such as /usr/lib/postgresql/15/bin
// or /opt/homebrew/opt/postgresql@15/bin; 0 if there is none in it.
func version(dir string) float64 {
	name := filepath.Base(filepath.Dir(dir))
	digits := strings.TrimLeftFunc(name, func(r rune) bool { return r < '0' || r > '9' })
	v, _ := strconv.ParseFloat(digits, 64)
	return v
}
