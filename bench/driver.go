package bench

import (
	"database/sql"
	"maps"

	_ "github.com/jackc/pgx/v5/stdlib" // the bare pool of pgx
	_ "github.com/lib/pq"              // the bare pool of lib/pq

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/adapters/pqgate"
	"github.com/poolgate/poolgate/internal/connstring"
	"github.com/poolgate/poolgate/poolgate"
)

// A Driver is one of those that the benchmark runs on.
type Driver string

// The drivers.
const (
	PGX Driver = "pgx" // github.com/jackc/pgx/v5 through its stdlib package
	PQ  Driver = "pq"  // github.com/lib/pq

	// PGXPool is pgx without database/sql: its own pool, behind pgxpoolgate.
	PGXPool Driver = "pgxpool"
)

// Drivers returns all drivers in the order in which they run.
func Drivers() []Driver { return []Driver{PGX, PQ, PGXPool} }

// SQLDrivers returns those of database/sql.
func SQLDrivers() []Driver { return []Driver{PGX, PQ} }

// openBare opens a pool of database/sql with nothing in front of it.
func (d Driver) openBare(dsn string) (*sql.DB, error) {
	if d == PGX {
		return sql.Open("pgx", dsn)
	}
	return sql.Open("postgres", dsn)
}

// openGated opens a pool of database/sql with a gate in front.
func (d Driver) openGated(dsn string, config poolgate.Config) (*poolgate.DB, error) {
	if d == PGX {
		return pgxgate.Open(dsn, config)
	}
	return pqgate.Open(dsn, config)
}

// Settings returns what the benchmark adds to the DSN for this driver and
// form, unless the DSN says otherwise. docs/benchmark.md has the measurements
// behind it.
func (d Driver) Settings(form Form) map[string]string {
	switch {
	case d == PQ:
		// Without it each statement with parameters is two round trips.
		return map[string]string{"binary_parameters": "yes"}
	case form == Faithful:
		// pgx would prepare each statement under a name, and PostgreSQL turn
		// to a generic plan after five executions. See selectChildren.
		return map[string]string{"default_query_exec_mode": "cache_describe"}
	}
	return nil
}

// applicationName is the name by which the sampler knows the connections.
const applicationName = "poolbench"

// connectionString returns dsn with the settings for this driver and form, and
// the schema of the tables.
func (d Driver) connectionString(dsn, schema string, form Form) (string, error) {
	settings := map[string]string{
		"search_path":      schema,
		"application_name": applicationName,
	}
	maps.Copy(settings, d.Settings(form))
	return connstring.With(dsn, settings)
}
