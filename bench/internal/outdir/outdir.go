// Package outdir checks the folder that a command writes its results to, before
// the command spends minutes on them.
package outdir

import (
	"fmt"
	"os"
	"path/filepath"
)

// Check returns an error unless files can be created in folder, which may be
// missing. It leaves everything as it was.
func Check(folder string) error {
	if err := check(filepath.Clean(folder)); err != nil {
		return fmt.Errorf("--out: %w", err)
	}
	return nil
}

func check(folder string) error {
	if _, err := os.Stat(folder); os.IsNotExist(err) {
		return check(filepath.Dir(folder)) // where it would be created
	}
	file, err := os.CreateTemp(folder, ".check-*")
	if err != nil {
		return err
	}
	if err := file.Close(); err != nil {
		return err
	}
	return os.Remove(file.Name())
}
