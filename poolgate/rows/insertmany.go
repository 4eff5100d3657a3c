package rows

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

var (
	// ErrNoPrimaryKey is the error of [InsertMany] for a table that has no
	// primary key, such as a view.
	ErrNoPrimaryKey = errors.New("rows: InsertMany needs a primary key to find its rows")
	// ErrRowsChanged is the error of [InsertMany] if a trigger stored fewer rows
	// than were given, or stored them under other keys.
	ErrRowsChanged = errors.New("rows: InsertMany cannot find all rows by their keys, because a trigger changed or dropped some")
)

// InsertMany stores many rows in one statement, in PostgreSQL, and returns what
// became of them: out[i] is the row of in[i], with its generated key and its defaults.
//
//	stored, err := rows.InsertMany[User](ctx, db, "users", []NewUser{{Name: "Ada"}, {Name: "Alan"}})
//	ids, err := rows.InsertMany[int64](ctx, db, "users", []string{"Ada", "Alan"}, "name")
//
// columns are the columns to store. Without them InsertMany stores all fields
// of In, and a field for which the table has no column is an error. A column
// that is not stored gets its default. Out is read from the columns of the table
// that it has a field for; if it is not a struct, from the primary key. In and
// Out may be one type: then columns leave out the key, which is still zero.
//
// table is a name as in SQL: a, "public.a", or `"Mixed Case"`. It needs a
// primary key, whose columns are either stored or have a default (serial,
// identity, gen_random_uuid() and the like), because PostgreSQL does not promise
// the order of RETURNING and InsertMany finds each row by its key. Generated
// keys rise in the order of in. If the key is an identity, the caller needs the
// right to use its sequence.
//
// InsertMany stores what INSERT stores with the same driver in its default mode,
// or returns an error. A field is what the driver package's
// DefaultParameterConverter accepts: a number, a string, a []byte, a bool, a
// time.Time or a driver.Valuer, or a pointer to one of them, which is NULL if it
// is nil. A slice is an array, a time.Duration an interval, and for a json or
// jsonb column any slice, map or struct is marshaled. The server converts from
// text, so json, uuid, numeric or an enum may be strings. Values that drivers
// store in different ways are an error: for example a time.Time in a text
// column, a nil slice inside a slice, or a number with a String method in a
// column that is not a number.
//
// All rows are stored or none. Two errors come after the statement, so roll back
// the transaction: [ErrRowsChanged], and the [*ColumnError] of a stored value
// that does not fit into its field of Out. The rows are in memory as text, one
// array per column, so the limit of 65,535 parameters does not apply; one array
// may have up to a gigabyte. Without rows InsertMany does nothing.
//
// InsertMany first asks the server for the table's columns, which is one more
// round trip. On a *poolgate.DB or an *sql.DB of pgxgate it remembers them: from the
// second call for a table it sends one round trip, in which a statement before the
// INSERT checks that the table is still the same. If it is not, that statement fails
// with a division by zero, which only the server's log shows, nothing is stored, and
// InsertMany asks again. In a transaction it asks each time, since a failure would
// end that. Several InsertMany in one gather that is gather.Pipelined ask together.
func InsertMany[Out, In any](ctx context.Context, q Queryer, table string, in []In, columns ...string) (out []Out, err error) {
	if len(in) == 0 {
		return []Out{}, nil
	}
	out, stored, err := insertAtOnce[Out](ctx, q, table, in, columns)
	if !stored {
		out, err = insertAfterLookUp[Out](ctx, q, table, in, columns)
	}
	switch {
	case err != nil:
		return nil, err
	case len(out) != len(in):
		return nil, fmt.Errorf("%w: %d rows were given, and %d found", ErrRowsChanged, len(in), len(out))
	}
	return out, nil
}

func insertAfterLookUp[Out, In any](ctx context.Context, q Queryer, name string, in []In, columns []string) ([]Out, error) {
	known, err := lookUp(ctx, q, name)
	if err != nil {
		return nil, err
	}
	query, args, err := insertion[Out](known, in, columns)
	if err != nil {
		return nil, err
	}
	tables.remember(q, name, known)
	return Collect[Out](ctx, q, query, args...)
}

// insertion returns the statement that stores in, and its arguments.
func insertion[Out, In any](t table, in []In, columns []string) (query string, args []any, err error) {
	from, err := newSource[In](t, columns)
	if err != nil {
		return "", nil, err
	}
	returned, err := returnedBy[Out](t)
	if err != nil {
		return "", nil, err
	}
	if query, err = t.insert(from.columns, returned); err != nil {
		return "", nil, err
	}
	arrays, err := from.arrays(in)
	if err != nil {
		return "", nil, err
	}
	if err := refuseNull[Out](returned, from.columns, arrays); err != nil {
		return "", nil, err
	}
	for i := range arrays {
		args = append(args, arrays[i].String())
	}
	return query, args, nil
}

