package rows_test

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/rows"
)

type (
	stringer  int
	marshaler int
	shouting  string
	letters   string
	octets    []byte
)

func (stringer) String() string                { return "happy" }
func (marshaler) MarshalJSON() ([]byte, error) { return []byte(`"m"`), nil }
func (s shouting) String() string              { return strings.ToUpper(string(s)) }
func (s letters) String() string               { return string(s) }

const plainSchema = `
	CREATE TYPE mood AS ENUM ('sad', 'happy');
	CREATE DOMAIN short AS varchar(5);
	CREATE DOMAIN shorter AS short CHECK (length(VALUE) < 4);
	CREATE DOMAIN raw AS bytea;
	CREATE DOMAIN raws AS bytea[];
	CREATE DOMAIN moment AS timestamptz;
	CREATE DOMAIN doc AS jsonb;
	CREATE DOMAIN number AS int;
	CREATE DOMAIN ratio AS float8;
	CREATE DOMAIN exact AS numeric(6,2);
	CREATE DOMAIN yesno AS bool;
	CREATE DOMAIN span AS interval;`

var plainTypes = []string{
	"bool", "int2", "int4", "int8", "float4", "float8", "numeric", "numeric(6,2)", "money", "oid",
	"text", "varchar(5)", "char(5)", `"char"`, "name", "mood", "short", "shorter", "bytea", "raw", "xml", "json", "jsonb", "uuid",
	"timestamptz", "timestamptz(3)", "timestamp", "timestamp(0)", "date", "time", "timetz", "interval",
	"moment", "doc", "number", "ratio", "exact", "yesno", "span", "number[]",
	"inet", "cidr", "bit(3)", "varbit(5)", "int4range", "point",
	"text[]", "varchar(3)[]", "int4[]", "int8[]", "float4[]", "float8[]", "numeric(6,2)[]", "bool[]", "bytea[]", "raws", "short[]", "jsonb[]", "timestamptz[]",
}

func plainValues() []any {
	at := time.Date(2026, 3, 1, 23, 59, 59, 999999999, time.FixedZone("", -3*3600))
	return []any{
		nil, true, 0, -7, int8(5), int64(math.MaxInt64), uint8(200), uint64(math.MaxUint64),
		1e6, 1e21, 1e-7, 0.1, 2.5, math.Copysign(0, -1), float32(0.1), float32(1e10), 1e300, 5e-324, math.NaN(), math.Inf(1), math.Inf(-1),
		"", "a", "abc  ", "too long for it", "5", "1e3", "12.345", "true", "happy", `{}`, `{"a": 1}`, `["a"]`, `\x41`, `\\`, "a\x00b", "\xff",
		"NULL", `"`, "{NULL}", "101", "1 day", "10.1.2.3", "infinity",
		[]byte(nil), []byte{}, []byte("abc"), []byte{0, 255}, []byte(`\x41`), []byte(`{"a":1}`), []byte("{}"),
		json.RawMessage(`{"a":1}`), json.RawMessage(nil), octets("abc"), letters("abc"), shouting("abc"), new("p"), (*string)(nil),
		stringer(1), new(stringer(1)), marshaler(1), time.Second, new(time.Second), -1500 * time.Millisecond, net.IP{65, 66, 67, 68}, netip.MustParseAddr("10.1.2.3"),
		at, at.UTC(), &at, time.Time{}, time.Date(0, 2, 29, 1, 2, 3, 0, time.UTC), time.Date(-4, 2, 29, 0, 0, 0, 0, time.UTC),
		time.Date(-43, 3, 15, 0, 0, 0, 0, time.UTC), time.Date(12345, 2, 3, 0, 0, 0, 1000, time.UTC),
		time.Date(1890, 1, 1, 0, 0, 0, 0, time.FixedZone("lmt", 53*60+28)), time.Date(2026, 3, 1, 0, 0, 0, 123456500, time.UTC),
		time.Date(2026, 3, 1, 0, 0, 0, 0, time.FixedZone("", 20*3600)),
		sql.Null[int]{}, sql.Null[int]{V: 5, Valid: true}, sql.NullString{String: "abc", Valid: true}, sql.NullTime{Time: at, Valid: true},
		[]string(nil), []string{}, []string{"a", "", "NULL", `"\{}`}, []string{"too long"}, []int{}, []int{1, 2}, []float64{1e6, 0.5}, []float32{0.1}, []bool{true},
		[]uint64{math.MaxUint64}, [][]byte{{0}, {}}, []any{1, nil}, []*string{new("x"), nil}, []time.Time{at}, []stringer{1}, []letters{"a"}, []shouting{"a"},
		[]sql.NullString{{}, {String: "a", Valid: true}}, []time.Duration{time.Second},
		[][]int{}, [][]int{{}, {}}, [][]int{nil, nil}, [][]int{{1, 2}, {3, 4}}, [][]string{nil, nil}, [][]string{{}, {}}, [][][]int{{{}}, {{}}}, [][][]int{{{1}}, {{2}}},
		[2]int{1, 2}, map[string]any{"a": 1}, map[string]any(nil), []map[string]any{{"a": 1}}, struct{ A int }{1}, &struct{ A int }{1}, (*struct{ A int })(nil),
	}
}

