//go:build unix

package databases

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
)

// envRequire names the environment variable that, set to 1, makes tests fail that
// would be skipped for want of a MariaDB.
const envRequire = "POOLGATE_REQUIRE_MARIADB"

// mariadb is the server of this test binary, which the first test that needs it
// starts.
var mariadb struct {
	sync.Once
	config *mysql.Config
	dir    string
	cmd    *exec.Cmd
	ended  chan struct{}
	err    error
}

func TestMain(m *testing.M) {
	code := m.Run()
	if mariadb.cmd != nil {
		mariadb.cmd.Process.Kill() // nothing on it is to be kept
		<-mariadb.ended
	}
	if mariadb.dir != "" {
		os.RemoveAll(mariadb.dir)
	}
	os.Exit(code)
}

// mariaDB returns the configuration of a connection to an empty database of the
// test's own.
func mariaDB(t testing.TB) *mysql.Config {
	t.Helper()
	program, err := exec.LookPath("mariadbd")
	if err != nil {
		program, err = exec.LookPath("/usr/sbin/mariadbd")
	}
	if err != nil {
		const missing = "no MariaDB found: apt-get install mariadb-server-core"
		if os.Getenv(envRequire) == "1" {
			t.Fatal(missing)
		}
		t.Skip(missing)
	}
	mariadb.Do(func() { mariadb.err = startMariaDB(program) })
	if mariadb.err != nil {
		t.Fatal(mariadb.err)
	}
	db, err := sql.Open("mysql", mariadb.config.FormatDSN())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	databases++
	name := fmt.Sprint("test_", databases)
	if _, err := db.Exec("CREATE DATABASE " + name); err != nil {
		t.Fatal(err)
	}
	config := mariadb.config.Clone()
	config.DBName = name
	return config
}

var databases int // which have been created

// startMariaDB starts a server in an empty temporary directory, without durability
// and without accounts, and returns when it accepts connections.
func startMariaDB(program string) (err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	if mariadb.dir, err = os.MkdirTemp("", "mariadb"); err != nil {
		return err
	}
	args := []string{
		"--no-defaults", "--datadir=" + mariadb.dir, "--skip-grant-tables", "--skip-log-bin", "--skip-name-resolve",
		"--character-set-server=utf8mb4", "--innodb-log-file-size=4M", "--innodb-buffer-pool-size=16M", "--innodb-flush-log-at-trx-commit=0",
		"--bind-address=127.0.0.1", "--socket=" + filepath.Join(mariadb.dir, "socket"), "--pid-file=" + filepath.Join(mariadb.dir, "pid"),
	}
	if os.Geteuid() == 0 { // as which it does not run
		nobody, err := user.Lookup("nobody")
		if err != nil {
			return err
		}
		uid, _ := strconv.Atoi(nobody.Uid)
		gid, _ := strconv.Atoi(nobody.Gid)
		if err := os.Chown(mariadb.dir, uid, gid); err != nil {
			return err
		}
		args = append(args, "--user=nobody")
	}
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return err
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	mariadb.cmd = exec.Command(program, append(args, fmt.Sprint("--port=", port))...)
	var log bytes.Buffer // to be read when it has ended
	mariadb.cmd.Stdout, mariadb.cmd.Stderr = &log, &log
	mariadb.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := mariadb.cmd.Start(); err != nil {
		mariadb.cmd = nil
		return err
	}
	mariadb.ended = make(chan struct{})
	go func() {
		mariadb.cmd.Wait()
		close(mariadb.ended)
	}()
	mariadb.config = mysql.NewConfig()
	mariadb.config.User, mariadb.config.Net, mariadb.config.Addr = "root", "tcp", fmt.Sprint("127.0.0.1:", port)
	mariadb.config.ParseTime = true
	db, err := sql.Open("mysql", mariadb.config.FormatDSN())
	if err != nil {
		return err
	}
	defer db.Close()
	for {
		notReady := db.PingContext(ctx)
		if notReady == nil {
			return nil
		}
		select {
		case <-mariadb.ended:
			return fmt.Errorf("mariadbd ended while it was starting:\n%s", log.Bytes())
		case <-ctx.Done():
			return fmt.Errorf("mariadbd was not ready in time: %w", notReady)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
