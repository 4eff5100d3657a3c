//go:build unix

package pgserver

import (
	"os"
	"path/filepath"
	"testing"
)

// plant puts a shell script into dir as program.
func plant(t *testing.T, dir, program, script string) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, program), []byte("#!/bin/sh\n"+script+"\n"), 0o755); err != nil {
		t.Fatal(err)
	}
}

func TestInstalled(t *testing.T) {
	root, err := filepath.EvalSymlinks(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{
		"debian/9.6/bin", "debian/14/bin", "debian/15/bin",
		"brew/postgresql@16/bin", "brew/postgresql/bin",
	} {
		plant(t, filepath.Join(root, dir), "initdb", "")
		plant(t, filepath.Join(root, dir), "postgres", "")
	}
	plant(t, filepath.Join(root, "debian/17/bin"), "psql", "") // the client alone
	plant(t, filepath.Join(root, "server"), "postgres", "")
	if err := os.Mkdir(filepath.Join(root, "links"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root, "debian", "14", "bin", "postgres"), filepath.Join(root, "links", "postgres")); err != nil {
		t.Fatal(err)
	}
	debian, brew := filepath.Join(root, "debian", "*", "bin"), filepath.Join(root, "brew", "postgresql*", "bin")

	for _, tc := range []struct {
		name   string
		path   string
		places []string
		want   string // under root; "" if none is found
	}{
		{"the highest version is taken", "", []string{debian}, "debian/15/bin"},
		{"of all places together", "", []string{debian, brew}, "brew/postgresql@16/bin"},
		{"PATH comes first, and links are followed", "links", []string{debian, brew}, "debian/14/bin"},
		{"a server on PATH without its initdb is passed over", "server", []string{debian}, "debian/15/bin"},
		{"nothing is found where nothing is", "", []string{filepath.Join(root, "nowhere", "*")}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Setenv("PATH", filepath.Join(root, tc.path))
			got, ok := installed(tc.places)
			want := ""
			if tc.want != "" {
				want = filepath.Join(root, tc.want)
			}
			if got != want || ok != (want != "") {
				t.Errorf("got %q, %v; want %q", got, ok, want)
			}
		})
	}
}
