// Package jaeger runs a real Jaeger where there is no Docker: built from its Go
// module, once, and kept in the user's cache directory.
//
// The module has not got the assets of Jaeger's web page, so that this Jaeger
// has only a placeholder there. Its API answers as ever, see [Server.Trace].
package jaeger

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// Version is the Jaeger that is built.
const Version = "v1.76.0"

const module = "github.com/jaegertracing/jaeger"

// Built returns the path of the program, or "" if [Build] has not built it yet.
func Built() string {
	path, err := cached()
	if err != nil {
		return ""
	}
	if _, err := os.Stat(path); err != nil {
		return ""
	}
	return path
}

// Build returns the path of the program, and builds it if it has not been built
// yet: that takes about ten minutes on two cores, a gigabyte of the module cache
// and 85 MB of the user's cache directory. What the go command says goes to log.
//
// The end of ctx ends it. It needs the go command, and a network the first time.
func Build(ctx context.Context, log io.Writer) (string, error) {
	if path := Built(); path != "" {
		return path, nil
	}
	path, err := build(ctx, log)
	if err != nil {
		return "", fmt.Errorf("jaeger: building %s: %w", Version, err)
	}
	return path, nil
}

func cached() (string, error) {
	dir, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(dir, "poolgate", "jaeger-"+Version), nil
}

func build(ctx context.Context, log io.Writer) (string, error) {
	path, err := cached()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	// Neither go install nor a dependency of ours will do: Jaeger's go.mod
	// replaces modules. In its own directory, in the module cache, it is the
	// main module, and all that it says holds.
	var answer bytes.Buffer
	download := exec.CommandContext(ctx, "go", "mod", "download", "-json", module+"@"+Version)
	download.Dir, download.Stdout, download.Stderr = filepath.Dir(path), &answer, log
	failed := download.Run()
	var info struct{ Dir, Error string }
	if err := json.Unmarshal(answer.Bytes(), &info); err != nil {
		return "", errors.Join(failed, err)
	}
	if info.Error != "" {
		return "", errors.New(info.Error)
	}
	fresh := fmt.Sprintf("%s.%d", path, os.Getpid())
	defer os.Remove(fresh)
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", fresh, "./cmd/jaeger")
	build.Dir, build.Stdout, build.Stderr = info.Dir, log, log
	build.Env = append(os.Environ(), "GOFLAGS=", "GOWORK=off")
	if err := build.Run(); err != nil {
		return "", err
	}
	return path, os.Rename(fresh, path) // which another build may have done at the same time
}
