package rows_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/rows"
)

type (
	stamp   time.Time
	nothing struct{} // a sql.Scanner without size
	whole   struct { // a sql.Scanner that is a struct
		v any
	}
	tagged struct{ A int }
)

func (*nothing) Scan(any) error { return nil }

func (w *whole) Scan(v any) error {
	if b, ok := v.([]byte); ok {
		v = string(b)
	}
	w.v = v
	return nil
}

var scanned = []string{
	"NULL::text", "'7'::text", "''::text", "'x'::text", "'true'::text", "7::int", "300::smallint", "-1::bigint", "1.50::numeric", "'NaN'::numeric",
	"1.5::float8", "0.1::float4", "1e300::float8", "'NaN'::float8", "true", "NULL::bool", `'\x00ff'::bytea`, "''::bytea",
	"'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", `'{"a": 1}'::jsonb`, `'["a", "b"]'::json`, "'null'::json", "NULL::jsonb",
	"'2026-03-01 12:00:00.123456Z'::timestamptz", "'2026-03-01 12:00'::timestamp", "'2026-03-01'::date", "'0044-03-15 BC'::date", "'12:00'::time", "NULL::timestamptz",
	"'1 day'::interval", "'10.1.2.3'::inet", "5::oid", "'x'::char(3)", "'101'::bit(3)", "point(1, 2)", "int4range(1, 5)", "ROW(1, 'a')",
	"NULL::text[]", "'{}'::text[]", "'{a,NULL}'::text[]", `'{a,"",NULL,"NULL","\"\\{},"}'::text[]`, "'{1,2}'::int[]", "'{1,NULL}'::int[]", "'[0:1]={1,2}'::int[]",
	"'{{1,2},{3,4}}'::int[]", "'{1.50,NaN}'::numeric[]", "'{0.1,1e30}'::float4[]", "'{t,f}'::bool[]", `'{"\\x00ff",""}'::bytea[]`, `'{"{\"a\": 1}"}'::jsonb[]`,
	"'{2026-03-01 12:00:00.123456Z}'::timestamptz[]", "'{2026-03-01 12:00}'::timestamp[]", "'{2026-03-01,0044-03-15 BC}'::date[]", "'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'::uuid[]",
}

// TestRowsScanWhatScanScans reads every value into every type, by Scan and by
// package rows. What Scan reads, rows must read too, and the same. What Scan
// does not read, rows may read only if that is an array, JSON or a type that
// database/sql does not know.
func TestRowsScanWhatScanScans(t *testing.T) {
	onBoth(t, "", func(run func(string, func(*testing.T, *poolgate.DB))) {
		run("every value into every type", func(t *testing.T, db *poolgate.DB) {
			like[any](t, db)
			like[string](t, db)
			like[*string](t, db)
			like[**string](t, db)
			like[letters](t, db)
			like[bool](t, db)
			like[*bool](t, db)
			like[int](t, db)
			like[int8](t, db)
			like[*int16](t, db)
			like[uint8](t, db)
			like[uint64](t, db)
			like[stringer](t, db)
			like[float32](t, db)
			like[float64](t, db)
			like[[]byte](t, db)
			like[*[]byte](t, db)
			like[octets](t, db)
			like[json.RawMessage](t, db)
			like[time.Time](t, db)
			like[*time.Time](t, db)
			like[stamp](t, db)
			like[sql.NullString](t, db)
			like[sql.NullInt32](t, db)
			like[sql.NullTime](t, db)
			like[*sql.NullBool](t, db)
			like[sql.Null[int64]](t, db)
			like[sql.Null[string]](t, db)
			like[sql.Null[time.Time]](t, db)
			like[sql.Null[even]](t, db)
			like[even](t, db)
			like[*even](t, db)
			like[nothing](t, db)
			like[*nothing](t, db)
			like[whole](t, db)
			like[*whole](t, db)
			like[[]string](t, db)
			like[*[]string](t, db)
			like[[]*string](t, db)
			like[[]letters](t, db)
			like[[]int](t, db)
			like[[]int16](t, db)
			like[[]*int64](t, db)
			like[[][]int](t, db)
			like[[]float64](t, db)
			like[[]float32](t, db)
			like[[]bool](t, db)
			like[[][]byte](t, db)
			like[[]time.Time](t, db)
			like[[2]int](t, db)
		})
	})
}

