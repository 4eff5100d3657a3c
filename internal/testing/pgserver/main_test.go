//go:build unix

package pgserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// envRole makes a copy of the test binary play a part of a test in a process
// of its own, where it can be killed or be another user.
const envRole = "PGSERVER_TEST_ROLE"

var roles = map[string]func() error{
	// serve starts a server, says so and waits to be killed.
	"serve": func() error {
		s, err := Start(context.Background(), Config{})
		if err != nil {
			return err
		}
		fmt.Println(s.cluster.dir)
		select {}
	},
	// exit starts a server and ends without closing it.
	"exit": func() error {
		s, err := Start(context.Background(), Config{})
		if err != nil {
			return err
		}
		return ping(context.Background(), s.DSN(), s.cluster.dataDir())
	},
	// once starts a server, uses it and closes it.
	"once": func() error {
		s, err := Start(context.Background(), Config{MaxConnections: 2000})
		if err != nil {
			return err
		}
		err = ping(context.Background(), s.DSN(), s.cluster.dataDir())
		fmt.Println("uid", os.Getuid())
		return errors.Join(err, s.Close())
	},
	// fetch fetches from the repository that the environment names.
	"fetch": func() error {
		run := func(args ...string) *exec.Cmd {
			return exec.Command(os.Getenv("FETCHER"), append(args, "-repository", os.Getenv("REPOSITORY"))...)
		}
		binDir, err := fetch(context.Background(), run, os.Getenv("CACHE"))
		fmt.Println(binDir)
		return err
	},
	// fetched starts a server from what was fetched before.
	"fetched": func() error {
		run := func(...string) *exec.Cmd { return exec.Command("false") }
		binDir, err := fetch(context.Background(), run, os.Getenv("CACHE"))
		if err != nil {
			return err
		}
		c, err := startCluster(context.Background(), binDir, Config{})
		if err != nil {
			return err
		}
		return c.close()
	},
}

func TestMain(m *testing.M) {
	role := os.Getenv(envRole)
	if role == "tests where nothing is installed" {
		usualPlaces = nil
	}
	play, ok := roles[role]
	if !ok {
		Main(m)
	}
	if err := play(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// child returns a command that runs the test binary in a role, with temp as
// its temporary directory, and as the user nobody if asked to and we are root.
func child(t *testing.T, role, temp string, asNobody bool) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program)
	if asNobody && os.Geteuid() == 0 {
		nobody, err := user.Lookup("nobody")
		if err != nil {
			t.Skip(err)
		}
		uid, _ := strconv.Atoi(nobody.Uid)
		gid, _ := strconv.Atoi(nobody.Gid)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		// The original lies where nobody else may look.
		cmd.Path = copyProgram(t, program)
	}
	cmd.Dir = temp
	cmd.Env = append(os.Environ(), envRole+"="+role, "TMPDIR="+temp, EnvDSN+"=",
		"GORACE=atexit_sleep_ms=0") // or the race detector keeps it for a second
	cmd.Stderr = new(bytes.Buffer)
	return cmd
}

func copyProgram(t *testing.T, program string) string {
	t.Helper()
	from, err := os.Open(program)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	name := filepath.Join(tempDir(t), "test")
	to, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	_, err = io.Copy(to, from)
	if err := errors.Join(err, to.Close()); err != nil {
		t.Fatal(err)
	}
	return name
}

// tempDir returns a directory with a short name that every user may write to.
// t.TempDir has long names and is for us alone.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "pgt")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// isolated makes a test's servers live in a directory of its own, which it
// returns, and checks at the end of the test that nothing of them is left.
func isolated(t *testing.T) string {
	t.Helper()
	dir := tempDir(t)
	t.Setenv("TMPDIR", dir)
	before := goleak.IgnoreCurrent()
	t.Cleanup(func() {
		nothingLeft(t, dir)
		goleak.VerifyNone(t, before)
	})
	return dir
}

// nothingLeft checks that dir is empty and no process works in it, or will be
// so within moments: who was killed cannot wait for its watchdog.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	var files []os.DirEntry
	var running string
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var err error
		if files, err = os.ReadDir(dir); err != nil {
			t.Error(err)
			return
		}
		if running = processesIn(t, dir); len(files) == 0 && running == "" {
			return
		}
	}
	t.Errorf("left behind: files %v, processes:\n%s", files, running)
}

// processesIn lists the processes that have dir on their command line or, as
// the backends have, as their working directory.
func processesIn(t *testing.T, dir string) string {
	t.Helper()
	out, err := exec.Command("ps", "-A", "-ww", "-o", "pid=,stat=,args=").Output()
	if err != nil {
		t.Skipf("ps: %v", err)
	}
	var found []string
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		cwd, _ := os.Readlink("/proc/" + fields[0] + "/cwd")
		if strings.Contains(line, dir+"/") || strings.HasPrefix(cwd, dir+"/") {
			found = append(found, line)
		}
	}
	return strings.Join(found, "")
}

// needsPostgres clears POOLGATE_DSN for the test and skips it if no server of
// our own can be started.
func needsPostgres(t *testing.T) {
	t.Helper()
	given := os.Getenv(EnvDSN)
	t.Setenv(EnvDSN, "")
	_, err := locate(t.Context())
	switch {
	case err == nil:
	case errors.Is(err, ErrUnavailable) && (given != "" || os.Getenv(EnvRequire) != "1"):
		t.Skip(err)
	default:
		t.Fatal(err)
	}
}

// own starts a server of our own, which the end of the test closes.
func own(t *testing.T, cfg Config) *Server {
	t.Helper()
	needsPostgres(t)
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}
