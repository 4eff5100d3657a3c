//go:build unix

package pgserver

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// archive packs binaries as the repository of embedded-postgres has them: a zip
// file with one tar.xz in it. They hand over to the installed ones, since
// unpacking those themselves takes long under the race detector.
func archive(t *testing.T) []byte {
	t.Helper()
	bin, ok := installed(usualPlaces)
	if !ok {
		t.Skip("needs installed binaries")
	}
	root := tempDir(t)
	for _, program := range []string{"initdb", "pg_ctl", "postgres"} {
		plant(t, filepath.Join(root, "bin"), program, `exec "`+filepath.Join(bin, program)+`" "$@"`)
	}
	packed := filepath.Join(root, "postgres.txz")
	if out, err := exec.Command("tar", "-cJf", packed, "-C", root, "bin").CombinedOutput(); err != nil {
		t.Skipf("packing the binaries: %v: %s", err, out)
	}
	content, err := os.ReadFile(packed)
	if err != nil {
		t.Fatal(err)
	}
	var jar bytes.Buffer
	w := zip.NewWriter(&jar)
	f, err := w.CreateHeader(&zip.FileHeader{Name: "postgres.txz", Method: zip.Store})
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.Write(content)
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return jar.Bytes()
}

// fetcher builds the program that downloads, where an ordinary user can run it.
func fetcher(t *testing.T) string {
	t.Helper()
	program := filepath.Join(tempDir(t), "fetchpostgres")
	if out, err := exec.Command("go", "build", "-o", program, fetchCommand).CombinedOutput(); err != nil {
		if os.Getenv(EnvRequire) != "1" {
			t.Skipf("needs the workspace: %s", out)
		}
		t.Fatalf("%v: %s", err, out)
	}
	return program
}

// fetchFrom returns a command that fetches from repository into cache as an
// ordinary user.
func fetchFrom(t *testing.T, fetcher, repository, cache string) *exec.Cmd {
	t.Helper()
	cmd := child(t, "fetch", isolated(t), true)
	cmd.Env = append(cmd.Env, "FETCHER="+fetcher, "REPOSITORY="+repository, "CACHE="+cache)
	return cmd
}

// remaining lists the names in a cache.
func remaining(t *testing.T, cache string) []string {
	t.Helper()
	files, err := os.ReadDir(cache)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, f := range files {
		names = append(names, f.Name())
	}
	return names
}

func TestFetch(t *testing.T) {
	program, jar := fetcher(t), archive(t)
	sum := sha256.Sum256(jar)
	var fetches atomic.Int32
	repository := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.HasSuffix(r.URL.Path, ".sha256"):
			w.Write([]byte(hex.EncodeToString(sum[:])))
		case strings.Contains(r.URL.Path, FetchVersion) && strings.HasSuffix(r.URL.Path, ".jar"):
			fetches.Add(1)
			w.Write(jar)
		default:
			http.NotFound(w, r)
		}
	}))
	defer repository.Close()
	cache := tempDir(t)

	t.Run("an interrupted fetch leaves nothing", func(t *testing.T) {
		cache := tempDir(t)
		cmd := fetchFrom(t, program, repository.URL, cache)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		running := false
		for deadline := time.Now().Add(20 * time.Second); !running && time.Now().Before(deadline); {
			time.Sleep(5 * time.Millisecond)
			pidfiles, _ := filepath.Glob(filepath.Join(cache, "pg-*", "data", "postmaster.pid"))
			running = len(pidfiles) > 0
		}
		cmd.Process.Kill()
		cmd.Wait()
		if !running {
			t.Fatalf("PostgreSQL did not run: %s", cmd.Stderr)
		}
		logs, _ := filepath.Glob(filepath.Join(cmd.Dir, "embedded_postgres_log*"))
		for _, log := range logs { // the library's own, which nobody can remove for it
			os.Remove(log)
		}
		if err := os.Remove(filepath.Join(cache, "lock")); err != nil {
			t.Error(err)
		}
		nothingLeft(t, cache)
	})
	t.Run("several at once fetch once", func(t *testing.T) {
		fetches.Store(0)
		var wg sync.WaitGroup
		for range 2 {
			cmd := fetchFrom(t, program, repository.URL, cache)
			wg.Go(func() {
				out, err := cmd.Output()
				if err != nil {
					t.Errorf("%v: %s", err, cmd.Stderr)
				} else if bin := strings.TrimSpace(string(out)); !strings.HasPrefix(bin, cache) || !complete(bin) {
					t.Errorf("the binaries are in %q", bin)
				}
			})
		}
		wg.Wait()
		if n := fetches.Load(); n != 1 {
			t.Errorf("%d fetches", n)
		}
		if left := remaining(t, cache); len(left) != 2 {
			t.Errorf("the cache holds %v", left)
		}
	})
	t.Run("what is there is not fetched again", func(t *testing.T) {
		cmd := child(t, "fetched", isolated(t), true)
		cmd.Env = append(cmd.Env, "CACHE="+cache)
		if err := cmd.Run(); err != nil {
			t.Errorf("%v: %s", err, cmd.Stderr)
		}
	})
	t.Run("a version that is not there is an error", func(t *testing.T) {
		cache := tempDir(t)
		cmd := fetchFrom(t, program, repository.URL+"/elsewhere?", cache)
		if err := cmd.Run(); err == nil || !strings.Contains(cmd.Stderr.(*bytes.Buffer).String(), "no version found") {
			t.Errorf("%v: %s", err, cmd.Stderr)
		}
		if left := remaining(t, cache); len(left) != 1 {
			t.Errorf("left behind: %v", left)
		}
	})
}

// The command must be found where tests run: in the workspace.
func TestGoRun(t *testing.T) {
	fetcher(t) // skips the test outside of it
	out, err := goRun().CombinedOutput()
	if err == nil || !strings.Contains(string(out), "-dir, -unpacked and -port are required") {
		t.Errorf("%v: %s", err, out)
	}
}
