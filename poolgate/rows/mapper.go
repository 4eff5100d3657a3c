package rows

import (
	"database/sql"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/georgysavva/scany/v2/dbscan"
)

// AllowUnknown is embedded in a struct to ignore columns for which the struct
// has no field. Without it they are an error.
//
//	type Row struct {
//		rows.AllowUnknown
//		ID int64
//	}
//
// It takes no memory. If you cannot change the struct, embed both in one of your
// own.
type AllowUnknown struct{}

var (
	timeType         = reflect.TypeFor[time.Time]()
	scannerType      = reflect.TypeFor[sql.Scanner]()
	allowUnknownType = reflect.TypeFor[AllowUnknown]()
)

// scany finds the field of each column. It ignores unknown columns, because the
// mapper refuses them with its own error.
var scany = func() *dbscan.API {
	api, err := dbscan.NewAPI(
		dbscan.WithScannableTypes((*sql.Scanner)(nil)),
		dbscan.WithAllowUnknownColumns(true),
	)
	if err != nil {
		panic(err) // the options are constant
	}
	return api
}()

// A mapper finds the place of each column in a struct or a map. It has scany
// scan a row and records the destinations that scany chooses.
type mapper struct {
	scanner *dbscan.RowScanner
	capture *capture
	values  []reflect.Value // for a map: one value per column
}

// A capture stands for the rows of a query. It records where scany scans them.
type capture struct {
	columns []string
	dest    []any // the arguments of the last call of Scan
}

func (c *capture) Columns() ([]string, error) { return c.columns, nil }
func (c *capture) Scan(dest ...any) error     { c.dest = dest; return nil }
func (c *capture) Next() bool                 { return true }
func (c *capture) NextResultSet() bool        { return false }
func (c *capture) Err() error                 { return nil }
func (c *capture) Close() error               { return nil }

// newMapper returns the mapper of a struct or a map. It refuses columns for
// which a struct has no field.
func newMapper(typ reflect.Type, columns []string) (*mapper, error) {
	m, err := newLenientMapper(typ, columns)
	if err != nil || typ.Kind() == reflect.Map {
		return m, err
	}
	return m, m.refuseUnknown(typ)
}

func newLenientMapper(typ reflect.Type, columns []string) (*mapper, error) {
	seen := make(map[string]bool, len(columns))
	for _, column := range columns {
		if seen[column] {
			return nil, &ColumnError{Column: column, Type: typ, Err: ErrDuplicateColumn}
		}
		seen[column] = true
	}
	if !isColumns(typ) {
		return nil, fmt.Errorf("rows: a %v takes one column, and the query has %d (%s)",
			typ, len(columns), strings.Join(columns, ", "))
	}
	if typ.Kind() == reflect.Struct {
		if err := checkFields(typ, nil); err != nil {
			return nil, err
		}
	}
	c := &capture{columns: columns}
	return &mapper{capture: c, scanner: scany.NewRowScanner(c)}, nil
}

// isColumns reports whether typ takes several columns, each by its name. Other
// types take one column of any name.
func isColumns(typ reflect.Type) bool {
	switch typ.Kind() {
	case reflect.Struct:
		return !isValue(typ)
	case reflect.Map:
		return typ.Key().Kind() == reflect.String && !isValue(typ)
	}
	return false
}

// isValue reports whether typ takes one column as a whole although it may be a
// struct or a map.
func isValue(typ reflect.Type) bool {
	return typ.Kind() == reflect.Struct && typ.ConvertibleTo(timeType) || isScanner(reflect.PointerTo(typ))
}

func isScanner(pointer reflect.Type) bool { return pointer.Implements(scannerType) }

// checkFields refuses what scany cannot handle: a struct that contains itself,
// and a nil pointer that reflection cannot set. path are the structs around typ.
func checkFields(typ reflect.Type, path []reflect.Type) error {
	path = append(path, typ)
	for i := range typ.NumField() {
		field := typ.Field(i)
		inner := field.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if !isMapped(field) || inner.Kind() != reflect.Struct {
			continue
		}
		if slices.Contains(path, inner) {
			return fmt.Errorf("rows: %v.%s is a %v inside itself, whose columns would never end: tag it with `db:\"-\"`", typ, field.Name, inner)
		}
		if !field.IsExported() && inner != field.Type {
			return fmt.Errorf("rows: %v.%s is a pointer that cannot be set from outside its package: embed the struct itself", typ, field.Name)
		}
		if err := checkFields(inner, path); err != nil {
			return err
		}
	}
	return nil
}

// isMapped reports whether scany uses a field.
func isMapped(field reflect.StructField) bool {
	tag, _, _ := strings.Cut(field.Tag.Get("db"), ",")
	return tag != "-" && (field.IsExported() || field.Anonymous)
}

