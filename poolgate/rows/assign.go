package rows

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
)

// Methods of the program must not run inside sql.Rows.Scan: if one panics there,
// database/sql keeps a lock, and sql.Rows.Close waits for it. And how a slice, a
// map or a struct is scanned depends on the driver and on the version of Go. So
// sql.Rows.Scan gets only destinations that database/sql itself knows. All
// other columns are scanned into an any, and assign converts them.

// isDirect reports whether a pointer to typ may be passed to sql.Rows.Scan.
func isDirect(typ reflect.Type) bool {
	if typ.PkgPath() == "database/sql" && isScanner(reflect.PointerTo(typ)) {
		v, ok := typ.FieldByName("V") // of a Null[T]
		return !ok || isDirect(v.Type)
	}
	if isScanner(reflect.PointerTo(typ)) {
		return false
	}
	switch typ.Kind() {
	case reflect.Pointer:
		return typ.Name() == "" && isDirect(typ.Elem())
	case reflect.Slice:
		return typ.Elem().Kind() == reflect.Uint8
	case reflect.Struct:
		return typ.ConvertibleTo(timeType)
	case reflect.Array, reflect.Map, reflect.Chan, reflect.Func, reflect.UnsafePointer:
		return false
	}
	return true
}

// direct returns the pointer to pass to sql.Rows.Scan for dest. It has none of
// the methods that pgx calls with Go 1.27.
func direct(dest any) any {
	typ := reflect.TypeOf(dest)
	_, scans := typ.MethodByName("ScanBytes")
	_, sets := typ.MethodByName("SetDimensions")
	if typ.Elem().Kind() == reflect.Slice && (scans || sets) {
		return reflect.ValueOf(dest).Convert(reflect.TypeFor[*[]byte]()).Interface()
	}
	return dest
}

// isComposite reports whether assign needs the column's type for typ.
func isComposite(typ reflect.Type) bool {
	if v, ok := nullValue(typ); ok {
		return isComposite(v)
	}
	if isDirect(typ) || isUUID(typ) || isScanner(reflect.PointerTo(typ)) {
		return false
	}
	return typ.Kind() != reflect.Pointer || isComposite(typ.Elem())
}

// isNullable reports whether typ can hold NULL.
func isNullable(typ reflect.Type) bool {
	switch typ.Kind() {
	case reflect.Pointer, reflect.Interface:
		return true
	}
	return typ == reflect.TypeFor[[]byte]() || isScanner(reflect.PointerTo(typ))
}

// nullValue returns the T of a sql.Null[T].
func nullValue(typ reflect.Type) (reflect.Type, bool) {
	if typ.PkgPath() == "database/sql" && strings.HasPrefix(typ.Name(), "Null[") {
		return typ.Field(0).Type, true
	}
	return nil, false
}

// assign sets dest to src, the value of a column of type typ, such as "_INT4".
// Single values become what they become by sql.Rows.Scan. Slices are arrays or
// JSON, and other composites are JSON.
func assign(dest reflect.Value, src any, typ string) error {
	if _, ok := nullValue(dest.Type()); ok {
		dest.SetZero()
		if src == nil {
			return nil
		}
		dest.FieldByName("Valid").SetBool(true)
		return assign(dest.FieldByName("V"), src, typ)
	}
	if s, ok := dest.Addr().Interface().(sql.Scanner); ok {
		return s.Scan(src)
	}
	if ok, err := assignUUID(dest, src); ok {
		return err
	}
	if src == nil {
		if !isNullable(dest.Type()) {
			return ErrNull
		}
		dest.SetZero()
		return nil
	}
	text, ok := textOf(src)
	if ok && (typ == "JSON" || typ == "JSONB") && isComposite(dest.Type()) {
		return json.Unmarshal([]byte(text), dest.Addr().Interface())
	}
	switch dest.Kind() {
	case reflect.Pointer:
		dest.Set(reflect.New(dest.Type().Elem()))
		return assign(dest.Elem(), src, typ)
	case reflect.Slice, reflect.Array, reflect.Map, reflect.Struct:
		if isDirect(dest.Type()) {
			break
		}
		if ok && (dest.Kind() == reflect.Slice || dest.Kind() == reflect.Array) {
			return assignArray(dest, text, strings.TrimPrefix(typ, "_"))
		}
		return unsupported(dest, src)
	}
	return assignSingle(dest, src)
}

func unsupported(dest reflect.Value, src any) error {
	return fmt.Errorf("cannot convert a %T to a %v", src, dest.Type())
}

func textOf(src any) (string, bool) {
	switch src := src.(type) {
	case string:
		return src, true
	case []byte:
		return string(src), true
	}
	return "", false
}

// assignSingle sets dest as sql.Rows.Scan does, by means of sql.Null[T]. src is
// not nil.
func assignSingle(dest reflect.Value, src any) error {
	switch dest.Kind() {
	case reflect.Bool:
		v, err := convert[bool](src)
		if err == nil {
			dest.SetBool(v)
		}
		return err
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		v, err := convert[int64](src)
		if err == nil && dest.OverflowInt(v) {
			err = fmt.Errorf("%d is out of range for a %v", v, dest.Type())
		}
		if err == nil {
			dest.SetInt(v)
		}
		return err
	case reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v, err := convert[uint64](src)
		if err == nil && dest.OverflowUint(v) {
			err = fmt.Errorf("%d is out of range for a %v", v, dest.Type())
		}
		if err == nil {
			dest.SetUint(v)
		}
		return err
	case reflect.Float32:
		v, err := convert[float32](src)
		if err == nil {
			dest.SetFloat(float64(v))
		}
		return err
	case reflect.Float64:
		v, err := convert[float64](src)
		if err == nil {
			dest.SetFloat(v)
		}
		return err
	case reflect.String:
		v, err := convert[string](src)
		if err == nil {
			dest.SetString(v)
		}
		return err
	case reflect.Slice: // of bytes
		v, err := convert[[]byte](src)
		if err == nil {
			dest.SetBytes(v)
		}
		return err
	}
	v := reflect.ValueOf(src)
	switch {
	case v.Type().AssignableTo(dest.Type()):
		dest.Set(v)
	case v.Kind() == dest.Kind() && v.CanConvert(dest.Type()): // a time
		dest.Set(v.Convert(dest.Type()))
	default:
		return unsupported(dest, src)
	}
	return nil
}

func convert[T any](src any) (T, error) {
	var v sql.Null[T]
	err := v.Scan(src)
	if cause := errors.Unwrap(err); cause != nil {
		err = cause
	}
	return v.V, err
}
