package conformance

import (
	"bytes"
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

// value is one that goes to the server and comes back.
type value struct {
	name string
	typ  string // the type it has on the server
	arg  any
	text string // how the server writes it, which shows what has arrived there
	want any    // what comes back, scanned into a variable of its type
}

// berlin is not the time zone of the session.
var berlin = time.FixedZone("", 2*60*60)

var values = []value{
	{"true", "bool", true, "true", true},
	{"false", "bool", false, "false", false},
	{"the smallest int2", "int2", int16(math.MinInt16), "-32768", int16(math.MinInt16)},
	{"the largest int4", "int4", int32(math.MaxInt32), "2147483647", int32(math.MaxInt32)},
	{"the smallest int8", "int8", int64(math.MinInt64), "-9223372036854775808", int64(math.MinInt64)},
	{"an int into an int", "int4", 42, "42", 42},
	{"float4", "float4", float32(1.5), "1.5", float32(1.5)},
	{"float4 that is not exact", "float4", float32(0.1), "0.1", float32(0.1)},
	{"the largest float8", "float8", math.MaxFloat64, "1.7976931348623157e+308", math.MaxFloat64},
	{"infinity", "float8", math.Inf(-1), "-Infinity", math.Inf(-1)},
	{"numeric", "numeric", "123456789012345678901234567890.123456789", "123456789012345678901234567890.123456789", "123456789012345678901234567890.123456789"},
	{"numeric from a float", "numeric(10,2)", 12.5, "12.50", 12.5},
	{"text", "text", "hello", "hello", "hello"},
	{"an empty text", "text", "", "", ""},
	{"text beyond ASCII", "text", "Žluťoučký 馬 🐘 e\u0301", "Žluťoučký 馬 🐘 e\u0301", "Žluťoučký 馬 🐘 e\u0301"},
	{"text with all that needs quoting", "text", "a'b\"c\\d\te\nf,{g}$1?:h%", "a'b\"c\\d\te\nf,{g}$1?:h%", "a'b\"c\\d\te\nf,{g}$1?:h%"},
	{"text into bytes", "text", "hello", "hello", []byte("hello")},
	{"varchar", "varchar(8)", "hello", "hello", "hello"},
	{"char is padded", "char(8)", "hello", "hello", "hello   "},
	{"bytea", "bytea", []byte{0, 1, '\\', '\'', 0xff}, `\x00015c27ff`, []byte{0, 1, '\\', '\'', 0xff}},
	{"an empty bytea", "bytea", []byte{}, `\x`, []byte{}},
	{"json", "json", `{"b": 1, "a": [null]}`, `{"b": 1, "a": [null]}`, `{"b": 1, "a": [null]}`},
	{"json from bytes", "json", []byte(`{"b": 1}`), `{"b": 1}`, []byte(`{"b": 1}`)},
	{"json from json.RawMessage", "json", json.RawMessage(`[1, 2]`), `[1, 2]`, json.RawMessage(`[1, 2]`)},
	{"jsonb", "jsonb", `{"b":1,"a":"ü"}`, `{"a": "ü", "b": 1}`, `{"a": "ü", "b": 1}`},
	{"jsonb into bytes", "jsonb", []byte(`[1,2]`), `[1, 2]`, []byte(`[1, 2]`)},
	{"uuid", "uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"},
	{"date", "date", time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC), "2024-02-29", time.Date(2024, 2, 29, 0, 0, 0, 0, time.UTC)},
	{"a date from a text", "date", "0099-12-31", "0099-12-31", time.Date(99, 12, 31, 0, 0, 0, 0, time.UTC)},
	{"timestamp", "timestamp", time.Date(2024, 2, 29, 23, 59, 59, 123456000, time.UTC), "2024-02-29 23:59:59.123456", time.Date(2024, 2, 29, 23, 59, 59, 123456000, time.UTC)},
	{"timestamptz", "timestamptz", time.Date(2024, 7, 1, 1, 2, 3, 4000, berlin), "2024-06-30 23:02:03.000004+00", time.Date(2024, 7, 1, 1, 2, 3, 4000, berlin)},
	{"interval", "interval", "1 year 2 mons 3 days 04:05:06.000007", "1 year 2 mons 3 days 04:05:06.000007", "1 year 2 mons 3 days 04:05:06.000007"},
	{"an enum", "mood", "so so", "so so", "so so"},
	{"a domain", "positive", 7, "7", 7},
	{"inet", "inet", "10.1.2.3/24", "10.1.2.3/24", "10.1.2.3/24"},
	{"an argument by pointer", "text", new("hello"), "hello", "hello"},
	{"an argument by driver.Valuer", "text", sql.NullString{String: "hello", Valid: true}, "hello", "hello"},
	{"a type of its own", "int4", weekday(3), "3", weekday(3)},
	{"a large text", "text", strings.Repeat("0123456789äöüß\n", 600_000), "", strings.Repeat("0123456789äöüß\n", 600_000)},
	{"a large bytea", "bytea", bytes.Repeat([]byte{0, 0xff, '\n', 7}, 2_500_000), "", bytes.Repeat([]byte{0, 0xff, '\n', 7}, 2_500_000)},
}

