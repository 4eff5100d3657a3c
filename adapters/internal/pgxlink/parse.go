package pgxlink

import (
	"errors"
	"maps"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolgate/poolgate/adapters/internal/dsn"
)

// Check refuses what pgx has made of a data source name that is wrong.
func Check(config *pgx.ConnConfig) error {
	if err := dsn.CheckSettings(maps.Keys(config.RuntimeParams)); err != nil {
		return err
	}
	// pgx ends the password at the first '@', where others end it at the last:
	// what follows would be the host, and stand in the error of its look-up.
	if strings.Contains(config.Host, "@") {
		return errAt
	}
	for _, fallback := range config.Fallbacks {
		if strings.Contains(fallback.Host, "@") {
			return errAt
		}
	}
	return nil
}

var errAt = dsn.Errorf("an '@' in the host: in a password write it as %%40")

// ParseError returns the error for a data source name that pgx cannot parse and
// returned err for: what is wrong, without the name in it, whose password pgx
// masks only as well as it can.
func ParseError(err error) error {
	if _, ok := errors.AsType[*pgconn.ParseConfigError](err); ok {
		message := err.Error()
		if end := strings.LastIndex(message, "`: "); end >= 0 {
			message = message[end+len("`: "):]
		}
		err = errors.New(message)
	}
	return dsn.ParseError(err)
}

// SeveralHosts reports whether config has several servers, which are tried in
// turn.
func SeveralHosts(config *pgx.ConnConfig) bool {
	for _, fallback := range config.Fallbacks {
		if fallback.Host != config.Host || fallback.Port != config.Port {
			return true
		}
	}
	return false
}