// pqIsWrong are values for which lib/pq's own INSERT stores something else than
// the value, and InsertMany does not.
func pqIsWrong(typ string, v any) bool {
	at, isTime := v.(time.Time)
	_, isBytes := v.([]byte)
	kind := reflect.TypeOf(v).Kind()
	return isTime && at.Year() <= 0 || // one day late, where the year before Christ is a leap year
		typ == "interval" || typ == "span" || // nanoseconds are sent as seconds
		(typ == "json" || typ == "jsonb") && (kind == reflect.Slice || kind == reflect.Map) || // {} for an empty slice
		typ == "raw" && isBytes // sent as text, as for any type that it does not know
}

// TestInsertManyStoresWhatInsertStores stores every value in a column of every
// type, by INSERT and by InsertMany. Where both succeed they must have stored
// the same, but InsertMany may refuse what drivers do not agree on.
//
// It tries a quarter of the values, at random, and all of them with
// POOLGATE_VALUES=all.
func TestInsertManyStoresWhatInsertStores(t *testing.T) {
	types, values := plainTypes, plainValues()
	all, seed := os.Getenv("POOLGATE_VALUES") == "all", rand.Uint64()
	t.Logf("seed %d", seed)
	schema := plainSchema
	for i, typ := range types {
		schema += fmt.Sprintf("CREATE TABLE t%d (id int PRIMARY KEY, v %s);", i, typ)
	}
	type row struct {
		ID int
		V  any
	}
	onBoth(t, schema, func(run func(string, func(*testing.T, *poolgate.DB))) {
		for i, typ := range types {
			run(typ, func(t *testing.T, db *poolgate.DB) {
				table := fmt.Sprintf("t%d", i)
				random := rand.New(rand.NewPCG(seed, uint64(i)))
				for id, v := range values {
					if random.IntN(4) > 0 && !all {
						continue
					}
					if _, plain := db.ExecContext(t.Context(), "INSERT INTO "+table+" (id, v) VALUES ($1, $2)", id, v); plain != nil {
						continue
					}
					_, err := rows.InsertMany[int](t.Context(), db, table, []row{{-id - 1, v}})
					if err != nil {
						t.Logf("refused: %T %v: %v", v, v, err)
						continue
					}
					text := "v::text"
					if typ == "json" {
						text = "v::jsonb::text"
					}
					got, err := rows.Collect[sql.NullString](t.Context(), db, "SELECT "+text+" FROM "+table+" WHERE id IN ($1, $2) ORDER BY id DESC", id, -id-1)
					must(t, err)
					if got[0] != got[1] && !(strings.Contains(t.Name(), "/pq/") && pqIsWrong(typ, v)) {
						t.Errorf("%T %v: INSERT stores %q, InsertMany %q", v, v, got[0].String, got[1].String)
					}
				}
			})
		}
	})
}

