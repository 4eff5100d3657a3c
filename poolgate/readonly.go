package poolgate

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/poolgate/poolgate/internal/sqlstate"
)

// A seat of DB.OutOfBandReadOnly is used inside a transaction that is read only,
// from its checkout to its release.

// commit ends the transaction, by a ROLLBACK after an error.
const commit = "COMMIT"

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
