package bench

import (
	"context"
	"database/sql"
	"fmt"
)

// Server describes the server of a benchmark.
type Server struct {
	Version        string            `json:"version"`
	MaxConnections int               `json:"max_connections"`
	Settings       map[string]string `json:"settings"` // what the results depend on

	// Checkpoint says that there is a checkpoint before each run, for which
	// the server wants a superuser or a member of pg_checkpoint.
	Checkpoint bool `json:"checkpoint_before_each_run"`
}

func askServer(ctx context.Context, conn *sql.Conn) (Server, error) {
	s := Server{Settings: map[string]string{}}
	err := conn.QueryRowContext(ctx, `
		SELECT current_setting('server_version'), current_setting('max_connections')::int,
		       current_setting('is_superuser')::bool OR EXISTS (
		           SELECT FROM pg_roles WHERE rolname = 'pg_checkpoint' AND pg_has_role(oid, 'member'))`,
	).Scan(&s.Version, &s.MaxConnections, &s.Checkpoint)
	if err != nil {
		return s, fmt.Errorf("asking the server for its version: %w", err)
	}
	rows, err := conn.QueryContext(ctx, `
		SELECT name, current_setting(name) FROM pg_settings
		WHERE name IN ('fsync', 'full_page_writes', 'max_wal_size', 'plan_cache_mode', 'shared_buffers', 'synchronous_commit')`)
	if err != nil {
		return s, fmt.Errorf("asking the server for its settings: %w", err)
	}
	defer rows.Close()
	for rows.Next() {
		var name, value string
		if err := rows.Scan(&name, &value); err != nil {
			return s, fmt.Errorf("asking the server for its settings: %w", err)
		}
		s.Settings[name] = value
	}
	return s, rows.Err()
}
