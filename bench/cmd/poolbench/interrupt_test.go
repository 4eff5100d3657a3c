//go:build unix

package main

import (
	"bufio"
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

// TestInterrupt runs the command as a user does, with a server of its own, and
// interrupts it.
func TestInterrupt(t *testing.T) {
	pgserver.ForTest(t) // skips where there is no PostgreSQL
	if os.Getenv(pgserver.EnvDSN) != "" {
		t.Skip("the server of " + pgserver.EnvDSN + " would be used")
	}
	binary := filepath.Join(t.TempDir(), "poolbench")
	if text, err := exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String()+" in a later run", func(t *testing.T) {
			out := t.TempDir()
			stdout, _ := interrupt(t, binary, sig, "1/", "--strategies", "semaphore,chunked", "--ops", "1500", "--form", "both", "--out", out)
			report := readReport(t, out)
			if n := len(report.Runs); n < 1 || n > 3 || !report.Interrupted {
				t.Errorf("%d runs, interrupted %v", n, report.Interrupted)
			}
			if !strings.Contains(stdout, "semaphore") {
				t.Errorf("the run that has ended is not in\n%s", stdout)
			}
			named := 0
			for line := range strings.Lines(stdout) {
				if name := strings.TrimSpace(line); strings.HasPrefix(name, out) {
					named++
					if _, err := os.Stat(name); err != nil {
						t.Error(err)
					}
				}
			}
			if named != 6 {
				t.Errorf("%d files are named in\n%s", named, stdout)
			}
		})
	}
	t.Run("in the first run", func(t *testing.T) {
		out := t.TempDir()
		stdout, stderr := interrupt(t, binary, syscall.SIGINT, "PostgreSQL ", "--strategies", "sequential", "--full", "--out", out)
		if stdout != "" || !strings.Contains(stderr, "no run has ended") {
			t.Errorf("printed %q, and %q", stdout, stderr)
		}
		if left, err := os.ReadDir(out); err != nil || len(left) > 0 {
			t.Errorf("written: %v, %v", left, err)
		}
	})
}

// interrupt runs the command on pgx and sends it a signal when it has printed a
// line with this beginning. It checks what must hold after any interruption.
func interrupt(t *testing.T, binary string, sig syscall.Signal, line string, args ...string) (stdout, stderr string) {
	t.Helper()
	// Short, for the socket's sake, and open to the server's user.
	temp, err := os.MkdirTemp("", "pb")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(temp)
	if err := os.Chmod(temp, 0o777); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(binary, append(args, "--drivers", "pgx")...)
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	pipe, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	var printed bytes.Buffer
	cmd.Stdout = &printed
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	killer := time.AfterFunc(5*time.Minute, func() { cmd.Process.Kill() })
	defer killer.Stop()
	var all []string
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		all = append(all, lines.Text())
		if strings.HasPrefix(lines.Text(), line) {
			break
		}
	}
	postmaster := readPostmaster(t, temp)
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	for lines.Scan() {
		all = append(all, lines.Text())
	}
	err = cmd.Wait()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitInterrupted {
		t.Errorf("it ends with %v", err)
	}
	if last := all[len(all)-1]; last != "poolbench: interrupted" {
		t.Errorf("its last line is %q", last)
	}
	if err := syscall.Kill(postmaster, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("the server is still there: %v", err)
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left in the temporary folder: %v, %v", left, err)
	}
	return printed.String(), strings.Join(all, "\n")
}

// readPostmaster returns the process ID of the server that lives in temp.
func readPostmaster(t *testing.T, temp string) int {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(temp, "*", "data", "postmaster.pid"))
	if err != nil || len(files) != 1 {
		t.Fatalf("servers in %s: %v, %v", temp, files, err)
	}
	text, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.SplitN(string(text), "\n", 2)[0])
	if err != nil {
		t.Fatal(err)
	}
	return pid
}
