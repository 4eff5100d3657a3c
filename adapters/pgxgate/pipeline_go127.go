//go:build go1.27

package pgxgate

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"reflect"
	"time"

	"github.com/jackc/pgx/v5/pgtype"
)

// NextRow is Next for database/sql as of Go 1.27, which then scans the columns
// one by one.
func (r *pipelineRows) NextRow() error { return r.advance() }

// ScanColumn scans slices, maps and pgx's own types as pgx does, and leaves all
// others to database/sql.
func (r *pipelineRows) ScanColumn(ctx driver.ScanContext, i int, dest any) error {
	v := reflect.ValueOf(dest)
	if v.Kind() != reflect.Pointer || v.IsNil() {
		return errors.New("destination not a pointer, or nil")
	}
	if scansItself(v.Type()) {
		f := r.fields[i]
		return r.results.conn.inner.Conn().TypeMap().Scan(f.DataTypeOID, f.Format, r.reader.Values()[i], dest)
	}
	value, err := r.value(i)
	if err != nil {
		return err
	}
	return sql.ConvertAssign(ctx, dest, value)
}

// scansItself reports whether database/sql has no conversion to a t, which is a
// pointer, so that pgx scans into it.
func scansItself(t reflect.Type) bool {
	for range 10 { // a type that points to itself is pgx's
		switch {
		case t.Implements(reflect.TypeFor[sql.Scanner]()):
			return false
		case t.Implements(reflect.TypeFor[pgtype.ArraySetter]()), t.Implements(reflect.TypeFor[pgtype.BytesScanner]()):
			return true
		case t.Kind() != reflect.Pointer:
			switch t.Kind() {
			case reflect.Slice:
				return t.Elem().Kind() != reflect.Uint8
			case reflect.Struct:
				return !t.ConvertibleTo(reflect.TypeFor[time.Time]())
			case reflect.Array, reflect.Map, reflect.Chan, reflect.Func, reflect.Complex64, reflect.Complex128, reflect.Uintptr, reflect.UnsafePointer:
				return true
			}
			return false
		}
		t = t.Elem()
	}
	return true
}
