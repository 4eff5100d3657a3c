package pgserver

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/poolgate/poolgate/internal/connstring"
)

// EnvRequire names the environment variable that, set to 1, makes tests fail
// that would be skipped for want of a PostgreSQL.
const EnvRequire = "POOLGATE_REQUIRE_PG"

// testConfig is PostgreSQL without durability, which tests can do without: it
// makes what they write several times faster.
var testConfig = Config{
	MaxConnections: 300,
	Settings: map[string]string{
		"fsync":              "off",
		"full_page_writes":   "off",
		"synchronous_commit": "off",
	},
}

// shared is the server of this test binary.
var shared struct {
	sync.Mutex // guards what follows

	tried  bool
	server *Server
	err    error
}

// ForTest returns the server that all tests of this test binary share, which
// the first call starts: 300 connections, and no durability. Each test should
// work in a database of its own, see [Server.CreateDatabase].
//
// Where there is no PostgreSQL the test is skipped, or fails if the environment
// says POOLGATE_REQUIRE_PG=1. It fails too if there is one that does not start.
//
// The server keeps one goroutine while it runs, so a test that looks for leaked
// goroutines should call ForTest before it takes goleak.IgnoreCurrent. [Main]
// stops the server; without Main it stops when the test binary has ended.
func ForTest(t testing.TB) *Server {
	t.Helper()
	server, err := startShared()
	switch {
	case err == nil:
		return server
	case errors.Is(err, ErrUnavailable) && os.Getenv(EnvRequire) != "1":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
	return nil
}

// OwnForTest starts a server for t alone, which may stop it. It has 100
// connections, commits survive [Server.Close] and reach a standby, and it stops
// when t ends. It is never that of POOLGATE_DSN. Without PostgreSQL it does as
// [ForTest] does.
func OwnForTest(t testing.TB) *Server {
	t.Helper()
	config := Config{Settings: map[string]string{"fsync": "off", "full_page_writes": "off"}}
	server, err := startOwn(t.Context(), config)
	return started(t, server, err)
}

// StandbyForTest starts a standby of the server, which stops when t ends. A server
// without the program pg_basebackup is no PostgreSQL, see [ForTest].
func (s *Server) StandbyForTest(t testing.TB) *Server {
	t.Helper()
	standby, err := s.StartStandby(t.Context())
	return started(t, standby, err)
}

func started(t testing.TB, server *Server, err error) *Server {
	t.Helper()
	switch {
	case err == nil:
	case errors.Is(err, ErrUnavailable) && os.Getenv(EnvRequire) != "1":
		t.Skip(err)
	default:
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := server.Close(); err != nil {
			t.Error(err)
		}
	})
	return server
}

// Main is for TestMain: it runs the tests, stops the server of [ForTest], if
// there is one, and exits. A server that cannot be stopped, or that had ended
// while the tests ran, fails them.
func Main(m *testing.M) {
	code := m.Run()
	if err := closeShared(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = max(code, 1)
	}
	os.Exit(code)
}

// EnvExamples names the environment variable in which [MainWithExamples] passes
// the DSN of the server.
const EnvExamples = "DATABASE_URL"

// MainWithExamples is [Main] for a package whose examples need a server. It starts
// the server first, and sets the environment variable DATABASE_URL to its DSN.
// Where there is no PostgreSQL it leaves the examples out.
func MainWithExamples(m *testing.M) {
	flag.Parse()
	server, err := startShared()
	switch {
	case err == nil:
		os.Setenv(EnvExamples, server.DSN())
	case errors.Is(err, ErrUnavailable) && os.Getenv(EnvRequire) != "1":
		if skip := flag.Lookup("test.skip"); skip.Value.String() == "" {
			skip.Value.Set("^Example")
		}
	default:
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	Main(m)
}

func startShared() (*Server, error) {
	shared.Lock()
	defer shared.Unlock()
	if !shared.tried {
		shared.tried = true
		shared.server, shared.err = Start(context.Background(), testConfig)
	}
	return shared.server, shared.err
}

func closeShared() error {
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		return nil
	}
	return shared.server.Close()
}

// CreateDatabase creates an empty database for the test and returns its DSN.
// The test's cleanup drops it, with the connections that are still open. It
// needs PostgreSQL 13 or later and, on an [Server.External] server, a user who
// may create databases.
func (s *Server) CreateDatabase(t testing.TB) string {
	t.Helper()
	name := "test_" + strings.ToLower(rand.Text())
	dsn, err := connstring.WithDatabase(s.dsn, name)
	if err != nil {
		t.Fatalf("pgserver: %s: %v", EnvDSN, err)
	}
	// template0 takes no connections, so nobody can be in the way.
	if err := execute(s.dsn, "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		t.Fatalf("pgserver: %v", err)
	}
	t.Cleanup(func() {
		if err := execute(s.dsn, "DROP DATABASE IF EXISTS "+name+" WITH (FORCE)"); err != nil {
			t.Errorf("pgserver: %v", err)
		}
	})
	return dsn
}

// execute runs one statement on a connection of its own.
func execute(dsn, statement string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement); err != nil {
		return fmt.Errorf("%s: %w", statement, err)
	}
	return nil
}
