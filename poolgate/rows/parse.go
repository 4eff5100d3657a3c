package rows

import (
	"encoding/hex"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// assignArray sets dest, a slice or an array, to the elements of PostgreSQL's
// text for an array. typ is the type of the elements, such as "INT4".
func assignArray(dest reflect.Value, text, typ string) error {
	p := arrayParser{text: text, typ: typ}
	if m := bounds.FindString(text); m != "" {
		p.text = text[len(m):]
	}
	if err := p.array(dest); err != nil {
		return err
	}
	if p.text != "" {
		return errArray
	}
	return nil
}

var (
	errArray = errors.New("not the text of an array")

	// bounds precede an array whose indices do not start at 1.
	bounds = regexp.MustCompile(`^(\[-?\d+:-?\d+\])+=`)
)

type arrayParser struct {
	text string // the rest, not yet read
	typ  string
}

// array reads one dimension.
func (p *arrayParser) array(dest reflect.Value) error {
	if !p.skip("{") {
		return errArray
	}
	if dest.Kind() == reflect.Slice {
		dest.Set(reflect.MakeSlice(dest.Type(), 0, 4))
	}
	n := 0
	for ; !p.skip("}"); n++ {
		if n > 0 && !p.skip(",") {
			return errArray
		}
		switch {
		case dest.Kind() == reflect.Slice:
			dest.Grow(1)
			dest.SetLen(n + 1)
			dest.Index(n).SetZero()
		case n == dest.Len():
			return fmt.Errorf("the array has more elements than a %v", dest.Type())
		}
		if err := p.element(dest.Index(n)); err != nil {
			return err
		}
	}
	if n < dest.Len() {
		return fmt.Errorf("the array has only %d of the elements of a %v", n, dest.Type())
	}
	return nil
}

func (p *arrayParser) element(dest reflect.Value) error {
	if strings.HasPrefix(p.text, "{") {
		if isScanner(reflect.PointerTo(dest.Type())) || isDirect(dest.Type()) || dest.Kind() != reflect.Slice && dest.Kind() != reflect.Array {
			return errors.New("the array has more dimensions than its destination")
		}
		return p.array(dest)
	}
	text, null, err := p.single()
	if err != nil {
		return err
	}
	var v any
	switch {
	case null:
	case isText(dest.Type(), p.typ):
		v = text
	default:
		if v, err = elementValue(text, p.typ); err != nil {
			return err
		}
	}
	if err := assign(dest, v, p.typ); err == ErrNull {
		return fmt.Errorf("an element is %w, which a %v cannot hold", err, dest.Type())
	} else if err != nil {
		return err
	}
	return nil
}

// isText reports whether a typ takes the text of an element of that type.
func isText(typ reflect.Type, element string) bool {
	switch {
	case isScanner(reflect.PointerTo(typ)):
		return false
	case typ.Kind() == reflect.Pointer:
		return isText(typ.Elem(), element)
	case typ.Kind() == reflect.Slice:
		return element != "BYTEA" && isDirect(typ)
	}
	return typ.Kind() == reflect.String
}

func (p *arrayParser) skip(prefix string) bool {
	rest, ok := strings.CutPrefix(p.text, prefix)
	p.text = rest
	return ok
}

// single reads the text of one element.
func (p *arrayParser) single() (text string, null bool, err error) {
	if !p.skip(`"`) {
		end := strings.IndexAny(p.text, ",}")
		if end <= 0 {
			return "", false, errArray
		}
		text, p.text = p.text[:end], p.text[end:]
		return text, text == "NULL", nil
	}
	var b strings.Builder
	for {
		i := strings.IndexAny(p.text, `"\`)
		if i < 0 || p.text[i] == '\\' && i+1 == len(p.text) {
			return "", false, errArray
		}
		b.WriteString(p.text[:i])
		if p.text[i] == '"' {
			p.text = p.text[i+1:]
			return b.String(), false, nil
		}
		b.WriteByte(p.text[i+1])
		p.text = p.text[i+2:]
	}
}

// elementValue returns the value that drivers return for a column of this type.
func elementValue(text, typ string) (any, error) {
	switch typ {
	case "BOOL":
		return text == "t", nil
	case "INT2", "INT4", "INT8":
		return strconv.ParseInt(text, 10, 64)
	case "FLOAT4", "FLOAT8":
		return strconv.ParseFloat(text, 64)
	case "BYTEA":
		if digits, ok := strings.CutPrefix(text, `\x`); ok {
			return hex.DecodeString(digits)
		}
	case "JSON", "JSONB":
		return []byte(text), nil
	case "DATE", "TIMESTAMP", "TIMESTAMPTZ":
		if !strings.HasSuffix(text, "infinity") {
			return parseTime(text)
		}
	}
	return text, nil
}

// parseTime reads a date or a timestamp as PostgreSQL writes it with its
// default DateStyle.
func parseTime(text string) (t time.Time, err error) {
	clock, bc := strings.CutSuffix(text, " BC")
	year, rest, _ := strings.Cut(clock, "-")
	y, err := strconv.Atoi(year)
	if err != nil {
		return t, err
	}
	if bc {
		y = 1 - y // there is no year 0 in PostgreSQL
	}
	// Package time parses four digits, so parse a year with as many days.
	leap := 2000
	if y%4 != 0 || y%100 == 0 && y%400 != 0 {
		leap = 2001
	}
	rest = strconv.Itoa(leap) + "-" + rest
	if t, err = time.Parse("2006-01-02", rest); err != nil {
		if t, err = time.Parse("2006-01-02 15:04:05", rest); err != nil {
			return parseZoned(rest, y)
		}
	}
	return at(y, t, time.UTC), nil
}

func parseZoned(rest string, year int) (t time.Time, err error) {
	for _, layout := range []string{"2006-01-02 15:04:05-07", "2006-01-02 15:04:05-07:00", "2006-01-02 15:04:05-07:00:00"} {
		if t, err = time.Parse(layout, rest); err == nil {
			_, offset := t.Zone()
			return at(year, t, time.FixedZone("", offset)).Local(), nil
		}
	}
	return t, err
}

// at returns t in another year, and on the clock of zone.
func at(year int, t time.Time, zone *time.Location) time.Time {
	hour, minute, second := t.Clock()
	return time.Date(year, t.Month(), t.Day(), hour, minute, second, t.Nanosecond(), zone)
}
