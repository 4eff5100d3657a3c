package rows_test

import (
	"database/sql"
	"errors"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/rows"
)

type (
	Stamps struct {
		CreatedAt time.Time
		DeletedAt sql.Null[time.Time]
	}
	author struct {
		ID   int64
		Name string
	}
	book struct {
		Stamps
		ID       int64
		Title    string `db:"the_title"`
		Subtitle *string
		Pages    sql.NullInt32
		Raw      []byte
		Author   author
		Editor   *author
		Ignored  string `db:"-"`
		Absent   string
		unseen   string
	}
	node struct {
		ID     int
		Parent *node
	}
	hidden   struct{ ID int }
	embedder struct{ *hidden }
	lenient  struct {
		rows.AllowUnknown
		ID int
	}
	// even refuses odd numbers.
	even int
)

func (e *even) Scan(v any) error {
	n, ok := v.(int64)
	if !ok || n%2 != 0 {
		return errOdd
	}
	*e = even(n)
	return nil
}

var errOdd = errors.New("odd")

func TestMapping(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
	onBoth(t, "", func(run func(string, func(*testing.T, *poolgate.DB))) {
		run("a struct takes columns by tag, by name, from inside, and of every kind", func(t *testing.T, db *poolgate.DB) {
			got, err := rows.Collect[book](t.Context(), db, `
				SELECT n AS id, 'title' AS the_title, NULLIF('sub' || n, 'sub2') AS subtitle,
				       NULLIF(n * 100, 200) AS pages, '\x00ff'::bytea AS raw,
				       n + 10 AS "author.id", 'A' AS "author.name", n + 20 AS "editor.id", 'E' || n AS "editor.name",
				       '2026-03-01 12:00:00.123456Z'::timestamptz AS created_at,
				       CASE WHEN n = 2 THEN '2026-03-01 12:00:00.123456Z'::timestamptz END AS deleted_at
				FROM generate_series(1, 2) n ORDER BY n`)
			must(t, err)
			for i := range got { // drivers differ in the name of the zone
				got[i].CreatedAt, got[i].DeletedAt.V = got[i].CreatedAt.UTC(), got[i].DeletedAt.V.UTC()
			}
			want := []book{
				{
					ID: 1, Title: "title", Subtitle: new("sub1"), Pages: sql.NullInt32{Int32: 100, Valid: true},
					Raw: []byte{0, 255}, Author: author{11, "A"}, Editor: &author{21, "E1"}, Stamps: Stamps{CreatedAt: noon},
				},
				{
					ID: 2, Title: "title", Raw: []byte{0, 255}, Author: author{12, "A"}, Editor: &author{22, "E2"},
					Stamps: Stamps{CreatedAt: noon, DeletedAt: sql.Null[time.Time]{V: noon, Valid: true}},
				},
			}
			want[0].DeletedAt.V = want[0].DeletedAt.V.UTC()
			equal(t, got, want)
			equal(t, got[0].unseen, "")
		})
		run("other types take the only column", func(t *testing.T, db *poolgate.DB) {
			scalar[bool](t, db, "true", true)
			scalar[int8](t, db, "-7::smallint", -7)
			scalar[uint](t, db, "7::bigint", 7)
			scalar[float64](t, db, "0.5::float8", 0.5)
			scalar[string](t, db, "'é'::text", "é")
			scalar[string](t, db, "12.50::numeric", "12.50")
			scalar[string](t, db, `'{"a": 1}'::jsonb`, `{"a": 1}`)
			scalar[[]byte](t, db, `'\x00ff'::bytea`, []byte{0, 255})
			scalar[*string](t, db, "'x'::text", new("x"))
			scalar[sql.Null[int64]](t, db, "NULL::bigint", sql.Null[int64]{})
			scalar[sql.NullString](t, db, "'x'::text", sql.NullString{String: "x", Valid: true})
			scalar[even](t, db, "4::bigint", 4)
			got, err := rows.One[time.Time](t.Context(), db, "SELECT '2026-03-01 12:00:00.123456Z'::timestamptz")
			must(t, err)
			equal(t, got.UTC(), noon)
			at, err := rows.One[*time.Time](t.Context(), db, "SELECT NULL::timestamptz")
			must(t, err)
			equal(t, at, nil)
		})
		run("a field may be a type without size, or a time by another name", func(t *testing.T, db *poolgate.DB) {
			got, err := rows.One[struct {
				A  nothing
				B  int
				C  nothing
				At stamp
				D  *nothing
			}](t.Context(), db, "SELECT 'x' AS a, 1 AS b, NULL AS c, '2026-03-01 12:00:00.123456Z'::timestamptz AS at, 'y' AS d")
			must(t, err)
			equal(t, got.B, 1)
			equal(t, time.Time(got.At).UTC(), noon)
			equal(t, got.D, &nothing{})
			_, err = rows.One[struct{ A nothing }](t.Context(), db, "SELECT 'x' AS a")
			must(t, err)
			_, err = rows.One[struct{ A struct{ B nothing } }](t.Context(), db, `SELECT 'x' AS "a.b"`)
			must(t, err)
			_, err = rows.One[struct{ A nothing }](t.Context(), db, "SELECT 'x' AS a, 'y' AS b")
			is(t, err, rows.ErrUnknownColumn)
			_, err = rows.One[struct {
				rows.AllowUnknown
				A nothing
			}](t.Context(), db, "SELECT 'x' AS a, 'y' AS b")
			must(t, err)
		})
		run("a map takes every column", func(t *testing.T, db *poolgate.DB) {
			got, err := rows.Collect[map[string]any](t.Context(), db, "SELECT n::bigint AS n, NULLIF(n, 2)::bigint AS m, 'x'::text AS s FROM generate_series(1, 2) n")
			must(t, err)
			equal(t, got, []map[string]any{
				{"n": int64(1), "m": int64(1), "s": "x"}, {"n": int64(2), "m": nil, "s": "x"},
			})
			texts, err := rows.One[map[string]*string](t.Context(), db, "SELECT 1.50::numeric AS n, NULL AS m")
			must(t, err)
			equal(t, texts, map[string]*string{"n": new("1.50"), "m": nil})
		})
		run("a column without a field is refused, unless AllowUnknown is embedded", func(t *testing.T, db *poolgate.DB) {
			for range 2 {
				_, err := rows.Collect[author](t.Context(), db, "SELECT 1 AS id, 'x' AS nmae")
				is(t, err, rows.ErrUnknownColumn)
				says(t, err, "rows: column \"nmae\": rows_test.author has no exported field for it: "+
					"tag one with `db:\"nmae\"`, leave the column out, or embed rows.AllowUnknown")
			}
			got, err := rows.Collect[lenient](t.Context(), db, "SELECT 'x' AS a, n AS id, NULL AS b FROM generate_series(1, 2) n")
			must(t, err)
			equal(t, got, []lenient{{ID: 1}, {ID: 2}})
		})
		run("two columns of one name are refused", func(t *testing.T, db *poolgate.DB) {
			_, err := rows.Collect[author](t.Context(), db, "SELECT 1 AS id, 2 AS id")
			is(t, err, rows.ErrDuplicateColumn)
			says(t, err, `rows: column "id": two columns have this name: give one another with AS`)
			_, err = rows.Collect[map[string]any](t.Context(), db, "SELECT 1 AS id, 2 AS id")
			is(t, err, rows.ErrDuplicateColumn)
		})
		run("NULL into what cannot be NULL names column and field", func(t *testing.T, db *poolgate.DB) {
			for _, test := range []struct{ columns, column, field, typ string }{
				{"1 AS id, NULL AS the_title", "the_title", "book.Title", "string"},
				{`'x' AS the_title, NULL::int AS "author.id"`, "author.id", "book.Author.ID", "int64"},
				{`NULL::text AS "editor.name"`, "editor.name", "book.Editor.Name", "string"},
				{"NULL::timestamptz AS created_at", "created_at", "book.Stamps.CreatedAt", "time.Time"},
			} {
				_, err := rows.Collect[book](t.Context(), db, "SELECT "+test.columns)
				is(t, err, rows.ErrNull)
				says(t, err, `rows: column "`+test.column+`" is NULL, which `+test.field+" ("+test.typ+") cannot be: "+
					"make it a *"+test.typ+" or a sql.Null["+test.typ+"], or use COALESCE")
			}
		})
		run("a value that does not fit names column and field, and wraps the cause", func(t *testing.T, db *poolgate.DB) {
			_, err := rows.Collect[author](t.Context(), db, "SELECT 'x'::text AS name, 'y'::text AS id")
			var column *rows.ColumnError
			if !errors.As(err, &column) || column.Column != "id" || column.Field != "author.ID" || column.Type.String() != "int64" {
				t.Errorf("got %v", err)
			}
			says(t, err, `rows: column "id" into author.ID (int64): converting driver.Value type string ("y") to a int64: invalid syntax`)
			_, err = rows.Collect[struct{ N even }](t.Context(), db, "SELECT 3::bigint AS n")
			is(t, err, errOdd)
		})
		run("what cannot be read at all is refused at once", func(t *testing.T, db *poolgate.DB) {
			_, err := rows.Collect[int](t.Context(), db, "SELECT 1 AS a, 2 AS b")
			says(t, err, "rows: a int takes one column, and the query has 2 (a, b)")
			_, err = rows.Collect[time.Time](t.Context(), db, "SELECT now() AS a, now() AS b")
			says(t, err, "rows: a time.Time takes one column, and the query has 2 (a, b)")
			_, err = rows.Collect[node](t.Context(), db, "SELECT 1 AS id")
			says(t, err, "rows: rows_test.node.Parent is a rows_test.node inside itself, whose columns would never end: tag it with `db:\"-\"`")
			_, err = rows.Collect[embedder](t.Context(), db, "SELECT 1 AS id")
			says(t, err, "rows: rows_test.embedder.hidden is a pointer that cannot be set from outside its package: embed the struct itself")
			_, err = rows.Collect[sql.RawBytes](t.Context(), db, "SELECT 'x' AS a")
			says(t, err, `rows: column "a" into sql.RawBytes: sql.RawBytes is gone with the next row: use []byte`)
		})
	})
}

func scalar[T any](t *testing.T, db *poolgate.DB, expression string, want T) {
	t.Helper()
	got, err := rows.One[T](t.Context(), db, "SELECT "+expression)
	must(t, err)
	equal(t, got, want)
	all, err := rows.Collect[T](t.Context(), db, "SELECT "+expression)
	must(t, err)
	equal(t, all, []T{want})
}
