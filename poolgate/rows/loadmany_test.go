package rows_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"math"
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
		run("keys are compared as the database compares them", func(t *testing.T, db *poolgate.DB) {
			exec(t, db, `CREATE TABLE p (at timestamptz, ts timestamp, d date, n numeric(8,4), c char(5), f float8, z float8, u uuid);
				INSERT INTO p VALUES ('2026-03-01 12:00:00.123456Z', '2026-03-01 12:00', '2026-03-01', 1.5, 'ab', 'NaN', '-0', 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11')`)
			day := time.Date(2026, 3, 1, 0, 0, 0, 0, time.FixedZone("", 2*3600))
			at := time.Date(2026, 3, 1, 12, 0, 0, 123456000, time.UTC)
			parsed, err := time.Parse(time.RFC3339Nano, "2026-03-01T12:00:00.123456Z")
			must(t, err)
			for name, at := range map[string]time.Time{
				"Date": at, "Parse": parsed, "Unix": time.Unix(at.Unix(), 123456000), "Local": at.Local(), "UTC": at.UTC(),
				"a zone": at.In(time.FixedZone("", 3600)), "monotonic": monotonic(at), "nanoseconds": at.Add(789),
			} {
				t.Run(name, func(t *testing.T) {
					finds[time.Time](t, db, "at", at)
					finds[*time.Time](t, db, "at", &at)
					finds(t, db, "at", sql.NullTime{Time: at, Valid: true})
					finds(t, db, "at", sql.Null[time.Time]{V: at, Valid: true})
					finds[any](t, db, "at", at)
				})
			}
			finds(t, db, "ts", time.Date(2026, 3, 1, 12, 0, 0, 0, time.FixedZone("", 3600)))
			finds(t, db, "d", day)
			finds(t, db, "d", day.UTC().Add(2*time.Hour))
			finds(t, db, "n", "1.5")
			finds[any](t, db, "n", 1.5)
			finds(t, db, "n", decimal{new("1.50")})
			finds(t, db, "n", 1.5)
			finds(t, db, "n", float32(1.5))
			finds(t, db, "c", "ab")
			finds(t, db, "u", "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11")
			finds(t, db, "f", math.NaN())
			finds(t, db, "z", 0.0)
			finds(t, db, "z", math.Copysign(0, -1))
			finds(t, db, "z", new(0.0))
		})
		run("NULL is the key of no children", func(t *testing.T, db *poolgate.DB) {
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
		run("a child without a parent is an error", func(t *testing.T, db *poolgate.DB) {
			_, err := rows.LoadMany(t.Context(), db, []int64{1}, self, func(c child) int64 { return c.ID }, query)
			is(t, err, rows.ErrUnknownParent)
			says(t, err, "rows: a child belongs to none of the parents: its key is 12")
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

// A decimal is a number as libraries have them: a pointer, whose == says
// nothing.
type decimal struct{ text *string }

func (d decimal) Value() (driver.Value, error) { return *d.text, nil }

func (d *decimal) Scan(v any) error {
	if b, ok := v.([]byte); ok {
		v = string(b)
	}
	d.text = new(v.(string))
	return nil
}

// monotonic returns t with a monotonic clock reading.
func monotonic(t time.Time) time.Time {
	now := time.Now()
	return now.Add(t.Sub(now))
}

// finds wants the row of p to be the child of a parent with this key, although
// the key of the child may be another Go value.
func finds[K comparable](t *testing.T, db *poolgate.DB, column string, key K) {
	t.Helper()
	got, err := rows.LoadMany(t.Context(), db, []K{key, key}, func(k K) K { return k }, func(r struct{ Key K }) K { return r.Key },
		"SELECT "+column+" AS key FROM p WHERE "+column+" = ANY($1)")
	if err != nil {
		t.Errorf("%T %v in %s: %v", key, key, column, err)
		return
	}
	if len(got[0]) != 1 || len(got[1]) != 1 {
		t.Errorf("%T %v in %s: %v", key, key, column, got)
	}
}
