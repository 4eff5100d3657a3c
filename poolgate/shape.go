package poolgate

import (
	"context"
	"database/sql/driver"
	"reflect"
)

// database/sql asks a connection which optional interfaces it has, and goes
// different ways accordingly: without an Execer or a Queryer it prepares a
// statement first, and the driver's Stmt checks the arguments. So a seat shows
// those two if the driver's connection does. It has all others, for it can do
// what database/sql does without them.
//
// The types below are no larger than a pointer: to show an interface costs no
// allocation.

// A shape is what a type of connection offers.
type shape struct {
	of             reflect.Type
	execs, queries bool
}

func shapeOf(conn driver.Conn) *shape {
	return &shape{
		of: reflect.TypeOf(conn),
		//lint:ignore SA1019 old drivers have nothing else
		execs: offers[driver.ExecerContext](conn) || offers[driver.Execer](conn),
		//lint:ignore SA1019 old drivers have nothing else
		queries: offers[driver.QueryerContext](conn) || offers[driver.Queryer](conn),
	}
}

// shape returns the shape of the seat's connection. A driver mostly has
// connections of one type, so that of the last is remembered.
func (s *seat) shape() *shape {
	last := s.connector.shape.Load()
	if last == nil || last.of != reflect.TypeOf(s.conn.driver) {
		last = shapeOf(s.conn.driver)
		s.connector.shape.Store(last)
	}
	return last
}

// shaped returns s in the shape of its connection. If it gets a connection of
// another type later, it skips the calls which that lacks.
func shaped(s *seat) driver.Conn {
	switch shape := s.shape(); {
	case shape.execs && shape.queries:
		return execQuerying{s}
	case shape.execs:
		return execing{s}
	case shape.queries:
		return querying{s}
	}
	return s
}

func offers[T any](conn driver.Conn) bool {
	_, ok := conn.(T)
	return ok
}

type execing struct{ *seat }

func (c execing) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.exec(ctx, query, args)
}

type querying struct{ *seat }

func (c querying) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.query(ctx, query, args)
}

type execQuerying struct{ *seat }

func (c execQuerying) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	return c.exec(ctx, query, args)
}

func (c execQuerying) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	return c.query(ctx, query, args)
}
