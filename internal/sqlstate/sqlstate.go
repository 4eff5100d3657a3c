// Package sqlstate reads the SQLSTATE of a server's errors.
package sqlstate

import (
	"errors"
	"strings"
)

// Of returns the SQLSTATE that err carries, or "" if it carries none. The error
// types of lib/pq and of pgx both have one.
func Of(err error) string {
	if e, ok := errors.AsType[interface {
		error
		SQLState() string
	}](err); ok {
		return e.SQLState()
	}
	return ""
}

// IsLost reports whether state says that the connection failed or that the
// server is shutting down, so that the outcome of a COMMIT is unknown.
func IsLost(state string) bool {
	return strings.HasPrefix(state, "08") || strings.HasPrefix(state, "57P")
}