// returnedBy returns the columns of t that an Out is read from.
func returnedBy[Out any](t table) ([]column, error) {
	var returned []column
	typ := base(reflect.TypeFor[Out]())
	if isColumns(typ) {
		m, err := newLenientMapper(typ, t.names())
		if err != nil {
			return nil, err
		}
		returned, _, err = m.found(reflect.New(typ).Elem(), t)
		if err == nil && len(returned) == 0 {
			err = fmt.Errorf("rows: %v has a field for no column of %s", typ, t[0].Table)
		}
		return returned, err
	}
	for _, c := range t {
		if c.Key {
			returned = append(returned, c)
		}
	}
	if len(returned) > 1 {
		return nil, fmt.Errorf("rows: a %v takes one column, and the primary key of %s has %d: use a struct", typ, t[0].Table, len(returned))
	}
	return returned, nil
}

// refuseNull returns an error if Out could not be read because a column is NULL.
// The error comes before the rows are stored.
func refuseNull[Out any](returned, given []column, arrays []array) error {
	t, err := newTarget[Out](table(returned).names())
	if err != nil {
		return err
	}
	defer t.release()
	for i, c := range returned {
		j := slices.IndexFunc(given, func(g column) bool { return g.Name == c.Name })
		if j >= 0 && arrays[j].nulls > 0 && !isNullable(reflect.TypeOf(t.dest[i]).Elem()) {
			return fmt.Errorf("rows: InsertMany: row %d: %w", arrays[j].null, t.columnError(i, ErrNull))
		}
	}
	return nil
}

// found returns the columns of t that value has a field for, and pointers to
// these fields.
func (m *mapper) found(value reflect.Value, t table) (columns []column, places []any, err error) {
	dest, err := m.dest(value)
	if err != nil {
		return nil, nil, err
	}
	for i, d := range dest {
		if !isSink(d) {
			columns, places = append(columns, t[i]), append(places, d)
		}
	}
	return columns, places, nil
}

// A source takes the values of the columns out of Ins.
type source[In any] struct {
	columns []column
	value   reflect.Value // a copy of the current In, or of what it points to
	places  []any         // pointers into value, one for each column
}

func newSource[In any](t table, names []string) (*source[In], error) {
	var given table
	for _, name := range names {
		i := slices.IndexFunc(t, func(c column) bool { return c.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("rows: %s has no column %q", t[0].Table, name)
		}
		given = append(given, t[i])
	}
	typ := base(reflect.TypeFor[In]())
	s := &source[In]{columns: given, value: reflect.New(typ).Elem()}
	if !isColumns(typ) && len(given) == 1 {
		s.places = []any{s.value.Addr().Interface()}
		return s, nil
	}
	if typ.Kind() != reflect.Struct || isValue(typ) {
		return nil, fmt.Errorf("rows: InsertMany takes structs, or values of one column that is named; it got %v and %d columns", typ, len(given))
	}
	if len(names) == 0 {
		given = t
	}
	m, err := newLenientMapper(typ, given.names())
	if err != nil {
		return nil, err
	}
	if s.columns, s.places, err = m.found(s.value, given); err != nil {
		return nil, err
	}
	for i, p := range s.places {
		if !within(s.value, reflect.ValueOf(p)) {
			return nil, fmt.Errorf("rows: InsertMany: %v has column %q behind a pointer to a struct: use the struct itself", typ, s.columns[i].Name)
		}
	}
	if len(names) > 0 {
		return s, m.refuseUnknown(typ)
	}
	return s, s.refuseUnstored(s.value, typ.Name(), t[0].Table)
}

// refuseUnstored returns an error if a field would silently be left out.
func (s *source[In]) refuseUnstored(value reflect.Value, path, table string) error {
	for i := range value.NumField() {
		field := value.Type().Field(i)
		if !isMapped(field) || field.Type == allowUnknownType {
			continue
		}
		name := strings.TrimPrefix(path+"."+field.Name, ".")
		if field.Anonymous && field.Type.Kind() == reflect.Struct {
			if err := s.refuseUnstored(value.Field(i), name, table); err != nil {
				return err
			}
			continue
		}
		if !slices.ContainsFunc(s.places, func(p any) bool { return within(value.Field(i), reflect.ValueOf(p)) }) {
			return fmt.Errorf("rows: %s has no column for %s: tag it with `db:\"-\"`, or say which columns to store", table, name)
		}
	}
	return nil
}

// arrays returns the rows of in as one array for each column.
func (s *source[In]) arrays(in []In) ([]array, error) {
	arrays := make([]array, len(s.columns))
	for i, c := range s.columns {
		arrays[i].to = c.kind
	}
	places := make([]reflect.Value, len(s.places))
	for i, p := range s.places {
		places[i] = reflect.ValueOf(p).Elem()
	}
	for n := range in {
		row := reflect.ValueOf(&in[n]).Elem()
		if row.Type() != s.value.Type() {
			if row.IsNil() {
				return nil, fmt.Errorf("rows: InsertMany: row %d is a nil %v", n, row.Type())
			}
			row = row.Elem()
		}
		s.value.Set(row)
		for i, p := range places {
			if err := arrays[i].add(p.Interface()); err != nil {
				return nil, fmt.Errorf("rows: InsertMany: row %d, column %q: %w", n, s.columns[i].Name, err)
			}
		}
	}
	return arrays, nil
}