func like[T any](t *testing.T, db *poolgate.DB) {
	t.Helper()
	type row struct{ V T }
	composite := false
	switch typ := reflect.TypeFor[T](); typ.Kind() {
	case reflect.Slice:
		composite = typ.Elem().Kind() != reflect.Uint8
	case reflect.Pointer:
		composite = typ.Elem().Kind() == reflect.Slice && typ.Elem().Elem().Kind() != reflect.Uint8
	case reflect.Array:
		composite = true
	}
	for _, value := range scanned {
		query := "SELECT " + value + " AS v"
		var want T
		plain := db.QueryRowContext(t.Context(), query).Scan(&want)
		got, err := rows.One[T](t.Context(), db, query)
		field, inField := rows.One[row](t.Context(), db, query)
		name := fmt.Sprintf("%s into %T", value, want)
		switch {
		case (err == nil) != (inField == nil), !same(got, field.V):
			t.Errorf("%s: %v, %v; in a field %v, %v", name, show(got), err, show(field.V), inField)
		case plain != nil && err == nil && !composite:
			t.Errorf("%s: %v, and Scan says %v", name, show(got), plain)
		case plain == nil && err == nil && !same(got, want):
			t.Errorf("%s: %v, and Scan reads %v", name, show(got), show(want))
		case plain == nil && err != nil && !refused(value, composite, err):
			t.Errorf("%s: %v, and Scan reads %v", name, err, show(want))
		}
	}
}

// refused reports whether rows may refuse what pgx reads with Go 1.27: NULL into
// a slice, which does not silently become nil, and several dimensions into one.
func refused(value string, composite bool, err error) bool {
	return composite && (strings.HasPrefix(value, "NULL") || strings.Contains(err.Error(), "dimensions"))
}

func same(a, b any) bool { return reflect.DeepEqual(a, b) || show(a) == show(b) }

// show returns v with the values behind its pointers, and times in UTC.
func show(v any) string {
	switch v := v.(type) {
	case time.Time:
		return v.UTC().String()
	case stamp:
		return time.Time(v).UTC().String()
	case whole:
		return "whole " + show(v.v)
	case sql.NullTime:
		return fmt.Sprint(v.Valid, v.Time.UTC())
	case sql.Null[time.Time]:
		return fmt.Sprint(v.Valid, v.V.UTC())
	}
	r := reflect.ValueOf(v)
	switch r.Kind() {
	case reflect.Pointer:
		if r.IsNil() {
			return fmt.Sprintf("%#v", v)
		}
		return "&" + show(r.Elem().Interface())
	case reflect.Slice:
		s := fmt.Sprintf("%T", v)
		if r.IsNil() {
			return s + " nil"
		}
		for i := range r.Len() {
			s += " " + show(r.Index(i).Interface())
		}
		return s
	}
	return fmt.Sprintf("%#v", v)
}

