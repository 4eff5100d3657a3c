package poolgate

import (
	"context"
	"database/sql/driver"
	"fmt"
	"time"
)

// A Reset says which connections are brought back to the state in which they were
// opened before the next caller gets them. That is one round trip to the server,
// which has to be PostgreSQL. A connection for which it fails is closed.
//
// It undoes SET, SET ROLE and SET SESSION AUTHORIZATION, releases session-level
// advisory locks, ends LISTEN, drops temporary tables, closes cursors WITH HOLD,
// forgets the state of sequences, and removes statements that were prepared by
// PREPARE. Those that the driver or poolgate prepared stay.
type Reset int

const (
	// ResetNever resets none. What a session changes stays changed.
	ResetNever Reset = iota

	// ResetConns resets those that were used through an *sql.Conn or through
	// Raw, which is where a program changes its session on purpose.
	ResetConns

	// ResetAlways resets each connection after each use.
	ResetAlways
)

// String returns "never", "conns" or "always".
func (r Reset) String() string {
	switch r {
	case ResetNever:
		return "never"
	case ResetConns:
		return "conns"
	case ResetAlways:
		return "always"
	}
	return fmt.Sprintf("Reset(%d)", int(r))
}

// resetSession is what DISCARD ALL does, but that it keeps prepared statements
// and plans, which all callers share.
const resetSession = `SET SESSION AUTHORIZATION DEFAULT; RESET ROLE; RESET ALL; CLOSE ALL; UNLISTEN *;
SELECT pg_catalog.pg_advisory_unlock_all(); DISCARD TEMP; DISCARD SEQUENCES;
DO $$ DECLARE statement name; BEGIN
	FOR statement IN SELECT s.name FROM pg_catalog.pg_prepared_statements s WHERE s.from_sql LOOP
		EXECUTE 'DEALLOCATE ' || pg_catalog.quote_ident(statement);
	END LOOP;
END $$`

// wantsReset reports whether the connection has to be reset as it is released.
func (s *seat) wantsReset() bool {
	switch s.connector.db.config.Reset {
	case ResetAlways:
		return true
	case ResetConns:
		return s.exposed || calledBy("database/sql.(*Conn).close")
	}
	return false
}

// endPatience is how long the statements that end a checkout may take before the
// connection is given up.
const endPatience = 5 * time.Second

// endBy executes the statements that end a checkout, and gives the connection
// and the permit back. It does not wait for that longer than the context of the
// checkout allows: the caller has its answer. It returns the value of a panic.
func (s *seat) endBy(statements ...string) (panicked any) {
	until, cancel := context.WithTimeout(s.ctx, endPatience)
	defer cancel()
	background := context.WithoutCancel(s.ctx)
	return s.letGo(until, func(h *held) (panicked any) {
		ctx, cancel := context.WithTimeout(background, endPatience)
		defer cancel()
		for _, statement := range statements {
			if !h.exec(ctx, statement) {
				h.watch.discarded()
				return h.discard()
			}
		}
		return h.giveBack()
	})
}

// exec executes a statement, and reports whether it succeeded.
func (h *held) exec(ctx context.Context, statement string) (ok bool) {
	defer func() {
		if recover() != nil { // the connection is closed for it
			ok = false
		}
	}()
	_, err := execOn(ctx, h.conn.driver, statement, nil)
	if err == driver.ErrSkip {
		var stmt driver.Stmt
		if stmt, err = prepareOn(ctx, h.conn.driver, statement); err == nil {
			//lint:ignore SA1019 drivers that skip Exec may have nothing else
			_, err = stmt.Exec(nil)
			stmt.Close()
		}
	}
	return err == nil
}
