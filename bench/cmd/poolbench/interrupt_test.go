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
// interrupts it in its second run.
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
		t.Run(sig.String(), func(t *testing.T) {
			// Short, for the socket's sake, and open to the server's user.
			temp, err := os.MkdirTemp("", "pb")
			if err != nil {
				t.Fatal(err)
			}
			defer os.RemoveAll(temp)
			if err := os.Chmod(temp, 0o777); err != nil {
				t.Fatal(err)
			}
			out := t.TempDir()
			cmd := exec.Command(binary, "--drivers", "pgx", "--strategies", "semaphore,chunked", "--ops", "1500", "--form", "both", "--out", out)
			cmd.Env = append(os.Environ(), "TMPDIR="+temp)
			stderr, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			var stdout bytes.Buffer
			cmd.Stdout = &stdout
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			killer := time.AfterFunc(time.Minute, func() { cmd.Process.Kill() })
			defer killer.Stop()
			lines := bufio.NewScanner(stderr)
			for lines.Scan() && !strings.HasPrefix(lines.Text(), "1/") {
			}
			postmaster := readPostmaster(t, temp)
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			last := ""
			for lines.Scan() {
				last = lines.Text()
			}
			err = cmd.Wait()
			if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != exitInterrupted {
				t.Errorf("it ends with %v", err)
			}
			if last != "poolbench: interrupted" {
				t.Errorf("its last word is %q", last)
			}
			report := readReport(t, out)
			if n := len(report.Runs); n < 1 || n > 3 || !report.Interrupted {
				t.Errorf("%d runs, interrupted %v", n, report.Interrupted)
			}
			if !strings.Contains(stdout.String(), "semaphore") {
				t.Errorf("the run that was done is not in\n%s", &stdout)
			}
			if err := syscall.Kill(postmaster, 0); !errors.Is(err, syscall.ESRCH) {
				t.Errorf("the server is still there: %v", err)
			}
			if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
				t.Errorf("left in the temporary folder: %v, %v", left, err)
			}
		})
	}
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
