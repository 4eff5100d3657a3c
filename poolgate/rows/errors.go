package rows

import (
	"errors"
	"fmt"
	"reflect"
)

// The reasons in a [ColumnError].
var (
	// ErrUnknownColumn means that T has no field for a column.
	ErrUnknownColumn = errors.New("no field for this column")
	// ErrDuplicateColumn means that two columns have the same name.
	ErrDuplicateColumn = errors.New("two columns have this name")
	// ErrNull means that a column is NULL and its field cannot hold NULL.
	ErrNull = errors.New("NULL")
)

// A ColumnError names the column that could not be read and its destination. It
// wraps ErrUnknownColumn, ErrDuplicateColumn, ErrNull, or the error of the
// conversion that failed.
type ColumnError struct {
	Column string       // the name in the result
	Field  string       // such as "User.Name"; "" if there is no field or T is not a struct
	Type   reflect.Type // the type of the field, or T if there is no field
	Err    error
}

// Error names the column and the field, and says how to fix it.
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
