package poolgate

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// ErrRawType is the error of [Raw] where the connection is not of the type
// that was asked for.
var ErrRawType = errors.New("poolgate: the driver's connection is of another type")

// Raw calls f with the driver's connection behind conn, which must be of type
// T: *stdlib.Conn for pgx, for instance. It looks through the gate and through
// every other wrapper whose connection has a method Raw() driver.Conn, as
// otelsql's has, and takes the outermost that is a T. It works on the
// connections of any *sql.DB.
//
// The connection must not be used after f has returned. An error of f is
// returned; if it is driver.ErrBadConn, or if f panics, the connection is
// discarded. If there is no T, Raw returns an error that matches ErrRawType
// and names the types that there are.
func Raw[T any](conn *sql.Conn, f func(T) error) error {
	return conn.Raw(func(dc any) error {
		found, err := find[T](dc)
		if err != nil {
			return err
		}
		return f(found)
	})
}

// find returns the outermost T behind dc, which is what sql.Conn.Raw hands out.
func find[T any](dc any) (t T, err error) {
	if gated, ok := dc.(interface{ expose() driver.Conn }); ok {
		dc = gated.expose()
	}
	if dc == nil { // the connection was lost, and given back
		return t, driver.ErrBadConn
	}
	var found []string
	for {
		if t, ok := dc.(T); ok {
			return t, nil
		}
		found = append(found, fmt.Sprintf("%T", dc))
		wrapper, ok := dc.(interface{ Raw() driver.Conn })
		if !ok {
			return t, fmt.Errorf("%w: it is %s, not %v",
				ErrRawType, strings.Join(found, " around "), reflect.TypeFor[T]())
		}
		dc = wrapper.Raw()
	}
}
