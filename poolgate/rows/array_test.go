package rows

import (
	"reflect"
	"strings"
	"testing"
)

// FuzzArray reads back what was written, and wants anything else to be an error
// or an array, and no panic.
func FuzzArray(f *testing.F) {
	for _, text := range []string{"", "{}", "{a,b}", `{"a\"\\",NULL}`, "{{1,2},{3,4}}", "[0:1]={1,2}", "[1:1][-2:-1]={{1,2}}", "{{},{}}", "{", "}", `{"`, `{"\`, "{a,}", "{,a}", "{a}b", "{a b , c}", "{{a}", "NULL"} {
		f.Add(text, text, 3)
	}
	f.Fuzz(func(t *testing.T, text, element string, n int) {
		for _, dest := range []any{new([]string), new([]*string), new([][]string), new([2]int), new([]float64), new([][]byte), new([]bool)} {
			assignArray(reflect.ValueOf(dest).Elem(), text, "TEXT")
		}

		if n = int(uint(n) % 5); strings.Contains(element, "\x00") {
			return
		}
		want := make([][]*string, n)
		for i := range want {
			want[i] = []*string{&element, nil, new(element + text), new("")}
		}
		written := array{to: kind{Array: true, Element: "text", Category: "S"}}
		if err := written.add(want); err != nil {
			t.Fatal(err)
		}
		var outer []string // which has the array as its one element
		if err := assignArray(reflect.ValueOf(&outer).Elem(), written.String(), "TEXT"); err != nil || len(outer) != 1 {
			t.Fatalf("%s: %v, %v", written.String(), outer, err)
		}
		var got [][]*string
		if err := assignArray(reflect.ValueOf(&got).Elem(), outer[0], "TEXT"); err != nil {
			t.Fatalf("%s: %v", outer[0], err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %v", outer[0], got)
		}
	})
}

// FuzzTime reads what PostgreSQL could have written as a time.
func FuzzTime(f *testing.F) {
	for _, text := range []string{"2026-03-01", "0044-03-15 BC", "2026-03-01 12:00:00", "2026-03-01 12:00:00.123456-03:30", "0001-02-29 01:02:03+00 BC", "12345-01-02 00:00:00+00:53:28", "infinity", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		at, err := parseTime(text)
		if err != nil || at.Year() < 1 || at.Year() > 9999 {
			return
		}
		again, err := parseTime(timestamp(at.UTC(), kind{Rounds: true})[:19])
		if err != nil || again.Unix() != at.Unix() {
			t.Errorf("%q: %v, and read again %v, %v", text, at, again, err)
		}
	})
}
