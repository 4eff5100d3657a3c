package poolgate

import (
	"context"
	"database/sql/driver"
	"reflect"
)

// database/sql asks a connection which optional interfaces it has, and goes
// different ways accordingly. So a lease shows exactly those of the driver's
// connection where that matters:
//
//   - without an Execer or a Queryer, statements are prepared first, and their
//     arguments are checked by the driver's Stmt;
//   - a connection with both SessionResetter and Validator is kept when its
//     transaction's context ends, any other is discarded. A lease is always a
//     Validator, so it may be a SessionResetter only if the driver's
//     connection is both.
//
// The types below are no larger than a pointer: to show an interface costs no
// allocation.

// A shape is what a type of connection offers.
type shape struct {
	of                     reflect.Type
	execs, queries, resets bool
}

func shapeOf(conn driver.Conn) *shape {
	return &shape{
		of: reflect.TypeOf(conn),
		//lint:ignore SA1019 old drivers have nothing else
		execs: offers[driver.ExecerContext](conn) || offers[driver.Execer](conn),
		//lint:ignore SA1019 old drivers have nothing else
		queries: offers[driver.QueryerContext](conn) || offers[driver.Queryer](conn),
		resets:  offers[driver.SessionResetter](conn) && offers[driver.Validator](conn),
	}
}

// shaped returns l in the shape of the driver's connection. A driver mostly has
// connections of one type, so the shape of the last is remembered.
func shaped(l *lease) driver.Conn {
	last := &l.connector.shape
	s := last.Load()
	if s == nil || s.of != reflect.TypeOf(l.conn) {
		s = shapeOf(l.conn)
		last.Store(s)
	}
	switch {
	case s.execs && s.queries && s.resets:
		return resetting{execQuerying{l}}
	case s.execs && s.queries:
		return execQuerying{l}
	case s.execs && s.resets:
		return execResetting{execing{l}}
	case s.execs:
		return execing{l}
	case s.queries && s.resets:
		return queryResetting{querying{l}}
	case s.queries:
		return querying{l}
	case s.resets:
		return plainResetting{l}
	}
	return l
}

func offers[T any](conn driver.Conn) bool {
	_, ok := conn.(T)
	return ok
}

type execing struct{ *lease }

func (c execing) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.exec(ctx, query, args)
}

type querying struct{ *lease }

func (c querying) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.query(ctx, query, args)
}

type execQuerying struct{ *lease }

func (c execQuerying) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.exec(ctx, query, args)
}

func (c execQuerying) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.query(ctx, query, args)
}

// The resetting forms have nothing to reset: a lease is not used again, and
// the inner pool resets the driver's connection before it hands it out.

type plainResetting struct{ *lease }

func (plainResetting) ResetSession(context.Context) error { return nil }

type execResetting struct{ execing }

func (execResetting) ResetSession(context.Context) error { return nil }

type queryResetting struct{ querying }

func (queryResetting) ResetSession(context.Context) error { return nil }

type resetting struct{ execQuerying }

func (resetting) ResetSession(context.Context) error { return nil }
