package conformance

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// testResults reads what comes back in every shape, and what Exec returns.
func testResults(t *testing.T, d Driver) {
	f, diff := open(t, d, 2), differencesOf(t, d)
	ctx := t.Context()
	f.must(t, "create table t (id int generated always as identity, v text)")

	t.Run("no row", func(t *testing.T) {
		rows, err := f.QueryContext(ctx, "select 1 as a, 'x' as b where $1", false)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		if columns, err := rows.Columns(); err != nil || len(columns) != 2 {
			t.Errorf("columns %v, %v", columns, err)
		}
		if rows.Next() || rows.Err() != nil {
			t.Errorf("a row, or %v", rows.Err())
		}
	})

	t.Run("many rows", func(t *testing.T) {
		rows, err := f.QueryContext(ctx, "select n, 'row ' || n from generate_series(1, $1) n order by n", 20_000)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		n := 0
		for rows.Next() {
			var id int
			var text string
			if err := rows.Scan(&id, &text); err != nil {
				t.Fatal(err)
			}
			if n++; id != n || text != fmt.Sprint("row ", n) {
				t.Fatalf("row %d: %d, %q", n, id, text)
			}
		}
		if rows.Err() != nil || n != 20_000 {
			t.Errorf("%d rows, %v", n, rows.Err())
		}
	})

	t.Run("many columns", func(t *testing.T) {
		const n = 1600 // the most that a table can have
		var names []string
		for i := range n {
			names = append(names, fmt.Sprintf("%d as c%d", i, i))
		}
		got, dest := make([]int, n), make([]any, n)
		for i := range got {
			dest[i] = &got[i]
		}
		if err := f.QueryRowContext(ctx, "select "+strings.Join(names, ", ")).Scan(dest...); err != nil {
			t.Fatal(err)
		}
		for i, v := range got {
			if v != i {
				t.Fatalf("column %d is %d", i, v)
			}
		}
	})

	t.Run("many arguments", func(t *testing.T) {
		var b strings.Builder
		var args []any
		for i := range 2000 {
			fmt.Fprintf(&b, "+$%d::int8", i+1)
			args = append(args, i)
		}
		if sum := scalar[int](t, f, "select 0"+b.String(), args...); sum != 2000*1999/2 {
			t.Errorf("their sum is %d", sum)
		}
	})

	t.Run("many statements in one Exec", func(t *testing.T) {
		f.must(t, "create table u (v int); insert into u values (1); insert into u values (2)")
		if n := scalar[int](t, f, "select count(*) from u"); n != 2 {
			t.Errorf("%d rows, want 2", n)
		}
	})

	t.Run("many statements in one Query", func(t *testing.T) {
		rows, err := f.QueryContext(ctx, "select 1; select 'a' union all select 'b'; select 3 where false")
		if !diff.ManyResults {
			if state(err) != "42601" {
				t.Errorf("got %v, want a syntax error", err)
			}
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var got []string
		for set := 1; ; set++ {
			for rows.Next() {
				var v string
				if err := rows.Scan(&v); err != nil {
					t.Fatal(err)
				}
				got = append(got, fmt.Sprintf("%d%s", set, v))
			}
			if !rows.NextResultSet() {
				break
			}
		}
		if want := "[11 2a 2b]"; fmt.Sprint(got) != want || rows.Err() != nil {
			t.Errorf("got %v, %v, want %s", got, rows.Err(), want)
		}
	})

	t.Run("RETURNING gives the rows that were written, in order", func(t *testing.T) {
		rows, err := f.QueryContext(ctx, "insert into t (v) select unnest($1::text[]) returning id, v", []string{"a", "b", "c"})
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var got []string
		for rows.Next() {
			var id int
			var v string
			if err := rows.Scan(&id, &v); err != nil {
				t.Fatal(err)
			}
			got = append(got, fmt.Sprintf("%d%s", id, v))
		}
		if want := "[1a 2b 3c]"; fmt.Sprint(got) != want || rows.Err() != nil {
			t.Errorf("got %v, %v, want %s", got, rows.Err(), want)
		}
	})

	t.Run("RowsAffected counts, LastInsertId does not exist", func(t *testing.T) {
		for _, test := range []struct {
			statement string
			rows      int64
		}{
			{"update t set v = 'x' where id <= 2", 2},
			{"delete from t where id = 3", 1},
			{"delete from t where id = 3", 0},
			{"select * from t", 2},
			{"insert into t (v) values (1), (2), (3), (4)", 4},
			{"create table v (id int)", 0},
		} {
			res, err := f.ExecContext(ctx, test.statement)
			if err != nil {
				t.Fatal(err)
			}
			if n, err := res.RowsAffected(); n != test.rows || err != nil {
				t.Errorf("%s: %d, %v, want %d", test.statement, n, err, test.rows)
			}
			if _, err := res.LastInsertId(); err == nil {
				t.Errorf("%s: LastInsertId has no error", test.statement)
			}
		}
	})

	t.Run("an empty statement is none", func(t *testing.T) {
		f.must(t, "", "-- nothing", " ; ")
	})

	t.Run("an error within the rows arrives, after the rows before it", func(t *testing.T) {
		rows, err := f.QueryContext(ctx, "select 100 / (3000 - n) from generate_series(1, 4000) n")
		n := 0
		if err == nil {
			defer rows.Close()
			for rows.Next() {
				n++
			}
			err = rows.Err()
		}
		if state(err) != "22012" || n > 2999 {
			t.Errorf("%d rows, then %v", n, err)
		}
	})

	t.Run("rows that are closed early leave the connection good", func(t *testing.T) {
		for range 3 {
			rows, err := f.QueryContext(ctx, "select n, repeat('x', 100) from generate_series(1, 50000) n")
			if err != nil {
				t.Fatal(err)
			}
			if !rows.Next() {
				t.Fatal(rows.Err())
			}
			if err := errors.Join(rows.Close(), rows.Err()); err != nil {
				t.Error(err)
			}
		}
		if n := f.count(t, "application_name = 'gated'"); n != 1 {
			t.Errorf("it took %d connections", n)
		}
	})
}
