package rows

import (
	"errors"
	"fmt"
	"reflect"
)

// What is wrong with a column, as a [ColumnError] says it.
var (
	// ErrUnknownColumn says that T has no field for a column.
	ErrUnknownColumn = errors.New("no field for this column")
	// ErrDuplicateColumn says that two columns have the same name.
	ErrDuplicateColumn = errors.New("two columns have this name")
	// ErrNull says that a column is NULL and its field cannot be.
	ErrNull = errors.New("NULL")
)

// A ColumnError says which column could not be read, and into what. It matches
// what it wraps: ErrUnknownColumn, ErrDuplicateColumn, ErrNull, or the error of
// the conversion that failed.
type ColumnError struct {
	Column string       // its name in the result
	Field  string       // "User.Name", or "" if there is none or T is no struct
	Type   reflect.Type // of the field; of T if there is no field
	Err    error
}

// Error names the column and the field, and says what can be done.
func (e *ColumnError) Error() string {
	into := e.Type.String()
	if e.Field != "" {
		into = fmt.Sprintf("%s (%v)", e.Field, e.Type)
	}
	switch e.Err {
	case ErrUnknownColumn:
		return fmt.Sprintf("rows: column %q: %v has no exported field for it: "+
			"tag one with `db:%q`, leave the column out, or embed rows.AllowUnknown", e.Column, e.Type, e.Column)
	case ErrDuplicateColumn:
		return fmt.Sprintf("rows: column %q: two columns have this name: give one another with AS", e.Column)
	case ErrNull:
		return fmt.Sprintf("rows: column %q is NULL, which %s cannot be: "+
			"make it a *%v or a sql.Null[%v], or use COALESCE", e.Column, into, e.Type, e.Type)
	}
	return fmt.Sprintf("rows: column %q into %s: %v", e.Column, into, e.Err)
}

// Unwrap returns Err.
func (e *ColumnError) Unwrap() error { return e.Err }