// TestInsertManyFindsItsRows has keys that the column's type changes, or whose
// equality is not that of their text.
func TestInsertManyFindsItsRows(t *testing.T) {
	at := time.Date(2026, 3, 1, 23, 59, 59, 999999999, time.FixedZone("", -3*3600))
	days := func(n int) []any {
		return []any{at, at.AddDate(0, 0, -n), time.Time{}, time.Date(0, 2, 29, 1, 2, 3, 456789000, time.UTC)}
	}
	tests := []struct {
		typ    string
		values []any
	}{
		{"numeric(6,2)", []any{"12.345", 0.125, -7, "1e2", "NaN"}},
		{"numeric(3,-2)", []any{"12345", 678}},
		{"timestamptz(3)", days(1)},
		{"timestamptz(0)", days(1)},
		{"timestamp(3)", days(1)},
		{"timestamp", days(1)},
		{"date", days(1)},
		{"time(2)", []any{"23:59:59.996", "00:00:00.004", "12:34:56.789"}},
		{"timetz(0)", []any{"23:59:59.6+02", "01:02:03.4-05"}},
		{"interval(0)", []any{"1.6 seconds", "2 months 3 days", time.Minute + 400*time.Millisecond}},
		{"interval day to hour", []any{"1 day 02:03:04", "5 days"}},
		{"float4", []any{0.1, 1e10, float32(0.3), "NaN"}},
		{"float8", []any{0.1, 1e300, 5e-324, math.Inf(-1), math.NaN()}},
		{"bigint", []any{1e6, -2e9, "7"}},
		{"varchar(5)", []any{"abc", "abcde   ", "ab "}},
		{"char(5)", []any{"abc", "abcdefg"[:5], ""}},
		{"bit(3)", []any{"101", "010"}},
		{"varbit(3)", []any{"1", "010"}},
		{"name", []any{strings.Repeat("n", 70), "m"}},
		{"mood", []any{"sad", "happy"}},
		{"bytea", []any{[]byte{}, []byte{0, 255}, []byte(`\x41`)}},
		{"uuid", []any{"A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11", "{a0eebc999c0b4ef8bb6d6bb9bd380a12}"}},
		{"inet", []any{"10.1.2.3", "10.1.2.3/8", "::1"}},
		{"jsonb", []any{`{"b": 1, "a": 2}`, map[string]int{"a": 1}, 1.50}},
		{"varchar(3)[]", []any{[]string{}, []string{"ab", "c  "}}},
		{"numeric(4,1)[]", []any{[]float64{0.25, 1e2}, "{7.77}", [][]int{{}, {}}}},
		{"timestamptz(0)[]", []any{[]time.Time{at}}},
		{"numrange", []any{"[1.0,2.50)", "empty"}},
		{"short", []any{"abc", "abcde   "}},
		{"shorter", []any{"abc", "a"}},
		{"cents", []any{"1.005", 7}},
	}
	schema := plainSchema + `
		CREATE DOMAIN cents AS numeric(6,2);
		CREATE DOMAIN ident AS uuid DEFAULT gen_random_uuid();
		CREATE TABLE owned (id ident PRIMARY KEY, n int);
		CREATE TABLE limited (id short PRIMARY KEY);
		CREATE TABLE stamped (at timestamptz(0) PRIMARY KEY DEFAULT clock_timestamp(), n int);`
	for i, test := range tests {
		schema += fmt.Sprintf("CREATE TABLE k%d (v %s PRIMARY KEY, n int);", i, test.typ)
	}
	type row struct {
		V any
		N int
	}
	onBoth(t, schema, func(run func(string, func(*testing.T, *poolgate.DB))) {
		for i, test := range tests {
			run(test.typ, func(t *testing.T, db *poolgate.DB) {
				var in []row
				for n, v := range test.values {
					in = append(in, row{v, n})
				}
				out, err := rows.InsertMany[struct{ N int }](t.Context(), db, fmt.Sprintf("k%d", i), in)
				must(t, err)
				for n := range in {
					equal(t, out[n].N, n)
				}
			})
		}
		run("keys from the default of a domain", func(t *testing.T, db *poolgate.DB) {
			ids, err := rows.InsertMany[string](t.Context(), db, "owned", []int{1, 2}, "n")
			must(t, err)
			for i, id := range ids {
				n, err := rows.One[int](t.Context(), db, "SELECT n FROM owned WHERE id = $1", id)
				must(t, err)
				equal(t, n, i+1)
			}
		})
		run("keys from a default with more precision than the column", func(t *testing.T, db *poolgate.DB) {
			out, err := rows.InsertMany[struct{ N int }](t.Context(), db, "stamped", []int{7}, "n")
			must(t, err)
			equal(t, out[0].N, 7)
		})
		run("a domain does not cut off what is too long", func(t *testing.T, db *poolgate.DB) {
			_, err := rows.InsertMany[string](t.Context(), db, "limited", []string{"too long"}, "id")
			equal(t, state(err), "22001")
		})
	})
}
