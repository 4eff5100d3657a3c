// Package sqlstate reads the SQLSTATE of a server's errors.
package sqlstate

import (
	"errors"
	"reflect"
	"slices"
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

// OfMySQL returns the SQLSTATE that err carries in the way of
// go-sql-driver/mysql, in a field SQLState of five bytes, or "" if it carries
// none.
func OfMySQL(err error) (state string) {
	each(err, func(err error) bool {
		v := reflect.Indirect(reflect.ValueOf(err))
		if v.Kind() != reflect.Struct {
			return false
		}
		field := v.FieldByName("SQLState")
		if !field.IsValid() || field.Type() != reflect.TypeFor[[5]byte]() {
			return false
		}
		b := field.Interface().([5]byte)
		state = strings.TrimRight(string(b[:]), "\x00")
		return true
	})
	return state
}

// own are the beginnings of the packages whose errors are no other database's.
var own = []string{"github.com/poolgate/poolgate/", "github.com/jackc/", "github.com/lib/pq"}

// IsForeign reports whether err is an error of a driver for another database
// than PostgreSQL: it carries no SQLSTATE as PostgreSQL's drivers have it, and its
// type is of a package that is neither of the standard library, nor of this
// module, nor of one of those drivers.
func IsForeign(err error) bool {
	return Of(err) == "" && each(err, func(err error) bool {
		t := reflect.TypeOf(err)
		if t.Kind() == reflect.Pointer {
			t = t.Elem()
		}
		return isForeign(t.PkgPath())
	})
}

// isForeign reports whether a package is of others.
func isForeign(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return strings.Contains(first, ".") &&
		!slices.ContainsFunc(own, func(prefix string) bool { return strings.HasPrefix(path, prefix) })
}

// each calls f with err and all that it wraps, until f returns true, and reports
// whether it has.
func each(err error, f func(error) bool) bool {
	if err == nil {
		return false
	}
	if f(err) {
		return true
	}
	switch err := err.(type) {
	case interface{ Unwrap() error }:
		return each(err.Unwrap(), f)
	case interface{ Unwrap() []error }:
		for _, e := range err.Unwrap() {
			if each(e, f) {
				return true
			}
		}
	}
	return false
}
