//go:build unix

package pgserver

import (
	"bufio"
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// pidfile returns the lines of a running server's postmaster.pid.
func pidfile(t *testing.T, dir string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "data", "postmaster.pid"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(string(text), "\n")
}

// segment returns the id of the server's System V segment, after making sure
// that we would see it if it were left, and that there is no other shared
// memory to be left. ok is false where it cannot be seen.
func segment(t *testing.T, dir string) (id string, ok bool) {
	t.Helper()
	if runtime.GOOS != "linux" {
		return "", false
	}
	lines := pidfile(t, dir)
	id = strings.Fields(lines[6])[1]
	if !segmentExists(t, id) {
		t.Fatalf("segment %s is not in /proc/sysvipc/shm", id)
	}
	maps, err := os.ReadFile("/proc/" + lines[0] + "/maps")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(maps), "/dev/shm/") {
		t.Error("the server has files in /dev/shm")
	}
	return id, true
}

func segmentExists(t *testing.T, id string) bool {
	t.Helper()
	list, err := os.ReadFile("/proc/sysvipc/shm")
	if err != nil {
		t.Skip(err)
	}
	for line := range strings.Lines(string(list)) {
		if strings.Fields(line)[1] == id {
			return true
		}
	}
	return false
}

func connect(t *testing.T, dsn string) *pgx.Conn {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	return conn
}

