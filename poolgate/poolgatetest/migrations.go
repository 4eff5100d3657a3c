package poolgatetest

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"os"
	"path"
	"regexp"
	"strings"
	"sync"

	"github.com/poolgate/poolgate/poolgate"
)

// id identifies what c's migrations make, for user: the first 16 hexadecimal
// digits of a hash.
func (c Config) id(user string) (string, error) {
	sum := sha256.New()
	// A role can clone only what it owns, so each has its own templates.
	fmt.Fprintf(sum, "%q %t\n", user, c.Migrate != nil)
	switch {
	case c.Migrations != nil:
		if err := hashFiles(sum, c.Migrations); err != nil {
			return "", fmt.Errorf("Config.Migrations: %w", err)
		}
	case c.Migrate != nil:
		executable, err := hashExecutable()
		if err != nil {
			return "", fmt.Errorf("reading the test binary: %w", err)
		}
		sum.Write(executable)
	}
	return hex.EncodeToString(sum.Sum(nil))[:idLength], nil
}

func hashFiles(sum hash.Hash, files fs.FS) error {
	return fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%q %d\n", name, len(content))
		sum.Write(content)
		return nil
	})
}

// hashExecutable returns a hash of the running program.
var hashExecutable = sync.OnceValues(func() ([]byte, error) {
	name, err := os.Executable()
	if err != nil {
		return nil, err
	}
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, file); err != nil {
		return nil, err
	}
	return sum.Sum(nil), nil
})

// migrate creates the schema in the empty database that db is on.
func (c Config) migrate(ctx context.Context, db *poolgate.DB) error {
	switch {
	case c.Migrate != nil:
		if err := c.Migrate(ctx, db); err != nil {
			return fmt.Errorf("Config.Migrate: %w", err)
		}
	case c.Migrations != nil:
		if err := executeFiles(ctx, db, c.Migrations); err != nil {
			return fmt.Errorf("Config.Migrations: %w", err)
		}
	}
	return nil
}

// toolMark matches the comments that tell a migration tool which part of a file
// undoes the rest. Executed as plain SQL, such a file undoes itself.
var toolMark = regexp.MustCompile(`(?mi)^\s*--\s*(\+goose|\+migrate|migrate:)\s*(up|down)\b`)

func executeFiles(ctx context.Context, db *poolgate.DB, files fs.FS) error {
	n := 0
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || path.Ext(name) != ".sql" {
			return err
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		if strings.HasSuffix(name, ".down.sql") || toolMark.Match(content) {
			return fmt.Errorf("%s is for a migration tool; call the tool in Config.Migrate", name)
		}
		if _, err := db.ExecContext(ctx, string(content)); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		n++
		return nil
	})
	if err == nil && n == 0 {
		err = fmt.Errorf("there is no .sql file in it, and Config.Migrate is nil")
	}
	return err
}
