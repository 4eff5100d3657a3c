package conformance

import (
	"errors"
	"testing"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// testErrors has the server refuse statements. What it says has to arrive as
// the driver has it, with its SQLSTATE, and must not cost the connection.
func testErrors(t *testing.T, d Driver) {
	f := open(t, d, 1)
	ctx := t.Context()
	f.must(t, "create table parent (id int primary key, name varchar(5) not null, n int check (n > 0))",
		"create table child (parent int references parent)",
		"insert into parent values (1, 'one', 1)")
	pid := backend(t, f)
	for _, test := range []struct {
		name      string
		state     string
		statement string
		args      []any
	}{
		{"a key that is there", "23505", "insert into parent values (1, 'one', 1)", nil},
		{"a parent that is not there", "23503", "insert into child values (7)", nil},
		{"a child in the way", "23503", "with c as (insert into child values (1)) delete from parent where id = 1", nil},
		{"null", "23502", "insert into parent values (2, null, 1)", nil},
		{"a check", "23514", "insert into parent values (2, 'two', 0)", nil},
		{"too long", "22001", "insert into parent values (2, 'eleven', 1)", nil},
		{"out of range", "22003", "select 1000000::int2", nil},
		{"division by zero", "22012", "select 1 / 0", nil},
		{"division by an argument", "22012", "select 1 / $1::int", []any{0}},
		{"no number", "22P02", "select 'x'::int", nil},
		{"no number as an argument", "22P02", "select $1::text::int", []any{"x"}},
		{"a zero byte", "22021", "select $1::text", []any{"a\x00b"}},
		{"no such table", "42P01", "select * from nowhere", nil},
		{"no such column", "42703", "select nothing from parent", nil},
		{"no such function", "42883", "select nothing()", nil},
		{"a syntax error", "42601", "selct 1", nil},
		{"a table that is there", "42P07", "create table parent ()", nil},
		{"cancelled by somebody else", "57014", "select pg_cancel_backend(pg_backend_pid()), pg_sleep(60)", nil},
		{"raised by a function", "P0001", "do $$ begin raise exception 'no'; end $$", nil},
	} {
		t.Run(test.name+" is "+test.state, func(t *testing.T) {
			_, err := f.ExecContext(ctx, test.statement, test.args...)
			if state(err) != test.state {
				t.Errorf("Exec: got %v", err)
			}
			rows, err := f.QueryContext(ctx, test.statement, test.args...)
			if err == nil {
				for rows.Next() {
				}
				err = errors.Join(rows.Err(), rows.Close())
			}
			if state(err) != test.state {
				t.Errorf("Query: got %v", err)
			}
			if errors.Is(err, gate.ErrRejected) {
				t.Error("it looks like a refusal of the gate")
			}
			if now := backend(t, f); now != pid {
				t.Errorf("the connection is another: %d, was %d", now, pid)
				pid = now
			}
		})
	}
}