// keepBusy makes a backend work for minutes without looking left or right.
func keepBusy(t *testing.T, dsn string) {
	t.Helper()
	conn := connect(t, dsn)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		conn.Exec(context.Background(), "SELECT count(*) FROM generate_series(1, 100000) a, generate_series(1, 100000) b")
	}()
	t.Cleanup(func() {
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			t.Error("the backend still works")
		}
		conn.Close(context.Background())
	})
	for watcher := connect(t, dsn); ; time.Sleep(5 * time.Millisecond) {
		var busy int
		err := watcher.QueryRow(t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE state = 'active' AND query LIKE '%generate_series%' AND pid <> pg_backend_pid()`).Scan(&busy)
		if err != nil {
			t.Fatal(err)
		}
		if busy > 0 {
			watcher.Close(t.Context())
			return
		}
	}
}

func TestServer(t *testing.T) {
	dir := isolated(t)
	s := own(t, Config{MaxConnections: 2000, Settings: map[string]string{"work_mem": "7MB"}})
	conn := connect(t, s.DSN())
	defer conn.Close(t.Context())
	setting := func(name string) (value string) {
		if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&value); err != nil {
			t.Fatal(err)
		}
		return value
	}

	t.Run("is ours", func(t *testing.T) {
		if s.External() || !complete(s.BinDir()) {
			t.Errorf("External %v, BinDir %q", s.External(), s.BinDir())
		}
	})
	t.Run("has the settings that were asked for", func(t *testing.T) {
		for name, want := range map[string]string{"max_connections": "2000", "work_mem": "7MB"} {
			if got := setting(name); got != want {
				t.Errorf("%s is %s, want %s", name, got, want)
			}
		}
	})
	t.Run("is as durable as PostgreSQL is shipped", func(t *testing.T) {
		for _, name := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
			if got := setting(name); got != "on" {
				t.Errorf("%s is %s", name, got)
			}
		}
	})
	t.Run("listens on loopback alone", func(t *testing.T) {
		if got := setting("listen_addresses"); got != "127.0.0.1" {
			t.Errorf("it listens on %s", got)
		}
	})
	t.Run("listens on a Unix socket in its directory", func(t *testing.T) {
		socket, err := pgx.Connect(t.Context(), "host="+s.cluster.dir+" port="+setting("port")+" user=postgres dbname=postgres")
		if err != nil {
			t.Fatal(err)
		}
		socket.Close(t.Context())
	})
	t.Run("belongs to a process group of its own", func(t *testing.T) {
		for _, pid := range []int{s.cluster.postgres.cmd.Process.Pid, s.cluster.watchdog.cmd.Process.Pid} {
			if group, err := syscall.Getpgid(pid); err != nil || group == syscall.Getpgrp() {
				t.Errorf("process %d is in group %d, %v", pid, group, err)
			}
		}
	})
	t.Run("leaves nothing when it is closed", func(t *testing.T) {
		id, visible := segment(t, s.cluster.dir)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if files, err := os.ReadDir(dir); err != nil || len(files) > 0 {
			t.Errorf("files after Close: %v, %v", files, err)
		}
		if running := processesIn(t, dir); running != "" {
			t.Errorf("processes after Close:\n%s", running)
		}
		if visible && segmentExists(t, id) {
			t.Error("the System V segment is left")
		}
	})
	t.Run("can be closed again", func(t *testing.T) {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestSeveralServersAtOnce(t *testing.T) {
	needsPostgres(t)
	isolated(t)
	var wg sync.WaitGroup
	servers := make([]*Server, 2)
	for i := range servers {
		wg.Go(func() {
			var err error
			if servers[i], err = Start(t.Context(), Config{}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, s := range servers {
		if s == nil {
			continue
		}
		if err := ping(t.Context(), s.DSN(), s.cluster.dataDir()); err != nil {
			t.Error(err)
		}
		for range 2 { // Close twice at once
			wg.Go(func() {
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
	}
	wg.Wait()
}

func TestCloseWithConnectionsOpen(t *testing.T) {
	isolated(t)
	const connections = 300
	s := own(t, Config{MaxConnections: connections + 10})
	keepBusy(t, s.DSN())
	conns := make([]*pgx.Conn, connections)
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := worker; i < len(conns); i += 8 {
				var err error
				if conns[i], err = pgx.Connect(t.Context(), s.DSN()); err != nil {
					t.Errorf("connection %d: %v", i, err)
					return
				}
			}
		})
	}
	wg.Wait()
	start := time.Now()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	t.Logf("closed %d connections in %v", connections, time.Since(start))
	for _, conn := range conns {
		if conn != nil {
			conn.Close(context.Background())
		}
	}
}

func TestAFailedStart(t *testing.T) {
	needsPostgres(t)
	t.Run("carries the log of postgres", func(t *testing.T) {
		isolated(t)
		_, err := Start(t.Context(), Config{Settings: map[string]string{"shared_buffers": "many"}})
		if err == nil || !strings.Contains(err.Error(), `invalid value for parameter "shared_buffers": "many"`) {
			t.Errorf("got %v", err)
		}
		if errors.Is(err, ErrUnavailable) {
			t.Errorf("tests would be skipped for it: %v", err)
		}
	})
	t.Run("carries the log of initdb", func(t *testing.T) {
		isolated(t)
		real, ok := installed(usualPlaces)
		if !ok {
			t.Skip("needs installed binaries")
		}
		bin := filepath.Join(tempDir(t), "bin") // initdb without its postgres
		if err := os.Mkdir(bin, 0o755); err != nil {
			t.Fatal(err)
		}
		initdb, err := os.ReadFile(filepath.Join(real, "initdb"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(bin, "initdb"), initdb, 0o755); err != nil {
			t.Fatal(err)
		}
		_, err = startCluster(t.Context(), bin, Config{})
		if err == nil || !strings.Contains(err.Error(), "initdb failed") || !strings.Contains(err.Error(), `"postgres" is needed by`) {
			t.Errorf("got %v", err)
		}
	})
	t.Run("says that the port is taken", func(t *testing.T) {
		isolated(t)
		first, second := own(t, Config{}), own(t, Config{})
		second.cluster.postgres.shutdown()
		defer func() { second.cluster.postgres.shutdown() }()
		if err := second.cluster.startPostgres(t.Context(), first.cluster.port); err != errPortTaken {
			t.Errorf("with PostgreSQL on the port: %v", err)
		}
		mute, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer mute.Close()
		port := mute.Addr().(*net.TCPAddr).Port
		start := time.Now()
		if err := second.cluster.startPostgres(t.Context(), port); err != errPortTaken {
			t.Errorf("with somebody mute on the port: %v", err)
		}
		if took := time.Since(start); took >= pingTimeout {
			t.Errorf("it waited for somebody mute for %v", took)
		}
	})
}

func TestACancelledStartLeavesNothing(t *testing.T) {
	needsPostgres(t)
	for _, after := range []time.Duration{0, 50 * time.Millisecond, 300 * time.Millisecond, 600 * time.Millisecond} {
		t.Run("after "+after.String(), func(t *testing.T) {
			isolated(t)
			ctx, cancel := context.WithTimeout(t.Context(), after)
			defer cancel()
			s, err := Start(ctx, Config{})
			switch {
			case err == nil: // a fast machine
				s.Close()
			case !errors.Is(err, context.DeadlineExceeded):
				t.Errorf("got %v", err)
			}
		})
	}
}

// serve starts a child that has a server, and returns the server's directory.
func serve(t *testing.T, temp string, asNobody bool) (cmd *exec.Cmd, dir string) {
	t.Helper()
	cmd = child(t, "serve", temp, asNobody)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	dir, err = bufio.NewReader(out).ReadString('\n')
	if err != nil {
		cmd.Wait()
		t.Fatalf("%v: %s", err, cmd.Stderr)
	}
	return cmd, strings.TrimSpace(dir)
}

func TestTheEndOfTheParentEndsTheServer(t *testing.T) {
	needsPostgres(t)
	for _, asNobody := range []bool{false, true} {
		name := "as this user"
		if asNobody {
			name = "as an ordinary user"
		}
		t.Run(name+", by SIGKILL", func(t *testing.T) {
			temp := isolated(t)
			cmd, dir := serve(t, temp, asNobody)
			id, visible := segment(t, dir)
			keepBusy(t, "postgres://postgres@127.0.0.1:"+pidfile(t, dir)[3]+"/postgres?sslmode=disable")
			start := time.Now()
			cmd.Process.Kill()
			cmd.Wait()
			nothingLeft(t, temp)
			t.Logf("gone after %v", time.Since(start))
			if visible && segmentExists(t, id) {
				t.Error("the System V segment is left")
			}
		})
	}
	t.Run("by SIGKILL, and the watchdog's with it", func(t *testing.T) {
		if runtime.GOOS != "linux" {
			t.Skip("only Linux has death signals")
		}
		temp := isolated(t)
		cmd, dir := serve(t, temp, false)
		pid, err := strconv.Atoi(pidfile(t, dir)[0])
		if err != nil {
			t.Fatal(err)
		}
		watchdogs := 0
		for line := range strings.Lines(processesIn(t, temp)) {
			if strings.HasSuffix(strings.TrimSpace(line), "pgserver-watchdog "+dir) {
				watchdog, _ := strconv.Atoi(strings.Fields(line)[0])
				syscall.Kill(watchdog, syscall.SIGKILL)
				watchdogs++
			}
		}
		if watchdogs != 1 {
			t.Errorf("there are %d watchdogs", watchdogs)
		}
		cmd.Process.Kill()
		cmd.Wait()
		for deadline := time.Now().Add(10 * time.Second); processesIn(t, temp) != "" && time.Now().Before(deadline); {
			time.Sleep(20 * time.Millisecond)
		}
		if running := processesIn(t, temp); running != "" {
			syscall.Kill(pid, syscall.SIGQUIT)
			t.Errorf("left behind:\n%s", running)
		}
		os.RemoveAll(dir) // which is beyond what a signal can do
	})
	t.Run("without Close", func(t *testing.T) {
		temp := isolated(t)
		cmd := child(t, "exit", temp, false)
		if err := cmd.Run(); err != nil {
			t.Fatalf("%v: %s", err, cmd.Stderr)
		}
		nothingLeft(t, temp)
	})
	t.Run("by SIGKILL during the start", func(t *testing.T) {
		var wg sync.WaitGroup
		for _, after := range []time.Duration{30, 200, 500, 900} {
			temp := isolated(t)
			cmd := child(t, "serve", temp, false)
			wg.Go(func() {
				if err := cmd.Start(); err != nil {
					t.Error(err)
					return
				}
				time.Sleep(after * time.Millisecond)
				cmd.Process.Kill()
				cmd.Wait()
			})
		}
		wg.Wait()
	})
}

func TestAKilledServer(t *testing.T) {
	dir := isolated(t)
	s := own(t, Config{})
	id, visible := segment(t, s.cluster.dir)
	pid, err := strconv.Atoi(pidfile(t, s.cluster.dir)[0])
	if err != nil {
		t.Fatal(err)
	}
	keepBusy(t, s.DSN())
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-s.cluster.postgres.done
	t.Run("is an error of Close, each time", func(t *testing.T) {
		for range 2 {
			if err := s.Close(); err == nil || !strings.Contains(err.Error(), "signal: killed") {
				t.Errorf("got %v", err)
			}
		}
	})
	t.Run("leaves nothing after Close", func(t *testing.T) {
		nothingLeft(t, dir)
		if visible && segmentExists(t, id) {
			t.Error("the System V segment is left")
		}
	})
}

func TestALostWatchdog(t *testing.T) {
	isolated(t)
	s := own(t, Config{})
	if err := s.cluster.watchdog.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestAsAnOrdinaryUser(t *testing.T) {
	needsPostgres(t)
	temp := isolated(t)
	cmd := child(t, "once", temp, true)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %s", err, cmd.Stderr)
	}
	if strings.TrimSpace(string(out)) == "uid 0" {
		t.Error("it ran as root")
	}
}

func TestWhereServersLive(t *testing.T) {
	long := filepath.Join(tempDir(t), strings.Repeat("long", 20))
	closed := filepath.Join(tempDir(t), "closed")
	for dir, mode := range map[string]os.FileMode{long: 0o777, closed: 0o700} {
		if err := os.Mkdir(dir, mode); err != nil {
			t.Fatal(err)
		}
	}
	account := &syscall.Credential{Uid: 65534, Gid: 65534}
	for _, tc := range []struct {
		name    string
		base    string
		account *syscall.Credential
		want    bool
	}{
		{"an open directory suits everybody", "/tmp", account, true},
		{"a long path does not suit, for the socket", long, nil, false},
		{"a relative path does not suit, for the account's own directory", "tmp", nil, false},
		{"a closed directory suits ourselves", closed, nil, true},
		{"a closed directory does not suit another account", closed, account, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := suits(tc.base, tc.account); got != tc.want {
				t.Errorf("got %v", got)
			}
		})
	}
	t.Run("a server starts all the same", func(t *testing.T) {
		t.Setenv("TMPDIR", long)
		own(t, Config{}).Close()
	})
}

// A server that was restarted has its port, its settings and its data, and has lost
// its connections.
func TestRestart(t *testing.T) {
	isolated(t)
	s := own(t, Config{MaxConnections: 7})
	conn, err := pgx.Connect(t.Context(), s.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), "CREATE TABLE kept AS SELECT 1 AS n"); err != nil {
		t.Fatal(err)
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := conn.Ping(t.Context()); err == nil {
		t.Error("the connection has survived")
	}
	again, err := pgx.Connect(t.Context(), s.DSN())
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close(t.Context())
	var most string
	var n int
	if err := again.QueryRow(t.Context(), "SELECT current_setting('max_connections'), n FROM kept").Scan(&most, &n); err != nil || most != "7" || n != 1 {
		t.Errorf("max_connections is %s, the row %d (%v)", most, n, err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	if err := s.Restart(t.Context()); err == nil {
		t.Error("a server that was closed is restarted")
	}
}
