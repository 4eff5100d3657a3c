package outdir

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestCheck(t *testing.T) {
	folder := t.TempDir()
	for _, good := range []string{folder, filepath.Join(folder, "new", "folder")} {
		if err := Check(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("left in the folder: %v, %v", left, err)
	}
	file := filepath.Join(folder, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{file, filepath.Join(file, "below")} {
		if err := Check(bad); err == nil || !strings.Contains(err.Error(), "--out") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}
