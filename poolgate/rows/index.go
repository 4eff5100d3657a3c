package rows

import (
	"database/sql/driver"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// An index numbers keys in the order in which they are added. Keys that are the
// same value for the database have the same number.
type index[K comparable] struct {
	exact map[K]int   // if the equality of K is that of the database, otherwise nil
	same  map[any]int // by identity, if exact is nil

	// alike has the keys by likeness. It is filled when a key is not found.
	alike map[string]int
	keys  []K
}

func newIndex[K comparable]() *index[K] {
	x := &index[K]{}
	typ := reflect.TypeFor[K]()
	switch typ.Kind() {
	case reflect.Bool, reflect.String,
		reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		if !typ.Implements(reflect.TypeFor[driver.Valuer]()) {
			x.exact = map[K]int{}
			return x
		}
	}
	x.same = map[any]int{}
	return x
}

func (x *index[K]) len() int { return len(x.keys) }

// add returns the number of k and whether it is new. It returns an error if no
// driver accepts k as an argument.
func (x *index[K]) add(k K) (n int, added bool, err error) {
	if x.exact != nil {
		if n, ok := x.exact[k]; ok {
			return n, false, nil
		}
		x.exact[k] = len(x.keys)
	} else {
		id, err := identity(k)
		if err != nil {
			return 0, false, err
		}
		if n, ok := x.same[id]; ok {
			return n, false, nil
		}
		x.same[id] = len(x.keys)
	}
	x.keys = append(x.keys, k)
	return len(x.keys) - 1, true, nil
}

// find returns the number of the key that is equal to k, or else like it.
func (x *index[K]) find(k K) (n int, ok bool) {
	if x.exact != nil {
		n, ok = x.exact[k]
	} else if id, err := identity(k); err == nil {
		n, ok = x.same[id]
	}
	if ok {
		return n, true
	}
	if x.alike == nil {
		x.alike = make(map[string]int, len(x.keys))
		for i, k := range x.keys {
			if s, ok := likeness(k); ok {
				if _, taken := x.alike[s]; !taken {
					x.alike[s] = i
				}
			}
		}
	}
	s, ok := likeness(k)
	if ok {
		n, ok = x.alike[s]
	}
	return n, ok
}

// An instant is a time.Time as PostgreSQL stores it. The == of a time.Time
// compares its zone and its monotonic clock too.
type instant struct {
	seconds      int64
	microseconds int
}

// identity returns a value whose == is the equality of the database.
func identity(k any) (any, error) {
	v, err := driver.DefaultParameterConverter.ConvertValue(k)
	switch v := v.(type) {
	case time.Time:
		return instant{v.Unix(), v.Nanosecond() / 1000}, err
	case []byte:
		if v == nil {
			return nil, err
		}
		return string(v), err
	case float64:
		if v != v { // NaN is equal to itself in PostgreSQL
			return "NaN", err
		}
	}
	return v, err
}

// likeness returns what keys have in common that the database may find equal
// although their text differs.
func likeness(k any) (string, bool) {
	v, err := driver.DefaultParameterConverter.ConvertValue(k)
	if err != nil {
		return "", false
	}
	var s string
	switch v := v.(type) {
	case time.Time:
		return v.Format("2006-01-02 15:04:05.999999"), true
	case []byte:
		s = string(v)
	case string:
		s = v
	case int64:
		s = strconv.FormatInt(v, 10)
	case float64:
		s = strconv.FormatFloat(v, 'f', -1, 64)
	default:
		return "", false
	}
	s = strings.ToLower(strings.TrimRight(s, " "))
	if digits := strings.TrimLeft(s, "-0123456789"); strings.HasPrefix(digits, ".") && strings.Trim(digits[1:], "0123456789") == "" {
		s = strings.TrimSuffix(strings.TrimRight(s, "0"), ".")
	}
	return s, true
}
