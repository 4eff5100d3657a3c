package rows

import (
	"database/sql/driver"
	"encoding/hex"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// An array is PostgreSQL's text for one, such as {1,NULL,"a"}. Every driver
// sends text, and the server reads it as an array of whatever type it wants
// there: so an array counts as one parameter, where a list of values is bound
// by the 65,535 parameters of a statement, and where drivers differ in the
// slices that they take.
type array struct {
	text []byte
	// bytea has []byte written as bytea wants it, and not as what it is, such
	// as JSON.
	bytea bool
}

// add appends an element: what a driver takes as an argument, or a slice of
// that.
func (a *array) add(v any) error {
	a.comma()
	converted, err := driver.DefaultParameterConverter.ConvertValue(v)
	if err != nil {
		if s, ok := sliceIn(v); ok { // one value, of which the server makes an array later
			if s.IsNil() {
				return a.addValue(nil)
			}
			inner := array{bytea: a.bytea}
			if err := inner.addSlice(s); err != nil {
				return err
			}
			a.quote(string(inner.text))
			return nil
		}
		return err
	}
	return a.addValue(converted)
}

func (a *array) comma() {
	if len(a.text) == 0 {
		a.text = append(a.text, '{')
	} else if a.text[len(a.text)-1] != '{' {
		a.text = append(a.text, ',')
	}
}

func (a *array) addValue(v driver.Value) error {
	switch v := v.(type) {
	case nil:
		a.text = append(a.text, "NULL"...)
	case int64:
		a.text = strconv.AppendInt(a.text, v, 10)
	case float64:
		a.text = strconv.AppendFloat(a.text, v, 'g', -1, 64)
	case bool:
		a.text = strconv.AppendBool(a.text, v)
	case string:
		a.quote(v)
	case time.Time:
		a.quote(timestamp(v))
	case []byte:
		switch {
		case v == nil:
			a.text = append(a.text, "NULL"...)
		case a.bytea:
			a.quote(`\x` + hex.EncodeToString(v))
		default:
			a.quote(string(v))
		}
	default:
		return fmt.Errorf("a %T has no text in PostgreSQL", v)
	}
	return nil
}

// addSlice appends the elements of s, and slices among them as a dimension.
func (a *array) addSlice(s reflect.Value) error {
	a.text = append(a.text, '{')
	for i := range s.Len() {
		v := s.Index(i).Interface()
		a.comma()
		converted, err := driver.DefaultParameterConverter.ConvertValue(v)
		if err == nil {
			err = a.addValue(converted)
		} else if inner, ok := sliceIn(v); ok {
			err = a.addSlice(inner)
		}
		if err != nil {
			return err
		}
	}
	a.text = append(a.text, '}')
	return nil
}

func sliceIn(v any) (reflect.Value, bool) {
	s := reflect.Indirect(reflect.ValueOf(v))
	return s, s.Kind() == reflect.Slice
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

// timestamp returns t for any of PostgreSQL's date and time types. Those
// without a zone take the time on t's own clock, as both drivers have it.
func timestamp(t time.Time) string {
	era := ""
	if t.Year() <= 0 { // PostgreSQL has no year 0
		t, era = t.AddDate(1-2*t.Year(), 0, 0), " BC"
	}
	return t.Format("2006-01-02 15:04:05.999999999Z07:00:00") + era
}
