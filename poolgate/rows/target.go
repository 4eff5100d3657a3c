package rows

import (
	"database/sql"
	"errors"
	"reflect"
	"slices"
)

// A target is a T into which the rows of a result are scanned one after another.
// It is reused for the next row, and for the next query with the same columns,
// so that neither needs reflection or allocations.
type target[T any] struct {
	plan *plan[T]

	// value is the addressable T, or the struct that T points to.
	value reflect.Value
	into  *T // value as a *T; nil if T is a pointer to a struct

	dest []any // the destinations of the columns, inside value if they have a field

	// scanned are the arguments of sql.Rows.Scan: dest, except that the columns
	// in assigned are scanned into values, and assigned to dest afterwards.
	scanned  []any
	assigned []int
	values   []any
	typed    bool     // whether assign needs types
	types    []string // the types of the columns, such as "_INT4"

	// mapper finds dest. If moving, it does so for each row, because value has
	// structs behind pointers.
	mapper *mapper
	moving bool
}

// targetOf returns a target for the columns of rs. It must be released.
func targetOf[T any](rs *sql.Rows) (*target[T], error) {
	columns, err := rs.Columns()
	if err != nil {
		return nil, err
	}
	t, err := newTarget[T](columns)
	if err != nil || !t.typed {
		return t, err
	}
	types, err := rs.ColumnTypes()
	if err != nil {
		return nil, err
	}
	for i, typ := range types {
		t.types[i] = typ.DatabaseTypeName()
	}
	return t, nil
}

func newTarget[T any](columns []string) (*target[T], error) {
	p := planFor[T](columns)
	if t, ok := p.targets.Get().(*target[T]); ok {
		return t, nil
	}
	t := &target[T]{plan: p}
	if typ := base(reflect.TypeFor[T]()); typ != reflect.TypeFor[T]() {
		t.value = reflect.New(typ).Elem()
	} else {
		t.into = new(T)
		t.value = reflect.ValueOf(t.into).Elem()
	}
	if !isColumns(t.value.Type()) && len(columns) == 1 {
		t.dest = []any{t.value.Addr().Interface()}
		t.arrange()
		return t, t.refuseRawBytes()
	}
	m, err := newMapper(t.value.Type(), columns)
	if err != nil {
		return nil, err
	}
	if t.dest, err = m.dest(t.value); err != nil {
		return nil, err
	}
	t.mapper = m
	t.moving = !m.stays(t.value, t.dest)
	t.arrange()
	return t, t.refuseRawBytes()
}

// arrange decides which columns sql.Rows.Scan scans into dest itself.
func (t *target[T]) arrange() {
	t.scanned, t.values, t.types = make([]any, len(t.dest)), make([]any, len(t.dest)), make([]string, len(t.dest))
	for i, d := range t.dest {
		typ := reflect.TypeOf(d).Elem()
		switch {
		case isSink(d) || isDirect(typ):
			t.scanned[i] = direct(d)
		default:
			t.scanned[i] = &t.values[i]
			t.assigned = append(t.assigned, i)
			t.typed = t.typed || isComposite(typ)
		}
	}
}

// move updates scanned after dest has changed.
func (t *target[T]) move() {
	for i, d := range t.dest {
		if _, ok := t.scanned[i].(*any); !ok || t.scanned[i] != any(&t.values[i]) {
			t.scanned[i] = direct(d)
		}
	}
}

// release keeps the target, emptied, for the next query.
func (t *target[T]) release() {
	t.value.SetZero()
	clear(t.values)
	t.plan.targets.Put(t)
}

// scan returns the current row of rs.
func (t *target[T]) scan(rs *sql.Rows) (row T, err error) {
	t.value.SetZero()
	if t.moving {
		if t.dest, err = t.mapper.dest(t.value); err != nil {
			return row, err
		}
		t.move()
	}
	if err := rs.Scan(t.scanned...); err != nil {
		return row, t.explain(rs, err)
	}
	for _, i := range t.assigned {
		if err := assign(reflect.ValueOf(t.dest[i]).Elem(), t.values[i], t.types[i]); err != nil {
			return row, t.columnError(i, err)
		}
	}
	if t.mapper != nil {
		t.mapper.finish(t.value)
	}
	if t.into != nil {
		return *t.into, nil
	}
	return t.copied(), nil
}

// copied returns a pointer to a copy of value. T is a pointer.
func (t *target[T]) copied() T {
	p := reflect.New(t.value.Type())
	p.Elem().Set(t.value)
	return p.Interface().(T)
}

func (t *target[T]) refuseRawBytes() error {
	for i, d := range t.dest {
		if _, ok := d.(*sql.RawBytes); ok {
			return t.columnError(i, errors.New("sql.RawBytes is gone with the next row: use []byte"))
		}
	}
	return nil
}

// explain returns the error of rs.Scan with the names of the column and the
// field. database/sql names only the column, in the text of its error.
func (t *target[T]) explain(rs *sql.Rows, err error) error {
	if failed := rs.Err(); failed != nil { // ctx ended
		return failed
	}
	probe := make([]any, len(t.scanned))
	for i := range probe {
		probe[i] = new(any)
	}
	if rs.Scan(probe...) != nil { // the error is not about a column
		return err
	}
	for i, value := range slices.Clone(probe) {
		probe[i] = t.scanned[i]
		failed := rs.Scan(probe...)
		probe[i] = value
		if failed == nil {
			continue
		}
		if *value.(*any) == nil && !isNullable(reflect.TypeOf(t.dest[i]).Elem()) {
			return t.columnError(i, ErrNull)
		}
		if cause := errors.Unwrap(failed); cause != nil { // without the column, which we name
			failed = cause
		}
		return t.columnError(i, failed)
	}
	return err
}

func (t *target[T]) columnError(i int, err error) *ColumnError {
	dest := reflect.ValueOf(t.dest[i])
	e := &ColumnError{Column: t.plan.columns[i], Type: dest.Type().Elem(), Err: err}
	if name := fieldName(t.value, dest); name != "" {
		e.Field = t.value.Type().Name() + name
	}
	return e
}

// base returns the struct that typ points to if it takes several columns,
// otherwise typ itself.
func base(typ reflect.Type) reflect.Type {
	if typ.Kind() == reflect.Pointer && typ.Elem().Kind() == reflect.Struct && isColumns(typ.Elem()) {
		return typ.Elem()
	}
	return typ
}
