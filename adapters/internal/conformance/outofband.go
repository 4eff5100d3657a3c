package conformance

import (
	"context"
	"errors"
	"slices"
	"testing"
)

// testOutOfBand checks the views of a DB next to what is open.
func testOutOfBand(t *testing.T, d Driver) {
	t.Run("there is no deadlock, even with one permit", func(t *testing.T) {
		f := open(t, d, 1)
		tx, err := f.Begin()
		if err != nil {
			t.Fatal(err)
		}
		defer tx.Rollback()
		mine := backend(t, tx)
		for range 100 {
			if other := backend(t, f.OutOfBand()); other == mine {
				t.Fatal("it is the transaction's connection")
			}
		}
		if s := f.Gate().Stats(); s.OutOfBand.Acquired != 100 || s.Refused() != 0 {
			t.Errorf("stats: %+v", s)
		}
	})

	t.Run("what is read only is refused by the server, and leaves nothing behind", func(t *testing.T) {
		f := open(t, d, 1)
		f.must(t, "create table t (id int)", "insert into t values (1), (2), (3)")
		view := f.OutOfBandReadOnly()
		for range 3 {
			_, err := view.Exec("insert into t values ($1)", 4)
			if got := state(err); got != "25006" {
				t.Errorf("got %v, %s", err, got)
			}
			if n := scalar[int](t, view, "select count(*) from t where id > $1", 0); n != 3 {
				t.Errorf("%d rows are read", n)
			}
			f.must(t, "insert into t values (4)", "delete from t where id = 4") // on the same connections
			if _, err := f.OutOfBand().Exec("update t set id = id"); err != nil {
				t.Error(err)
			}
		}
		eventually(t, "nobody is in a transaction", func() bool {
			return f.count(t, "application_name = 'gated' and state like 'idle in%'") == 0
		})
		if n := f.Stats().OpenConnections; n > 2 {
			t.Errorf("%d connections were needed", n)
		}
	})

	t.Run("rows of it stream, and a context that ends does no harm", func(t *testing.T) {
		f := open(t, d, 1)
		view := f.OutOfBandReadOnly()
		rows, err := view.Query("select generate_series(1, $1::int)", 3)
		if err != nil {
			t.Fatal(err)
		}
		var got []int
		for rows.Next() {
			var n int
			if err := rows.Scan(&n); err != nil {
				t.Fatal(err)
			}
			got = append(got, n)
		}
		if err := errors.Join(rows.Err(), rows.Close()); err != nil || !slices.Equal(got, []int{1, 2, 3}) {
			t.Errorf("%v, %v", got, err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		if rows, err = view.QueryContext(ctx, "select generate_series(1, 100000)"); err != nil {
			t.Fatal(err)
		}
		rows.Next()
		cancel()
		rows.Close()
		if n := scalar[int](t, view, "select 1"); n != 1 {
			t.Errorf("got %d", n)
		}
	})

	t.Run("a backend that died while idle fails no call of it", func(t *testing.T) {
		f := open(t, d, 1)
		view := f.OutOfBandReadOnly()
		f.kill(t, backend(t, view))
		if n := scalar[int](t, view, "select 1"); n != 1 {
			t.Errorf("got %d", n)
		}
	})
}
