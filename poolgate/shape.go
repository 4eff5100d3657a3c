package poolgate

import (
	"context"
	"database/sql/driver"
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

// shaped returns l in the shape of the driver's connection.
func shaped(l *lease) driver.Conn {
	//lint:ignore SA1019 old drivers have nothing else
	execs := offers[driver.ExecerContext](l.conn) || offers[driver.Execer](l.conn)
	//lint:ignore SA1019 old drivers have nothing else
	queries := offers[driver.QueryerContext](l.conn) || offers[driver.Queryer](l.conn)
	resets := offers[driver.SessionResetter](l.conn) && offers[driver.Validator](l.conn)
	switch {
	case execs && queries && resets:
		return resetting{execQuerying{l}}
	case execs && queries:
		return execQuerying{l}
	case execs && resets:
		return execResetting{execing{l}}
	case execs:
		return execing{l}
	case queries && resets:
		return queryResetting{querying{l}}
	case queries:
		return querying{l}
	case resets:
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
