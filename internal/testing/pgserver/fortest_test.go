//go:build unix

package pgserver

import (
	"bytes"
	"database/sql"
	"os"
	"strings"
	"testing"

	_ "github.com/jackc/pgx/v5/stdlib"
	_ "github.com/lib/pq"
)

// databases are the test databases that the server has.
func databases(t *testing.T, s *Server) int {
	t.Helper()
	conn := connect(t, s.DSN())
	defer conn.Close(t.Context())
	var n int
	if err := conn.QueryRow(t.Context(), `SELECT count(*) FROM pg_database WHERE datname LIKE 'test\_%'`).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// open connects to dsn and leaves the connection open in the pool.
func open(t *testing.T, driver, dsn string) *sql.DB {
	t.Helper()
	db, err := sql.Open(driver, dsn)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.PingContext(t.Context()); err != nil {
		t.Fatalf("%s: %v", driver, err)
	}
	return db
}

func TestCreateDatabase(t *testing.T) {
	isolated(t)
	s := own(t, testConfig)
	_, port, _ := strings.Cut(strings.TrimSuffix(s.DSN(), "/postgres?sslmode=disable"), "127.0.0.1:")
	for _, form := range []struct{ name, dsn string }{
		{"a URL", s.DSN()},
		{"key=value", "host=127.0.0.1 port=" + port + " user=postgres dbname=postgres sslmode=disable"},
	} {
		for _, driver := range []string{"pgx", "postgres"} {
			t.Run("gives each test its own, by "+form.name+" and "+driver, func(t *testing.T) {
				s := &Server{dsn: form.dsn}
				first, second := open(t, driver, s.CreateDatabase(t)), open(t, driver, s.CreateDatabase(t))
				defer first.Close()
				defer second.Close()
				if _, err := first.ExecContext(t.Context(), "CREATE TABLE here (id int)"); err != nil {
					t.Fatal(err)
				}
				if _, err := second.ExecContext(t.Context(), "SELECT * FROM here"); err == nil {
					t.Error("the second database is the first")
				}
				if n := databases(t, s); n != 2 {
					t.Errorf("there are %d databases", n)
				}
			})
		}
	}
	t.Run("drops them with the tests", func(t *testing.T) {
		if n := databases(t, s); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
	t.Run("drops one that is in use", func(t *testing.T) {
		var db *sql.DB
		t.Run("by a connection left open", func(t *testing.T) { db = open(t, "pgx", s.CreateDatabase(t)) })
		defer db.Close()
		if n := databases(t, s); n != 0 {
			t.Errorf("%d are left", n)
		}
	})
}

func TestTheServerOfPOOLGATE_DSN(t *testing.T) {
	isolated(t)
	ours := own(t, testConfig)
	t.Setenv(EnvDSN, ours.DSN())
	s, err := Start(t.Context(), Config{})
	if err != nil {
		t.Fatal(err)
	}
	t.Run("is used as it is", func(t *testing.T) {
		if !s.External() || s.DSN() != ours.DSN() || s.BinDir() != "" {
			t.Errorf("External %v, DSN %q, BinDir %q", s.External(), s.DSN(), s.BinDir())
		}
		open(t, "pgx", s.CreateDatabase(t)).Close()
	})
	t.Run("is left running by Close", func(t *testing.T) {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
		if err := ping(t.Context(), ours.DSN(), ours.cluster.dataDir()); err != nil {
			t.Error(err)
		}
	})
}

// TestInAChild is what the copies of the test binary run in TestForTest.
func TestInAChild(t *testing.T) {
	if os.Getenv(envRole) == "" {
		t.Skip("runs as a part of TestForTest")
	}
	s := ForTest(t)
	if again := ForTest(t); again != s {
		t.Error("the second call gave another server")
	}
	conn := connect(t, s.CreateDatabase(t))
	defer conn.Close(t.Context())
	for name, want := range testConfig.Settings {
		var got string
		if err := conn.QueryRow(t.Context(), "SELECT current_setting($1)", name).Scan(&got); err != nil || got != want {
			t.Errorf("%s is %s, want %s; %v", name, got, want, err)
		}
	}
	if os.Getenv("KILL") != "" {
		t.Cleanup(func() {
			s.cluster.postgres.cmd.Process.Kill()
			<-s.cluster.postgres.done
		})
	}
}

func TestForTest(t *testing.T) {
	broken := tempDir(t)
	plant(t, broken, "postgres", "")
	plant(t, broken, "initdb", "echo no luck today; exit 3")
	const nothing = "tests where nothing is installed"
	const line = "pgserver: no PostgreSQL found: install one (apt-get install postgresql"
	nowhere := []string{"PATH=/nonexistent", "HOME=", "XDG_CACHE_HOME="}
	for _, tc := range []struct {
		name, role string
		env        []string
		needs      bool // a PostgreSQL
		fails      bool
		want       []string
	}{
		{"gives all tests one server, and Main stops it", "tests", nil, true, false,
			[]string{"--- PASS: TestInAChild"}},
		{"fails in Main if the server died", "tests", []string{"KILL=1"}, true, true,
			[]string{"pgserver: postgres ended before it was closed: signal: killed"}},
		{"skips where there is no PostgreSQL", nothing, append(nowhere, EnvRequire+"="), false, false,
			[]string{"--- SKIP: TestInAChild", line}},
		{"fails instead where one is required", nothing, append(nowhere, EnvRequire+"=1"), false, true,
			[]string{"--- FAIL: TestInAChild", line}},
		{"fails where an installed one does not start", nothing, []string{"PATH=" + broken}, false, true,
			[]string{"--- FAIL: TestInAChild", "initdb failed", "no luck today"}},
		{"fails where POOLGATE_DSN leads nowhere", nothing, []string{EnvDSN + "=postgres://127.0.0.1:1/"}, false, true,
			[]string{"--- FAIL: TestInAChild", EnvDSN}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.needs {
				needsPostgres(t)
			}
			temp := isolated(t)
			cmd := child(t, tc.role, temp, false)
			cmd.Args = append(cmd.Args, "-test.run=^TestInAChild$", "-test.v")
			cmd.Env = append(cmd.Env, tc.env...)
			cmd.Stderr = nil
			out, err := cmd.CombinedOutput()
			if files, _ := os.ReadDir(temp); len(files) > 0 {
				t.Errorf("left behind: %v", files)
			}
			if failed := err != nil; failed != tc.fails {
				t.Errorf("it ended with %v", err)
			}
			for _, want := range tc.want {
				if !bytes.Contains(out, []byte(want)) {
					t.Errorf("no %q in the output", want)
				}
			}
			if t.Failed() {
				t.Logf("%s", out)
			}
		})
	}
}
