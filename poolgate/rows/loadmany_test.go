package rows_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/rows"
)

const family = `
	CREATE TABLE a (id bigint PRIMARY KEY, code text NOT NULL UNIQUE, at timestamptz NOT NULL, tag uuid NOT NULL);
	CREATE TABLE b (id bigint PRIMARY KEY, a_id bigint NOT NULL, code text, at timestamptz, tag uuid);
	INSERT INTO a SELECT n, E'"k\\' || n || '", é{,}', '2026-01-01'::timestamptz + n * '1 second'::interval, md5(n::text)::uuid
	FROM generate_series(1, 3000) n;
	INSERT INTO b SELECT a.id * 10 + m, a.id, code, at, tag FROM a, generate_series(1, 2) m WHERE a.id % 3 > 0;
	CREATE INDEX ON b (a_id);
	ANALYZE`

// A code is a key that turns itself into an argument.
type code struct{ n int64 }

func (c code) Value() (driver.Value, error) { return fmt.Sprintf(`"k\%d", é{,}`, c.n), nil }

func (c *code) Scan(v any) error {
	_, err := fmt.Sscanf(fmt.Sprint(v), `"k\%d"`, &c.n)
	return err
}

type child struct {
	ID  int64
	AID int64 `db:"a_id"`
}

func TestLoadMany(t *testing.T) {
	const query = "SELECT id, a_id FROM b WHERE a_id = ANY($1) ORDER BY id DESC"
	parent := func(c child) int64 { return c.AID }
	self := func(n int64) int64 { return n }
	onBoth(t, family, func(run func(string, func(*testing.T, *poolgate.DB))) {
		run("parents get their children, in the order of the query", func(t *testing.T, db *poolgate.DB) {
			got, err := rows.LoadMany(t.Context(), db, []int64{5, 3, 1, 5, -1}, self, parent, query)
			must(t, err)
			five, one := []child{{52, 5}, {51, 5}}, []child{{12, 1}, {11, 1}}
			equal(t, got, [][]child{five, nil, one, five, nil})
		})
		run("70,000 parents are one statement", func(t *testing.T, db *poolgate.DB) {
			parents := make([]int64, 70_000)
			for i := range parents {
				parents[i] = int64(len(parents) - i)
			}
			got, err := rows.LoadMany(t.Context(), db, parents, self, parent, query)
			must(t, err)
			equal(t, db.Gate().Stats().Acquired, 1)
			equal(t, len(got), len(parents))
			for i, id := range parents {
				var want []child
				if id <= 3000 && id%3 > 0 {
					want = []child{{id*10 + 2, id}, {id*10 + 1, id}}
				}
				if len(got[i]) != len(want) || len(want) > 0 && (got[i][0] != want[0] || got[i][1] != want[1]) {
					t.Fatalf("parent %d has %v", id, got[i])
				}
			}
		})
		run("parents and children may be pointers, and there may be more arguments", func(t *testing.T, db *poolgate.DB) {
			parents := []*pair{{ID: 1}, {ID: 2}}
			got, err := rows.LoadMany(t.Context(), db, parents,
				func(p *pair) int64 { return p.ID }, func(c *child) int64 { return c.AID },
				"SELECT id, a_id FROM b WHERE a_id = ANY($1) AND id % 10 = $2 ORDER BY id", 2)
			must(t, err)
			equal(t, got, [][]*child{{{12, 1}}, {{22, 2}}})
		})
		run("keys may be of any type", func(t *testing.T, db *poolgate.DB) {
			loads(t, db, "code", func(n int64) string { return fmt.Sprintf(`"k\%d", é{,}`, n) })
			loads(t, db, "code", func(n int64) code { return code{n} })
			loads(t, db, "a_id", func(n int64) int32 { return int32(n) })
			loads(t, db, "a_id", func(n int64) sql.Null[int64] { return sql.Null[int64]{V: n, Valid: true} })
			tags, err := rows.Collect[string](t.Context(), db, "SELECT tag FROM a ORDER BY id LIMIT 10")
			must(t, err)
			loads(t, db, "tag", func(n int64) string { return tags[n-1] })
			loads(t, db, "extract(epoch FROM at)::bigint", func(n int64) int64 {
				return time.Date(2026, 1, 1, 0, 0, int(n), 0, time.UTC).Unix()
			})
		})
		run("times are found, whatever their zone", func(t *testing.T, db *poolgate.DB) {
			zone := time.FixedZone("", 5*3600+30*60)
			got, err := rows.LoadMany(t.Context(), db, []int64{2, 4},
				func(n int64) time.Time { return time.Date(2026, 1, 1, 5, 30, int(n), 0, zone) },
				func(s struct{ At time.Time }) time.Time { return s.At.In(zone) },
				"SELECT at FROM b WHERE at = ANY($1)")
			must(t, err)
			equal(t, []int{len(got[0]), len(got[1])}, []int{2, 2})
		})
		run("NULL is the key of nobody's children", func(t *testing.T, db *poolgate.DB) {
			got, err := rows.LoadMany(t.Context(), db, []sql.Null[int64]{{}, {V: 1, Valid: true}},
				func(k sql.Null[int64]) sql.Null[int64] { return k },
				func(c struct {
					AID sql.Null[int64] `db:"a_id"`
				}) sql.Null[int64] {
					return c.AID
				},
				"SELECT a_id FROM b WHERE a_id = ANY($1)")
			must(t, err)
			equal(t, []int{len(got[0]), len(got[1])}, []int{0, 2})
		})
		run("without parents there is no query", func(t *testing.T, db *poolgate.DB) {
			got, err := rows.LoadMany(t.Context(), db, nil, self, parent, query)
			must(t, err)
			equal(t, len(got), 0)
			equal(t, db.Gate().Stats().Acquired, 0)
		})
		run("a child of nobody is an error", func(t *testing.T, db *poolgate.DB) {
			_, err := rows.LoadMany(t.Context(), db, []int64{1}, self, func(c child) int64 { return c.ID }, query)
			is(t, err, rows.ErrUnknownParent)
			says(t, err, "rows: a child is of none of the parents: its key is 12")
		})
		run("a key that is no argument is an error", func(t *testing.T, db *poolgate.DB) {
			type key [2]int
			_, err := rows.LoadMany(t.Context(), db, []int64{1},
				func(int64) key { return key{} }, func(child) key { return key{} }, query)
			says(t, err, "rows: the key of parent 0, a rows_test.key: unsupported type rows_test.key, a array")
		})
		run("the server's error is returned", func(t *testing.T, db *poolgate.DB) {
			_, err := rows.LoadMany(context.Background(), db, []int64{1}, self, parent, "SELECT id, a_id FROM nothing WHERE a_id = ANY($1)")
			equal(t, state(err), "42P01")
		})
	})
}

// loads wants ten parents to get their children by a key of type K, which is
// in column.
func loads[K comparable](t *testing.T, db *poolgate.DB, column string, key func(int64) K) {
	t.Helper()
	type row struct {
		AID int64 `db:"a_id"`
		Key K
	}
	parents := []int64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10}
	got, err := rows.LoadMany(t.Context(), db, parents, key, func(r row) K { return r.Key },
		"SELECT a_id, "+column+" AS key FROM b WHERE "+column+" = ANY($1) ORDER BY id")
	must(t, err)
	for i, id := range parents {
		var want []row
		if id%3 > 0 {
			want = []row{{id, key(id)}, {id, key(id)}}
		}
		equal(t, got[i], want)
	}
}
