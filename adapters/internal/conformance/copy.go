package conformance

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"
)

// testCopy writes by COPY, inside the gate.
func testCopy(t *testing.T, d Driver) {
	f := open(t, d, 2)
	ctx := t.Context()
	f.must(t, "create table t (id int primary key, v text, n numeric, at timestamptz)")
	columns := []string{"id", "v", "n"}

	t.Run("10,000 rows arrive as they are", func(t *testing.T) {
		const n = 10_000
		var rows [][]any
		for i := range n {
			var v any = fmt.Sprintf("row %d\t\\N \\. \"quoted\", 'too'\n é 🐘", i)
			if i%7 == 0 {
				v = nil
			}
			rows = append(rows, []any{i, v, fmt.Sprintf("%d.5", i)})
		}
		if copied, err := d.Copy(ctx, f.DB, "t", columns, rows); copied != n || err != nil {
			t.Fatalf("%d rows, %v", copied, err)
		}
		f.settled(t)
		got, err := f.QueryContext(ctx, "select id, v, n::text from t order by id")
		if err != nil {
			t.Fatal(err)
		}
		defer got.Close()
		i := 0
		for ; got.Next(); i++ {
			var (
				id     int
				v      *string
				number string
			)
			if err := got.Scan(&id, &v, &number); err != nil {
				t.Fatal(err)
			}
			same := v == nil && rows[i][1] == nil || v != nil && *v == rows[i][1]
			if id != i || !same || number != rows[i][2] {
				t.Fatalf("row %d is %d, %v, %s", i, id, v, number)
			}
		}
		if i != n || got.Err() != nil {
			t.Errorf("%d rows are there, %v", i, got.Err())
		}
	})

	t.Run("a row that the server refuses fails all, and the pool goes on", func(t *testing.T) {
		rows := [][]any{{100_001, "new", "1"}, {1, "there already", "1"}}
		if _, err := d.Copy(ctx, f.DB, "t", columns, rows); state(err) != "23505" {
			t.Errorf("got %v", err)
		}
		if n := scalar[int](t, f, "select count(*) from t where id > 100000"); n != 0 {
			t.Errorf("%d rows are there", n)
		}
		f.usable(t)
	})

	t.Run("a table that is not there is 42P01, and the pool goes on", func(t *testing.T) {
		if _, err := d.Copy(ctx, f.DB, "nowhere", columns, [][]any{{1, "a", "1"}}); state(err) != "42P01" {
			t.Errorf("got %v", err)
		}
		f.usable(t)
	})

	t.Run("a context that ends meanwhile keeps nothing, and the pool goes on", func(t *testing.T) {
		var rows [][]any
		for i := range 300_000 {
			rows = append(rows, []any{1_000_000 + i, "a row of some length, so that it takes its time", "1"})
		}
		for range 5 {
			cancelled, cancel := context.WithTimeout(ctx, 30*time.Millisecond)
			if n, err := d.Copy(cancelled, f.DB, "t", columns, rows); err == nil {
				t.Errorf("%d rows were copied", n)
			}
			cancel()
			f.usable(t)
			if n := scalar[int](t, f, "select count(*) from t where id >= 1000000"); n != 0 {
				t.Errorf("%d rows are there", n)
			}
		}
	})

	t.Run("a context that has ended copies nothing", func(t *testing.T) {
		cancelled, cancel := context.WithCancel(ctx)
		cancel()
		if _, err := d.Copy(cancelled, f.DB, "t", columns, [][]any{{200_000, "a", "1"}}); !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		f.usable(t)
	})
}
