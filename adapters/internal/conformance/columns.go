package conformance

import (
	"cmp"
	"fmt"
	"math"
	"testing"
)

// columns are types as ColumnType and an *any show them. Where scan or any is
// empty, it is what the driver has for types that it has no Go type for.
var columns = []struct {
	typ      string
	literal  string
	database string
	scan     string
	any      string
}{
	{"bool", "true", "BOOL", "bool", "bool"},
	{"int2", "1", "INT2", "int16", "int64"},
	{"int4", "1", "INT4", "int32", "int64"},
	{"int8", "1", "INT8", "int64", "int64"},
	{"float4", "1.5", "FLOAT4", "float32", "float64"},
	{"float8", "1.5", "FLOAT8", "float64", "float64"},
	{"numeric(10,2)", "1.50", "NUMERIC", "", ""},
	{"text", "x", "TEXT", "string", "string"},
	{"varchar(20)", "x", "VARCHAR", "string", "string"},
	{"bytea", "x", "BYTEA", "[]uint8", "[]uint8"},
	{"json", "1", "JSON", "", "[]uint8"},
	{"jsonb", "1", "JSONB", "", "[]uint8"},
	{"uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", "UUID", "", ""},
	{"date", "2024-02-29", "DATE", "time.Time", "time.Time"},
	{"timestamp", "2024-02-29 01:02:03", "TIMESTAMP", "time.Time", "time.Time"},
	{"timestamptz", "2024-02-29 01:02:03", "TIMESTAMPTZ", "time.Time", "time.Time"},
	{"time", "01:02:03", "TIME", "", ""},
	{"interval", "01:02:03", "INTERVAL", "", ""},
	{"int4[]", "{1,2}", "_INT4", "", ""},
	{"text[]", "{a,b}", "_TEXT", "", ""},
	{"inet", "10.1.2.3", "INET", "", ""},
	{"mood", "sad", "", "", ""},
}

// testColumns asks what the driver's Rows know of their columns: the optional
// interfaces that a wrapped Rows would lose.
func testColumns(t *testing.T, d Driver) {
	f, diff := open(t, d, 2), differencesOf(t, d)
	ctx := t.Context()
	f.must(t, "create type mood as enum ('sad', 'happy')")
	for _, c := range columns {
		t.Run(c.typ, func(t *testing.T) {
			rows, err := f.QueryContext(ctx, fmt.Sprintf("select '%s'::%s as v", c.literal, c.typ))
			if err != nil {
				t.Fatal(err)
			}
			defer rows.Close()
			types, err := rows.ColumnTypes()
			if err != nil {
				t.Fatal(err)
			}
			name := c.database
			if c.typ == "mood" && diff.NamesEnumByOID {
				name = scalar[string](t, f, "select 'mood'::regtype::oid::text")
			}
			if got := types[0].DatabaseTypeName(); types[0].Name() != "v" || got != name {
				t.Errorf("column %s is of %q, want %q", types[0].Name(), got, name)
			}
			scan := cmp.Or(diff.Scan[c.typ], c.scan, diff.OtherScan)
			if got := types[0].ScanType().String(); got != scan {
				t.Errorf("the scan type is %s, want %s", got, scan)
			}
			var v any
			if !rows.Next() || rows.Scan(&v) != nil {
				t.Fatal(rows.Err())
			}
			if got, want := fmt.Sprintf("%T", v), cmp.Or(diff.Any[c.typ], c.any, diff.OtherAny); got != want {
				t.Errorf("what lands in an any is a %s, want %s", got, want)
			}
		})
	}

	t.Run("length, precision and scale", func(t *testing.T) {
		rows, err := f.QueryContext(ctx, "select 'x'::varchar(20), 'x'::text, 1.5::numeric(10,2), 1::int4")
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		types, err := rows.ColumnTypes()
		if err != nil {
			t.Fatal(err)
		}
		for i, want := range []string{"20 true", fmt.Sprint(math.MaxInt64, " true"), "0 false", "0 false"} {
			length, ok := types[i].Length()
			if got := fmt.Sprint(length, ok); got != want {
				t.Errorf("column %d: the length is %s, want %s", i, got, want)
			}
		}
		for i, want := range []string{"0 0 false", "0 0 false", "10 2 true", "0 0 false"} {
			precision, scale, ok := types[i].DecimalSize()
			if got := fmt.Sprint(precision, scale, ok); got != want {
				t.Errorf("column %d: precision and scale are %s, want %s", i, got, want)
			}
		}
	})
}