// TestComposites has the values that arrays and JSON have in Go, whatever the
// driver and the version of Go.
func TestComposites(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
	ides := time.Date(-43, 3, 15, 0, 0, 0, 0, time.UTC)
	onBoth(t, "CREATE TYPE mood AS ENUM ('sad', 'happy'); CREATE DOMAIN moods AS mood[]", func(run func(string, func(*testing.T, *poolgate.DB))) {
		run("arrays", func(t *testing.T, db *poolgate.DB) {
			reads(t, db, "'{}'::text[]", []string{})
			reads(t, db, `'{a,"",NULL,"NULL","\"\\{},","é "}'::text[]`, []*string{new("a"), new(""), nil, new("NULL"), new(`"\{},`), new("é ")})
			reads(t, db, "'{sad,happy}'::mood[]", []letters{"sad", "happy"})
			reads(t, db, "'{sad,happy}'::moods", []string{"sad", "happy"})
			reads(t, db, "'{1,-2}'::int[]", []int8{1, -2})
			reads(t, db, "'{1,NULL}'::bigint[]", []sql.Null[int64]{{V: 1, Valid: true}, {}})
			reads(t, db, "'{1,NULL}'::bigint[]", []any{int64(1), nil})
			reads(t, db, "'[0:1]={1,2}'::int[]", []int{1, 2})
			reads(t, db, "'{{1,2},{3,4}}'::int[]", [][]int{{1, 2}, {3, 4}})
			reads(t, db, "'{{{1}},{{2}}}'::int[]", [][][]uint{{{1}}, {{2}}})
			reads(t, db, "'{}'::int[]", [][]int{})
			reads(t, db, "'{1,2}'::int[]", [2]int{1, 2})
			reads(t, db, "'{2,4}'::int8[]", []even{2, 4})
			reads(t, db, "'{2,NULL}'::int8[]", []*even{new(even(2)), nil})
			reads(t, db, "'{0.1,Infinity}'::float4[]", []float32{0.1, float32(math.Inf(1))})
			reads(t, db, "'{1.50,2}'::numeric[]", []string{"1.50", "2"})
			reads(t, db, "'{1.50,2}'::numeric[]", []float64{1.5, 2})
			reads(t, db, "'{t,f}'::bool[]", []bool{true, false})
			reads(t, db, `'{"\\x00ff","",NULL}'::bytea[]`, [][]byte{{0, 255}, {}, nil})
			reads(t, db, "'{2026-03-01 12:00:00.123456Z}'::timestamptz[]", []time.Time{at})
			reads(t, db, "'{2026-03-01 12:00:00.123456,NULL}'::timestamp[]", []sql.NullTime{{Time: at, Valid: true}, {}})
			reads(t, db, "'{0044-03-15 BC,0001-02-29 BC,12345-01-02}'::date[]", []time.Time{ides, time.Date(0, 2, 29, 0, 0, 0, 0, time.UTC), time.Date(12345, 1, 2, 0, 0, 0, 0, time.UTC)})
			reads(t, db, "'{a}'::text[]", new([]string{"a"}))
			reads(t, db, "'{a}'::text[]", sql.Null[[]string]{V: []string{"a"}, Valid: true})
			reads(t, db, "NULL::text[]", (*[]string)(nil))
			reads(t, db, "NULL::text[]", sql.Null[[]string]{})
		})
		run("JSON", func(t *testing.T, db *poolgate.DB) {
			for _, typ := range []string{"json", "jsonb"} {
				reads(t, db, `'["a", "b"]'::`+typ, []string{"a", "b"})
				reads(t, db, `'[{"A": 1}]'::`+typ, []tagged{{1}})
				reads(t, db, `'[[1], []]'::`+typ, [][]int{{1}, {}})
				reads(t, db, `'{"a": 1}'::`+typ, json.RawMessage(`{"a": 1}`))
				got, err := rows.One[struct {
					V map[string]int
					P *map[string]int
					W tagged
				}](t.Context(), db, `SELECT '{"a": 1}'::`+typ+` AS v, NULL::`+typ+` AS p, '{"A": 2}'::`+typ+` AS w`)
				must(t, err)
				equal(t, got.V, map[string]int{"a": 1})
				equal(t, got.P, nil)
				equal(t, got.W, tagged{2})
				reads(t, db, `'{"{\"A\": 1}",NULL}'::`+typ+"[]", []*tagged{{1}, nil})
			}
		})
		run("nothing is lost silently", func(t *testing.T, db *poolgate.DB) {
			for value, want := range map[string]string{
				"NULL::text[]":        `rows: column "v" is NULL, which []string cannot be: make it a *[]string or a sql.Null[[]string], or use COALESCE`,
				"'{a,NULL}'::text[]":  `rows: column "v" into []string: an element is NULL, which a string cannot hold`,
				"'{{a},{b}}'::text[]": `rows: column "v" into []string: the array has more dimensions than its destination`,
				"'a'::text":           `rows: column "v" into []string: not the text of an array`,
				"7":                   `rows: column "v" into []string: cannot convert a int64 to a []string`,
				`'{"a": 1}'::jsonb`:   `rows: column "v" into []string: json: cannot unmarshal object into Go value of type []string`,
			} {
				_, err := rows.One[[]string](t.Context(), db, "SELECT "+value+" AS v")
				says(t, err, want)
			}
			_, err := rows.One[[]string](t.Context(), db, "SELECT NULL::text[] AS v")
			is(t, err, rows.ErrNull)
			_, err = rows.One[[]int8](t.Context(), db, "SELECT '{1,300}'::int[] AS v")
			says(t, err, `rows: column "v" into []int8: 300 is out of range for a int8`)
			_, err = rows.One[[2]int](t.Context(), db, "SELECT '{1,2,3}'::int[] AS v")
			says(t, err, `rows: column "v" into [2]int: the array has more elements than a [2]int`)
			_, err = rows.One[[2]int](t.Context(), db, "SELECT '{1}'::int[] AS v")
			says(t, err, `rows: column "v" into [2]int: the array has only 1 of the elements of a [2]int`)
			_, err = rows.One[[]even](t.Context(), db, "SELECT '{3}'::int[] AS v")
			is(t, err, errOdd)
			_, err = rows.One[struct{ V map[string]int }](t.Context(), db, "SELECT 'x'::text AS v")
			says(t, err, `rows: column "v" into .V (map[string]int): cannot convert a string to a map[string]int`)
		})
		run("a row of its own each time", func(t *testing.T, db *poolgate.DB) {
			got, err := rows.Collect[struct {
				A []int
				W whole
			}](t.Context(), db, "SELECT ARRAY[n, n] AS a, 'x' || n AS w FROM generate_series(1, 3) n")
			must(t, err)
			for i, row := range got {
				equal(t, row.A, []int{i + 1, i + 1})
				equal(t, row.W, whole{fmt.Sprint("x", i+1)})
			}
		})
	})
}

func reads[T any](t *testing.T, db *poolgate.DB, value string, want T) {
	t.Helper()
	got, err := rows.One[T](t.Context(), db, "SELECT "+value+" AS v")
	if err != nil {
		t.Errorf("%s into %T: %v", value, want, err)
		return
	}
	if show(got) != show(want) {
		t.Errorf("%s: got %s, want %s", value, show(got), show(want))
	}
}
