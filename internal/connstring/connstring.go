// Package connstring edits PostgreSQL connection strings: a postgres:// URL or
// a list of key=value, as libpq, pgx and lib/pq take them. An empty string is a
// list with nothing in it.
package connstring

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
)

// errURL stands for the error of url.Parse, which quotes the URL and so a
// password in it.
var errURL = errors.New("the connection string is not a valid URL; in a password, write what is not a letter or a digit as %40 and the like")

// WithDatabase returns dsn with name as its database. It returns an error if
// dsn is a URL that cannot be parsed.
func WithDatabase(dsn, name string) (string, error) {
	if !isURL(dsn) {
		return set(dsn, "dbname", name), nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", errURL
	}
	query := u.Query()
	query.Del("dbname") // would win over the path
	query.Del("database")
	u.Path, u.RawPath, u.RawQuery = "/"+name, "", encode(query)
	return u.String(), nil
}

// With returns dsn with settings, which replace those of the same names. It
// returns an error if dsn is a URL that cannot be parsed.
func With(dsn string, settings map[string]string) (string, error) {
	if !isURL(dsn) {
		for _, name := range slices.Sorted(maps.Keys(settings)) {
			dsn = set(dsn, name, settings[name])
		}
		return dsn, nil
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return "", errURL
	}
	query := u.Query()
	for name, value := range settings {
		query.Set(name, value)
	}
	u.RawQuery = encode(query)
	return u.String(), nil
}

func isURL(dsn string) bool {
	return strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://")
}

var quoted = strings.NewReplacer(`\`, `\\`, `'`, `\'`)

// set appends to a list of key=value, of which the last one counts.
func set(list, name, value string) string {
	return strings.TrimPrefix(fmt.Sprintf("%s %s='%s'", list, name, quoted.Replace(value)), " ")
}

// encode writes a space as %20, since pgx takes a + literally.
func encode(query url.Values) string {
	return strings.ReplaceAll(query.Encode(), "+", "%20")
}
