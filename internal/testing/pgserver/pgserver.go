// Package pgserver gives tests, examples and the benchmark a real PostgreSQL.
//
// [Start] takes the first of these that is to be had:
//
//  1. the server that the environment variable POOLGATE_DSN names,
//  2. an installed PostgreSQL, whose programs are looked for on PATH and then
//     where the distributions put them, highest version first,
//  3. for an ordinary user, binaries that are fetched once and kept in the
//     user's cache directory.
//
// A server of our own lives in a temporary directory and listens on loopback
// and on a Unix socket there. It is gone after [Server.Close], and also when
// this process ends in any other way, SIGKILL included: the server is stopped
// and its directory removed within moments.
//
// Servers are started on Unix systems only; elsewhere POOLGATE_DSN is needed.
package pgserver

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// EnvDSN names the environment variable that holds the connection string of a
// server to use instead of starting one.
const EnvDSN = "POOLGATE_DSN"

// ErrUnavailable says that there is no PostgreSQL to be had on this machine.
// An installed server that fails to start is another error than this.
var ErrUnavailable = errors.New("no PostgreSQL found: install one (apt-get install postgresql, " +
	"or brew install postgresql) or set " + EnvDSN)

// FetchVersion is the PostgreSQL that is downloaded where none is installed.
const FetchVersion = "18.3.0"

// pingTimeout bounds one attempt to connect. A port that answers nothing must
// not use up the time that the start as a whole has.
const pingTimeout = 5 * time.Second

// ownSettings are set by Start itself, so that Config.Settings may not.
var ownSettings = []string{
	"data_directory", "dynamic_shared_memory_type", "listen_addresses",
	"max_connections", "port", "unix_socket_directories",
}

// settingName also keeps out the spellings of postgres' -c ("max-connections",
// "port=1") that would pass ownSettings by.
var settingName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*$`)

// Config describes the server to start. The zero value is PostgreSQL as it is
// shipped: 100 connections, full durability. Nothing of it is applied to the
// server of POOLGATE_DSN.
type Config struct {
	// MaxConnections is PostgreSQL's max_connections; 0 is its default, 100.
	MaxConnections int
	// Settings are further settings by name, as in postgresql.conf. What
	// Start sets itself (port, addresses, directories) is refused here.
	Settings map[string]string
}

func (cfg Config) validate() error {
	if cfg.MaxConnections < 0 {
		return fmt.Errorf("pgserver: Config.MaxConnections is %d: it must be positive, or 0 for PostgreSQL's default",
			cfg.MaxConnections)
	}
	for name := range cfg.Settings {
		if !settingName.MatchString(name) {
			return fmt.Errorf("pgserver: Config.Settings: %q is not the name of a setting", name)
		}
		if slices.Contains(ownSettings, strings.ToLower(name)) {
			return fmt.Errorf("pgserver: Config.Settings: %s is set by Start and cannot be given", name)
		}
	}
	return nil
}

// Server is a PostgreSQL that accepts connections. Its methods are safe for
// concurrent use.
type Server struct {
	dsn     string
	cluster *cluster // nil if the server is that of POOLGATE_DSN
}

// Start returns a server that accepts connections, which takes about a second
// where PostgreSQL is installed.
//
// The end of ctx ends the start, but not a server that has been started; a
// start is given up after three minutes in any case. Fetching the binaries, once
// per user and machine, takes as long as the network makes it and cannot be
// interrupted.
//
// The error matches [ErrUnavailable] if there is no PostgreSQL to be had, and
// carries the end of the server's log if there is one that does not start.
// After an error nothing is left behind.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	if err := cfg.validate(); err != nil {
		return nil, err
	}
	if dsn := os.Getenv(EnvDSN); dsn != "" {
		if err := ping(ctx, dsn, ""); err != nil {
			return nil, fmt.Errorf("pgserver: the server that %s names cannot be used: %w", EnvDSN, err)
		}
		return &Server{dsn: dsn}, nil
	}
	return startOwn(ctx, cfg)
}

// startOwn starts a server, whatever POOLGATE_DSN says.
func startOwn(ctx context.Context, cfg Config) (*Server, error) {
	binDir, err := locate(ctx)
	if err != nil {
		return nil, fmt.Errorf("pgserver: %w", err)
	}
	c, err := startCluster(ctx, binDir, cfg)
	if err != nil {
		return nil, fmt.Errorf("pgserver: %w", err)
	}
	return &Server{dsn: c.dsn(), cluster: c}, nil
}

// DSN returns the connection string: that of POOLGATE_DSN as it was given, or
// a URL for the superuser and the database "postgres" that both drivers take.
func (s *Server) DSN() string { return s.dsn }

// External reports whether the server is that of POOLGATE_DSN, and not ours.
func (s *Server) External() bool { return s.cluster == nil }

// BinDir returns the directory of the server's own programs, where psql and
// pgbench may lie too, or "" if the server is External.
func (s *Server) BinDir() string {
	if s.External() {
		return ""
	}
	return s.cluster.binDir
}

// Restart stops the server as Close does, however many connections are open, and
// starts it again on the same port, with the same settings and data. It returns when
// the server accepts connections. An External server is not restarted: that is an
// error.
func (s *Server) Restart(ctx context.Context) error {
	if s.External() {
		return fmt.Errorf("pgserver: the server of %s is not restarted", EnvDSN)
	}
	if err := s.cluster.restart(ctx); err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	return nil
}

// Close stops the server, however many connections are open, and removes its
// directory; it returns when both are done. An External server is left alone.
// Close may be called more than once and returns the same error each time: a
// server that had ended before it was closed is one, with the end of its log.
func (s *Server) Close() error {
	if s.External() {
		return nil
	}
	if err := s.cluster.close(); err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	return nil
}

// ping connects to dsn and, unless dataDir is empty, makes sure that the
// server there is the one that runs on dataDir.
func ping(ctx context.Context, dsn, dataDir string) error {
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	if dataDir == "" {
		return conn.Ping(ctx)
	}
	var got string
	if err := conn.QueryRow(ctx, "SHOW data_directory").Scan(&got); err != nil {
		return err
	}
	if got != dataDir {
		return errors.New("another server has taken the port")
	}
	return nil
}
