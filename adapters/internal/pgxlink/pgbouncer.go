package pgxlink

import (
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// BehindPgBouncer has config send statements in a way that is right behind a
// PgBouncer in transaction mode: each with its arguments, so that it is parsed and
// executed on the same connection of the server. It returns an error if config or
// its data source name asks for a way that is not right.
//
// Where the name leaves the way open it is cache_describe, which encodes arguments
// and decodes results as pgx's default does: exec stores a []byte in a column of
// text in hexadecimal, and a time.Time in a timestamp as UTC.
func BehindPgBouncer(config *pgx.ConnConfig) error {
	mode := config.DefaultQueryExecMode
	if mode == pgx.QueryExecModeCacheStatement && !setsMode(config) {
		if config.DescriptionCacheCapacity <= 0 {
			return errNoDescriptions
		}
		config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
		return nil
	}
	return CheckBehindPgBouncer(mode)
}

// setsMode reports whether the data source name sets default_query_exec_mode.
func setsMode(config *pgx.ConnConfig) bool {
	name, err := pgconn.ParseConfig(config.ConnString())
	if err != nil {
		return false
	}
	_, sets := name.RuntimeParams["default_query_exec_mode"]
	return sets
}

// CheckBehindPgBouncer refuses a mode that is not right behind a PgBouncer in
// transaction mode.
func CheckBehindPgBouncer(mode pgx.QueryExecMode) error {
	switch mode {
	case pgx.QueryExecModeDescribeExec:
		return errDescribeExec
	case pgx.QueryExecModeCacheStatement:
		return errCacheStatement
	}
	return nil
}

var (
	errDescribeExec = errors.New("with default_query_exec_mode=describe_exec a PgBouncer in transaction mode " +
		"can return the rows of another caller; leave it out, or use cache_describe or exec")
	errNoDescriptions = errors.New("description_cache_capacity=0 excludes default_query_exec_mode=cache_describe; " +
		"leave it out, or use exec")
	errCacheStatement = errors.New("default_query_exec_mode=cache_statement prepares statements on the server, " +
		"which a PgBouncer in transaction mode loses unless it keeps track of them; leave it out, or use cache_describe or exec")
)
