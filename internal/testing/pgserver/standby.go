package pgserver

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// StartStandby starts a standby of the server, with the server's settings: a copy
// of its data that follows it by streaming, takes read-only transactions, and
// becomes a primary by [Server.Promote]. It takes about a second, and is stopped by
// its own Close, after which it is gone.
//
// A server that is External has none. The error matches [ErrUnavailable] if the
// program pg_basebackup is missing.
func (s *Server) StartStandby(ctx context.Context) (*Server, error) {
	if s.External() {
		return nil, fmt.Errorf("pgserver: the server of %s has no standby", EnvDSN)
	}
	c, err := s.cluster.standby(ctx)
	if err != nil {
		return nil, fmt.Errorf("pgserver: %w", err)
	}
	return &Server{dsn: c.dsn(), cluster: c}, nil
}

// Promote makes a standby a primary, and returns when it can be written to. What
// the standby has received is there, and nothing that it has not.
func (s *Server) Promote(ctx context.Context) error {
	conn, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	defer conn.Close(ctx)
	var done bool
	if err := conn.QueryRow(ctx, "SELECT pg_promote(true, 60)").Scan(&done); err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	if !done {
		return errors.New("pgserver: the standby was not promoted within a minute")
	}
	return nil
}

// Received returns when the standby has applied everything that primary has
// written by now.
func (s *Server) Received(ctx context.Context, primary *Server) error {
	from, err := pgx.Connect(ctx, primary.dsn)
	if err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	defer from.Close(ctx)
	var written string
	if err := from.QueryRow(ctx, "SELECT pg_current_wal_insert_lsn()::text").Scan(&written); err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	to, err := pgx.Connect(ctx, s.dsn)
	if err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	defer to.Close(ctx)
	const wait = `DO $$ BEGIN
	WHILE NOT pg_last_wal_replay_lsn() >= '%s' LOOP
		PERFORM pg_sleep(0.01);
	END LOOP;
END $$`
	if _, err := to.Exec(ctx, fmt.Sprintf(wait, written)); err != nil {
		return fmt.Errorf("pgserver: %w", err)
	}
	return nil
}