func (m *mapper) refuseUnknown(typ reflect.Type) error {
	if slices.ContainsFunc(reflect.VisibleFields(typ), func(f reflect.StructField) bool {
		return f.Anonymous && f.Type == allowUnknownType
	}) {
		return nil
	}
	dest, err := m.dest(reflect.New(typ).Elem())
	if err != nil {
		return err
	}
	for i, d := range dest {
		if isSink(d) {
			return &ColumnError{Column: m.capture.columns[i], Type: typ, Err: ErrUnknownColumn}
		}
	}
	return nil
}

// sinkType is the type of the destination that scany chooses for an unknown
// column.
var sinkType = func() reflect.Type {
	c := &capture{columns: []string{"unknown"}}
	if err := scany.NewRowScanner(c).Scan(new(struct{})); err != nil {
		panic(err) // unknown columns are allowed
	}
	return reflect.TypeOf(c.dest[0])
}()

// isSink reports whether dest is the destination of an unknown column.
func isSink(dest any) bool { return reflect.TypeOf(dest) == sinkType }

// dest returns the destinations in value of the columns of a row.
func (m *mapper) dest(value reflect.Value) ([]any, error) {
	if value.Kind() == reflect.Map {
		return m.mapDest(value.Type().Elem()), nil
	}
	if err := m.scanner.Scan(value.Addr().Interface()); err != nil {
		return nil, fmt.Errorf("rows: %w", err)
	}
	return m.capture.dest, nil
}

func (m *mapper) mapDest(typ reflect.Type) []any {
	m.values = m.values[:0]
	dest := make([]any, len(m.capture.columns))
	for i := range dest {
		p := reflect.New(typ)
		m.values = append(m.values, p.Elem())
		dest[i] = p.Interface()
	}
	return dest
}

// finish puts the scanned values into a map.
func (m *mapper) finish(value reflect.Value) {
	if value.Kind() != reflect.Map {
		return
	}
	value.Set(reflect.MakeMapWithSize(value.Type(), len(m.values)))
	for i, v := range m.values {
		value.SetMapIndex(reflect.ValueOf(m.capture.columns[i]).Convert(value.Type().Key()), v)
	}
	m.values = m.values[:0]
}

// stays reports whether dest is the same for every row that is scanned into
// value, because all of it is inside value.
func (m *mapper) stays(value reflect.Value, dest []any) bool {
	return !slices.ContainsFunc(dest, func(d any) bool { return !isSink(d) && !within(value, reflect.ValueOf(d)) })
}

// within reports whether pointer points into value.
func within(value, pointer reflect.Value) bool {
	start, p := value.Addr().Pointer(), pointer.Pointer()
	if value.Type().Size() == 0 { // other fields may have its address
		return p == start && (value.Type() == pointer.Type().Elem() || isColumns(value.Type()))
	}
	return p >= start && p-start < value.Type().Size()
}

// fieldName returns the path of the field that pointer points to, such as
// ".Author.Name", or "" if value has none.
func fieldName(value, pointer reflect.Value) string {
	if value.Kind() == reflect.Pointer {
		value = value.Elem()
	}
	if value.Kind() != reflect.Struct {
		return ""
	}
	for i := range value.NumField() {
		field, name := value.Field(i), "."+value.Type().Field(i).Name
		if field.Addr().Pointer() == pointer.Pointer() && field.Type() == pointer.Type().Elem() {
			return name
		}
		if rest := fieldName(field, pointer); rest != "" {
			return name + rest
		}
	}
	return ""
}

// A plan keeps targets for one T and one list of columns.
type plan[T any] struct {
	columns []string
	targets sync.Pool // of *target[T]
}

// mostPlans is how many plans are kept for a type. Further lists of columns get
// a plan that is not kept.
const mostPlans = 64

// plans maps the type of each T to its *atomic.Pointer[[]*plan[T]].
var plans sync.Map

func planFor[T any](columns []string) *plan[T] {
	typ := reflect.TypeFor[T]()
	known, ok := plans.Load(typ)
	if !ok {
		known, _ = plans.LoadOrStore(typ, new(atomic.Pointer[[]*plan[T]]))
	}
	list := known.(*atomic.Pointer[[]*plan[T]])
	for {
		old := list.Load()
		var all []*plan[T]
		if old != nil {
			all = *old
		}
		for _, p := range all {
			if slices.Equal(p.columns, columns) {
				return p
			}
		}
		p := &plan[T]{columns: slices.Clone(columns)}
		if len(all) == mostPlans {
			return p
		}
		all = append(slices.Clip(all), p)
		if list.CompareAndSwap(old, &all) {
			return p
		}
	}
}
