package conformance

import (
	"database/sql"
	"reflect"
	"testing"
)

// testArrays sends slices, and scans arrays by what the driver has for that.
func testArrays(t *testing.T, d Driver) {
	f := open(t, d, 2)
	diff := differencesOf(t, d)

	for _, test := range []struct {
		name string
		typ  string
		arg  any
		text string
		want any
	}{
		{"int4", "int4[]", []int32{1, -2, 3}, "{1,-2,3}", []int32{1, -2, 3}},
		{"int8", "int8[]", []int64{1 << 40}, "{1099511627776}", []int64{1 << 40}},
		{"int into int8", "int8[]", []int{7}, "{7}", []int64{7}},
		{"float8", "float8[]", []float64{0.5, -1}, "{0.5,-1}", []float64{0.5, -1}},
		{"bool", "bool[]", []bool{true, false}, "{t,f}", []bool{true, false}},
		{"text", "text[]", []string{"a", "", `b"c\d,{e}`, "NULL", "é"}, `{a,"","b\"c\\d,{e}","NULL",é}`, []string{"a", "", `b"c\d,{e}`, "NULL", "é"}},
		{"empty", "text[]", []string{}, "{}", []string{}},
		{"bytea", "bytea[]", [][]byte{{0, 1}, {}}, `{"\\x0001","\\x"}`, [][]byte{{0, 1}, {}}},
		{"uuid as text", "uuid[]", []string{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}, "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}", []string{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}},
		{"NULL elements by pointer", "text[]", []*string{new("a"), nil}, "{a,NULL}", diff.NullElements},
		{"NULL elements by Valuer", "text[]", []sql.NullString{{String: "a", Valid: true}, {}}, "{a,NULL}", diff.NullElements},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, text := reflect.New(reflect.TypeOf(test.want)), ""
			row := f.QueryRowContext(t.Context(), "select $1::"+test.typ+", $1::"+test.typ+"::text", test.arg)
			if err := row.Scan(d.Array(got.Interface()), &text); err != nil {
				t.Fatal(err)
			}
			if text != test.text {
				t.Errorf("the server has %s, want %s", text, test.text)
			}
			if !reflect.DeepEqual(got.Elem().Interface(), test.want) {
				t.Errorf("got %v, want %v", got.Elem(), test.want)
			}
		})
	}

	t.Run("a slice stands for a list of keys", func(t *testing.T) {
		keys := make([]int64, 5000)
		for i := range keys {
			keys[i] = int64(i) * 3
		}
		const query = "select count(*) from generate_series(0, 9999) n where n = any($1)"
		if n := scalar[int](t, f, query, keys); n != 3334 {
			t.Errorf("%d rows, want 3334", n)
		}
	})
}
