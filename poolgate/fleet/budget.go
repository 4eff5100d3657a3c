package fleet

import (
	"context"
	"database/sql"
	"fmt"
)

// allowed is how many connections the server allows. reserved_connections is there
// since PostgreSQL 16.
const allowed = `SELECT least(
	current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int
		- coalesce(current_setting('reserved_connections', true)::int, 0),
	(SELECT nullif(rolconnlimit, -1) FROM pg_roles WHERE rolname = session_user),
	(SELECT nullif(datconnlimit, -1) FROM pg_database WHERE datname = current_database()))`

// serverBudget returns what the server of db allows, without the margin.
func serverBudget(ctx context.Context, db *sql.DB, margin int) (int, error) {
	var n int
	if err := db.QueryRowContext(ctx, allowed).Scan(&n); err != nil {
		return 0, fmt.Errorf("fleet: asking the server how many connections it allows: %w", err)
	}
	if n <= margin {
		return 0, fmt.Errorf("fleet: Config.Margin must be lower than the %d connections that the server allows, got %d", n, margin)
	}
	return n - margin, nil
}
