package poolgatetest

import (
	"database/sql/driver"
	"io"
	"reflect"
	"slices"
)

// rows are the rows of a statement, read to the end: they may have several
// results.
type rows struct {
	results []result
	at      int
	next    int // row of the result
}

// A result is one set of rows, and the error that it ended with, or io.EOF.
type result struct {
	columns []column
	values  [][]driver.Value
	err     error
}

// A column is what a driver says of it. What it does not say has the value that
// database/sql would give it.
type column struct {
	name                  string
	typeName              string
	scanType              reflect.Type
	length                int64
	hasLength             bool
	nullable, hasNullable bool
	precision, scale      int64
	hasPrecision          bool
}

// readAll reads and closes inner.
func readAll(inner driver.Rows) *rows {
	r := &rows{}
	for {
		r.results = append(r.results, readResult(inner))
		last := &r.results[len(r.results)-1]
		more, ok := inner.(driver.RowsNextResultSet)
		if last.err != io.EOF || !ok || !more.HasNextResultSet() {
			break
		}
		if err := more.NextResultSet(); err != nil {
			if err != io.EOF {
				last.err = err
			}
			break
		}
	}
	if err := inner.Close(); err != nil && r.failed() == nil {
		r.fail(err)
	}
	return r
}

func readResult(inner driver.Rows) result {
	r := result{columns: columnsOf(inner)}
	for {
		values := make([]driver.Value, len(r.columns))
		if r.err = inner.Next(values); r.err != nil {
			return r
		}
		for i, v := range values {
			if b, ok := v.([]byte); ok { // which the driver may overwrite
				values[i] = slices.Clone(b)
			}
		}
		r.values = append(r.values, values)
	}
}

func columnsOf(inner driver.Rows) []column {
	columns := make([]column, len(inner.Columns()))
	for i, name := range inner.Columns() {
		c := column{name: name, scanType: reflect.TypeFor[any]()}
		if r, ok := inner.(driver.RowsColumnTypeDatabaseTypeName); ok {
			c.typeName = r.ColumnTypeDatabaseTypeName(i)
		}
		if r, ok := inner.(driver.RowsColumnTypeScanType); ok {
			c.scanType = r.ColumnTypeScanType(i)
		}
		if r, ok := inner.(driver.RowsColumnTypeLength); ok {
			c.length, c.hasLength = r.ColumnTypeLength(i)
		}
		if r, ok := inner.(driver.RowsColumnTypeNullable); ok {
			c.nullable, c.hasNullable = r.ColumnTypeNullable(i)
		}
		if r, ok := inner.(driver.RowsColumnTypePrecisionScale); ok {
			c.precision, c.scale, c.hasPrecision = r.ColumnTypePrecisionScale(i)
		}
		columns[i] = c
	}
	return columns
}

// failed returns the error that the rows end with, if any.
func (r *rows) failed() error {
	if err := r.results[len(r.results)-1].err; err != io.EOF {
		return err
	}
	return nil
}

// fail has the rows end with err.
func (r *rows) fail(err error) { r.results[len(r.results)-1].err = err }

func (r *rows) column(i int) column { return r.results[r.at].columns[i] }

func (r *rows) Columns() []string {
	var names []string
	for _, c := range r.results[r.at].columns {
		names = append(names, c.name)
	}
	return names
}

func (r *rows) Close() error { return nil }

func (r *rows) Next(into []driver.Value) error {
	result := r.results[r.at]
	if r.next == len(result.values) {
		return result.err
	}
	copy(into, result.values[r.next])
	r.next++
	return nil
}

func (r *rows) HasNextResultSet() bool { return r.at+1 < len(r.results) }

func (r *rows) NextResultSet() error {
	if !r.HasNextResultSet() {
		return io.EOF
	}
	r.at, r.next = r.at+1, 0
	return nil
}

func (r *rows) ColumnTypeDatabaseTypeName(i int) string { return r.column(i).typeName }
func (r *rows) ColumnTypeScanType(i int) reflect.Type   { return r.column(i).scanType }

func (r *rows) ColumnTypeLength(i int) (int64, bool) {
	c := r.column(i)
	return c.length, c.hasLength
}

func (r *rows) ColumnTypeNullable(i int) (nullable, ok bool) {
	c := r.column(i)
	return c.nullable, c.hasNullable
}

func (r *rows) ColumnTypePrecisionScale(i int) (precision, scale int64, ok bool) {
	c := r.column(i)
	return c.precision, c.scale, c.hasPrecision
}
