package poolgate

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/poolgate/poolgate/internal/sqlstate"
)

// A seat of DB.OutOfBandReadOnly is used inside a transaction that is read only,
// from its checkout to its release.

// beginReadOnly discards the connection if it fails.
func (s *seat) beginReadOnly(ctx context.Context) error {
	const begin = "BEGIN READ ONLY"
	_, err := s.exec(ctx, begin, nil)
	if err == driver.ErrSkip {
		_, err = (&stmt{seat: s, query: begin}).ExecContext(ctx, nil)
	}
	if err == nil {
		return nil
	}
	if s.conn != nil {
		s.discard()
	}
	state := sqlstate.Of(err)
	if ctx.Err() != nil || errors.Is(err, driver.ErrBadConn) || state != "" && state != "42601" {
		return err
	}
	return fmt.Errorf("poolgate: OutOfBandReadOnly needs a server that knows %s, as PostgreSQL does: %w", begin, err)
}

// endPatience is how long the end of a read-only transaction may take before its
// connection is given up.
const endPatience = 5 * time.Second

// endReadOnly ends the transaction, and gives the connection and the permit
// back. It does not wait for that longer than the context of the checkout
// allows: what was read was read.
func (s *seat) endReadOnly() {
	ctx, done := s.ctx, make(chan struct{})
	h := s.detach()
	go func() {
		defer close(done)
		h.permit.SetOwner()
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), endPatience)
		defer cancel()
		if h.end(ctx) {
			h.giveBack()
		} else {
			h.discard()
		}
	}()
	select {
	case <-done:
		return
	case <-ctx.Done():
	case <-time.After(endPatience):
	}
	select {
	case <-done:
	case <-time.After(discardPatience):
	}
}

// end reports whether the transaction has ended.
func (h *held) end(ctx context.Context) (ended bool) {
	defer func() {
		if recover() != nil {
			ended = false
		}
	}()
	const commit = "COMMIT" // which is a ROLLBACK after an error
	_, err := execOn(ctx, h.conn.driver, commit, nil)
	if err == driver.ErrSkip {
		var stmt driver.Stmt
		if stmt, err = prepareOn(ctx, h.conn.driver, commit); err == nil {
			//lint:ignore SA1019 drivers that skip Exec may have nothing else
			_, err = stmt.Exec(nil)
			stmt.Close()
		}
	}
	return err == nil
}
