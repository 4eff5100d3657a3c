package main

import (
	"path/filepath"
	"strings"
	"testing"
)

func TestOutput(t *testing.T) {
	var out strings.Builder
	if err := run(t.Context(), filepath.Join(t.TempDir(), "test.db"), &out); err != nil {
		t.Fatal(err)
	}
	const want = "while one writes, others read 0\nafter 50 deposits of 1 the balance is 50\n"
	if got := out.String(); got != want {
		t.Errorf("got:\n%swant:\n%s", got, want)
	}
}
