package rows

import (
	"database/sql/driver"
	"encoding"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// An array is PostgreSQL's text for one, such as {1,NULL,"a"}. Every driver
// sends text, and the server reads it as an array of the type that it wants
// there. So an array counts as one parameter, where a list of values is limited
// by the 65,535 parameters of a statement, and it does not depend on which
// slices a driver accepts.
type array struct {
	text []byte
	to   kind // of the elements

	n, nulls int // how many elements there are, and how many of them are NULL
	null     int // the first of these
}

// A kind is what the text of a column's values depends on. The zero kind means
// that it is not known.
type kind struct {
	Element  string // the name of a built-in type; of the elements if Array
	Category string // of that type, see pg_type.typcategory
	Array    bool
	Domain   bool // or of a domain
	Rounds   bool // whether the driver leaves the rounding of times to the server, or cuts off nanoseconds
}

func (k kind) json() bool { return k.Element == "json" || k.Element == "jsonb" }

// add appends an element: a value that a driver accepts as an argument, a slice
// for an array, or anything for JSON.
func (a *array) add(v any) error {
	a.comma()
	a.n++
	converted, err := driver.DefaultParameterConverter.ConvertValue(v)
	if err == nil {
		if _, ok := converted.([]byte); ok && a.to.Array && !isValuer(v) {
			return a.ambiguous(v)
		}
		return a.addValue(v, converted)
	}
	s := reflect.Indirect(reflect.ValueOf(v))
	switch {
	case s.CanUint(): // more than an int64 has
		return a.addUint(v, s.Uint(), err)
	case (s.Kind() == reflect.Slice || s.Kind() == reflect.Map) && s.IsNil():
		return a.addValue(v, nil)
	case a.to.Array && s.Kind() == reflect.Slice:
		inner := array{to: a.to}
		inner.to.Array = false
		n, err := inner.addSlice(s)
		if err != nil {
			return err
		}
		if n == 0 {
			inner.text = []byte("{}") // PostgreSQL has no {{},{}}
		}
		a.quote(string(inner.text))
		return nil
	case a.to.json() && !a.to.Array && !a.to.Domain:
		return a.addJSON(v, err)
	case s.Kind() == reflect.Slice:
		return fmt.Errorf("a %T needs an array or a json column", v)
	}
	return err
}

func (a *array) comma() {
	if len(a.text) == 0 {
		a.text = append(a.text, '{')
	} else if a.text[len(a.text)-1] != '{' {
		a.text = append(a.text, ',')
	}
}

// addValue appends v, which package driver made of original. It returns an error
// for values that drivers store in different ways.
func (a *array) addValue(original any, v driver.Value) error {
	start := len(a.text)
	switch v := v.(type) {
	case nil:
		a.addNull()
		return nil
	case int64:
		if d, ok := duration(original); ok && a.to.Element == "interval" {
			a.quote(strconv.FormatInt(d.Microseconds(), 10) + " microseconds")
			return nil
		}
		a.text = strconv.AppendInt(a.text, v, 10)
	case float64:
		a.text = strconv.AppendFloat(a.text, v, 'f', -1, 64)
	case bool:
		a.text = strconv.AppendBool(a.text, v)
	case string:
		if a.to.Element == "bytea" && strings.Contains(v, `\`) {
			return a.ambiguous(original)
		}
		a.quote(v)
	case time.Time:
		switch {
		case a.to.json():
			return a.addJSON(v, nil)
		case a.to.Category != "" && a.to.Category != "D" || a.to.Element == "timetz":
			return a.ambiguous(original)
		}
		a.quote(timestamp(v, a.to))
		return nil
	case []byte:
		switch {
		case v == nil:
			a.addNull()
			return nil
		case a.to.Element == "bytea":
			a.quote(`\x` + hex.EncodeToString(v))
		default:
			a.quote(string(v))
		}
	default:
		return fmt.Errorf("a %T has no text in PostgreSQL", v)
	}
	if !a.agreed(original, v, a.text[start:]) {
		return a.ambiguous(original)
	}
	return nil
}

func (a *array) addNull() {
	a.text = append(a.text, "NULL"...)
	if a.nulls++; a.nulls == 1 {
		a.null = a.n - 1
	}
}

// agreed reports whether all drivers send original as this text. Drivers that
// convert Go types themselves have other conventions for text, JSON and XML than
// those that rely on database/sql.
func (a *array) agreed(original any, v driver.Value, text []byte) bool {
	_, isString := v.(string)
	_, isBytes := v.([]byte)
	if a.to.Domain && reflect.Indirect(reflect.ValueOf(original)).Kind() == reflect.Float32 {
		return false
	}
	switch a.to.Category {
	case "", "N", "B": // not known, numbers, booleans
		return true
	}
	switch a.to.Element {
	case "bytea", "xml", "char":
		if !isString && !isBytes {
			return false
		}
	}
	if _, isBool := v.(bool); a.to.Domain && (isBool || isBytes && a.to.Element != "bytea") {
		return false
	}
	if isValuer(original) {
		return true
	}
	if a.to.json() {
		_, isMarshaler := original.(json.Marshaler)
		_, isText := original.(encoding.TextMarshaler)
		_, isRaw := original.(json.RawMessage)
		return (!isMarshaler && !isText || isRaw) && reflect.Indirect(reflect.ValueOf(original)).Kind() != reflect.Float32
	}
	if s, ok := original.(fmt.Stringer); ok && (!isBytes || a.to.Domain) {
		return s.String() == v || s.String() == string(text)
	}
	return true
}

func (a *array) ambiguous(v any) error {
	to := a.to.Element
	if a.to.Array {
		to = "array"
	}
	return fmt.Errorf("drivers differ in what they store for a %T in a column of type %s: make it a string or a []byte, or give it a Value method", v, to)
}

func (a *array) addUint(original any, v uint64, cause error) error {
	if a.to.Category != "N" {
		return cause
	}
	a.text = strconv.AppendUint(a.text, v, 10)
	return nil
}

// addJSON appends v as JSON. If v cannot be marshaled, the error is cause, or
// that of package json if cause is nil.
func (a *array) addJSON(v any, cause error) error {
	text, err := json.Marshal(v)
	if err != nil {
		if cause != nil {
			err = cause
		}
		return err
	}
	a.quote(string(text))
	return nil
}

// addSlice appends the elements of s. Slices among them are a further dimension.
// It returns the number of elements in all dimensions.
func (a *array) addSlice(s reflect.Value) (n int, err error) {
	a.text = append(a.text, '{')
	for i := range s.Len() {
		v := s.Index(i).Interface()
		a.comma()
		inner := reflect.Indirect(reflect.ValueOf(v))
		converted, err := driver.DefaultParameterConverter.ConvertValue(v)
		switch {
		case err == nil:
			n++
			err = a.addElement(v, converted)
		case inner.CanUint():
			n++
			err = a.addUint(v, inner.Uint(), err)
		case inner.Kind() == reflect.Slice && (inner.IsNil() || a.to.json()):
			err = a.ambiguous(v)
		case inner.Kind() == reflect.Slice:
			var m int
			m, err = a.addSlice(inner)
			n += m
		case a.to.json():
			n++
			err = a.addJSON(v, err)
		}
		if err != nil {
			return n, err
		}
	}
	a.text = append(a.text, '}')
	return n, nil
}

// addElement is addValue for an element of a slice, where drivers agree on less.
func (a *array) addElement(original any, v driver.Value) error {
	number := a.to.Category == "N" || a.to.Category == "B"
	switch reflect.Indirect(reflect.ValueOf(original)).Kind() {
	case reflect.Float32:
		if a.to.Element != "float4" {
			return a.ambiguous(original)
		}
	case reflect.Bool:
		if !number && !a.to.json() {
			return a.ambiguous(original)
		}
	}
	return a.addValue(original, v)
}

func (a *array) quote(s string) {
	a.text = append(a.text, '"')
	for {
		i := strings.IndexAny(s, `"\`)
		if i < 0 {
			break
		}
		a.text = append(append(a.text, s[:i]...), '\\', s[i])
		s = s[i+1:]
	}
	a.text = append(append(a.text, s...), '"')
}

// String returns the array, as an argument.
func (a *array) String() string {
	if len(a.text) == 0 {
		return "{}"
	}
	return string(a.text) + "}"
}

func isValuer(v any) bool { _, ok := v.(driver.Valuer); return ok }

func duration(v any) (time.Duration, bool) {
	switch d := v.(type) {
	case time.Duration:
		return d, true
	case *time.Duration:
		return *d, true
	}
	return 0, false
}

// timestamp returns t for any of PostgreSQL's date and time types. Types without
// a zone get the time on t's own clock, as with both drivers.
func timestamp(t time.Time, to kind) string {
	if to.Element == "timestamptz" {
		t = t.UTC() // PostgreSQL refuses zones that are 16 hours away or more
	}
	layout := "01-02 15:04:05.999999Z07:00:00"
	if to.Rounds {
		layout = "01-02 15:04:05.999999999Z07:00:00"
	}
	year, era := t.Year(), ""
	if year <= 0 { // PostgreSQL has no year 0
		year, era = 1-year, " BC"
	}
	return fmt.Sprintf("%04d-%s%s", year, t.Format(layout), era)
}