type weekday int

// testValues sends each value to the server and has it come back, by each of
// the ways that a driver has for a query.
func testValues(t *testing.T, d Driver) {
	f := open(t, d, 2)
	f.must(t, "create type mood as enum ('sad', 'so so', 'happy')", "create domain positive as int4 check (value > 0)")
	for i, v := range values {
		// pgx remembers the types of a statement's parameters by its text: no
		// two of these tables must share a name.
		table := fmt.Sprintf("kept_%d", i)
		t.Run(v.name, func(t *testing.T) {
			query := fmt.Sprintf("select $1::%[1]s, case when length($1::%[1]s::text) < 1000 then $1::%[1]s::text else '' end", v.typ)
			if v.typ == "char(8)" {
				query = "select $1::char(8), $1::char(8)::text"
			}

			check(t, "query", f.QueryRowContext(t.Context(), query, v.arg), v)

			stmt, err := f.PrepareContext(t.Context(), query)
			if err != nil {
				t.Fatal(err)
			}
			defer stmt.Close()
			check(t, "prepared", stmt.QueryRowContext(t.Context(), v.arg), v)

			tx, err := f.BeginTx(t.Context(), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			if _, err := tx.Exec("create temp table " + table + " (v " + v.typ + ") on commit drop"); err != nil {
				t.Fatal(err)
			}
			if _, err := tx.Exec("insert into "+table+" values ($1)", v.arg); err != nil {
				t.Fatal(err)
			}
			check(t, "stored", tx.QueryRow("select v, $1::text from "+table, v.text), v)
		})
	}
}

// check scans the value and its text out of row and compares them.
func check(t *testing.T, way string, row *sql.Row, v value) {
	t.Helper()
	got := reflect.New(reflect.TypeOf(v.want))
	var text string
	if err := row.Scan(got.Interface(), &text); err != nil {
		t.Errorf("%s: %v", way, err)
		return
	}
	if text != v.text {
		t.Errorf("%s: the server has %q, want %q", way, text, v.text)
	}
	if !equal(got.Elem().Interface(), v.want) {
		t.Errorf("%s: got %.100v, want %.100v", way, got.Elem(), v.want)
	}
}

// equal compares moments as such, in whatever time zone they are.
func equal(a, b any) bool {
	if a, ok := a.(time.Time); ok {
		b, ok := b.(time.Time)
		return ok && a.Equal(b)
	}
	return reflect.DeepEqual(a, b)
}

// testNulls has NULL come and go for each type.
func testNulls(t *testing.T, d Driver) {
	f := open(t, d, 2)
	ctx := t.Context()

	for _, typ := range []string{
		"bool", "int2", "int4", "int8", "float4", "float8", "numeric", "text", "varchar", "bytea", "json", "jsonb",
		"uuid", "date", "timestamp", "timestamptz", "interval", "int4[]", "text[]",
	} {
		t.Run(typ+" is scanned into whatever can be null", func(t *testing.T) {
			var (
				null    = sql.Null[any]{V: 1, Valid: true}
				text    = sql.NullString{String: "x", Valid: true}
				pointer = new("x")
				bytes   = []byte("x")
				empty   = any(1)
			)
			query := fmt.Sprintf("select null::%[1]s, null::%[1]s, null::%[1]s, null::%[1]s, null::%[1]s", typ)
			if err := f.QueryRowContext(ctx, query).Scan(&null, &text, &pointer, &bytes, &empty); err != nil {
				t.Fatal(err)
			}
			if null.Valid || text.Valid || pointer != nil || bytes != nil || empty != nil {
				t.Errorf("got %v, %v, %v, %v, %v", null, text, pointer, bytes, empty)
			}
		})
		for name, arg := range map[string]any{
			"nil":              nil,
			"a nil pointer":    (*string)(nil),
			"an invalid Null":  sql.Null[string]{},
			"a NullInt64":      sql.NullInt64{},
			"a nil byte slice": []byte(nil),
		} {
			t.Run(typ+" from "+name, func(t *testing.T) {
				if !scalar[bool](t, f, "select $1::"+typ+" is null", arg) {
					t.Error("the server has something else than NULL")
				}
			})
		}
	}

	t.Run("what is there goes into the same variables", func(t *testing.T) {
		var (
			moment sql.Null[time.Time]
			number sql.Null[int64]
			text   *string
			flag   sql.Null[bool]
		)
		const query = "select '2024-02-29'::date, 7::int8, 'x'::text, true"
		if err := f.QueryRowContext(ctx, query).Scan(&moment, &number, &text, &flag); err != nil {
			t.Fatal(err)
		}
		if !moment.Valid || number.V != 7 || *text != "x" || !flag.V {
			t.Errorf("got %v, %v, %v, %v", moment, number, *text, flag)
		}
	})

	t.Run("NULL into what cannot be null is an error, and the pool goes on", func(t *testing.T) {
		var n int
		if err := f.QueryRowContext(ctx, "select null::int4").Scan(&n); err == nil {
			t.Error("no error")
		}
		f.usable(t)
	})
}
