package conformance

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// testReuse checks that prepared statements are kept by their connections, and
// that what they answer is right whatever has happened to the server's meanwhile.
func testReuse(t *testing.T, d Driver) {
	t.Run("a statement is parsed once for each connection", func(t *testing.T) { testParsedOnce(t, d) })
	for _, way := range []reuseWay{
		{"a Stmt", poolgate.Config{}, queryStmt},
		{"a plain query", poolgate.Config{PrepareQueries: true}, queryPlainly},
	} {
		t.Run(way.name, func(t *testing.T) { testOutdated(t, d, way) })
	}
	testEviction(t, d)
	testUnusualStatements(t, d)
}

// reuseWay is a way to have a statement prepared.
type reuseWay struct {
	name   string
	config poolgate.Config
	query  func(t *testing.T, f *fixture, query string) func(ctx context.Context, args ...any) (*sql.Rows, error)
}

func queryStmt(t *testing.T, f *fixture, query string) func(context.Context, ...any) (*sql.Rows, error) {
	t.Helper()
	stmt, err := f.PrepareContext(t.Context(), query)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { stmt.Close() })
	return stmt.QueryContext
}

func queryPlainly(_ *testing.T, f *fixture, query string) func(context.Context, ...any) (*sql.Rows, error) {
	return func(ctx context.Context, args ...any) (*sql.Rows, error) { return f.QueryContext(ctx, query, args...) }
}

// texts returns all that rows has, as text.
func texts(rows *sql.Rows, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return "", err
	}
	var all []string
	for rows.Next() {
		row := make([]sql.NullString, len(columns))
		into := make([]any, len(columns))
		for i := range row {
			into[i] = &row[i]
		}
		if err := rows.Scan(into...); err != nil {
			return "", err
		}
		for _, v := range row {
			all = append(all, v.String)
		}
	}
	return strings.Join(all, " "), errors.Join(rows.Err(), rows.Close())
}

// everywhere runs a statement on each connection of the pool.
func (f *fixture) everywhere(t *testing.T, statement string) {
	t.Helper()
	conns := f.hold(t, f.Gate().Stats().Limit)
	for _, c := range conns {
		if _, err := c.ExecContext(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	for _, c := range conns {
		c.Close()
	}
}

// crowdly calls call from several goroutines at once, n times in all, so that
// all connections are used.
func crowdly(t *testing.T, n int, call func(i int) error) {
	t.Helper()
	next := make(chan int, n)
	for i := range n {
		next <- i
	}
	close(next)
	var wg sync.WaitGroup
	for range 16 {
		wg.Go(func() {
			for i := range next {
				if err := call(i); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

// testParsedOnce counts at the server: each of its prepared statements knows how
// often it was executed.
func testParsedOnce(t *testing.T, d Driver) {
	const limit, executions = 8, 2000
	const marked = "/* parsed once */"
	for name, do := range map[string]func(f *fixture) (call func(i int) error, end func() error){
		"a Stmt": func(f *fixture) (func(int) error, func() error) {
			stmt, err := f.Prepare("select $1::int + 1 " + marked)
			if err != nil {
				t.Fatal(err)
			}
			return func(i int) error {
				var n int
				if err := stmt.QueryRow(i).Scan(&n); err != nil || n != i+1 {
					return fmt.Errorf("got %d, %v, want %d", n, err, i+1)
				}
				return nil
			}, stmt.Close
		},
		"a Stmt in transactions": func(f *fixture) (func(int) error, func() error) {
			stmt, err := f.Prepare("select $1::int + 1 " + marked)
			if err != nil {
				t.Fatal(err)
			}
			return func(i int) error {
				tx, err := f.Begin()
				if err != nil {
					return err
				}
				defer tx.Rollback()
				var n int
				if err := tx.Stmt(stmt).QueryRow(i).Scan(&n); err != nil || n != i+1 {
					return fmt.Errorf("got %d, %v, want %d", n, err, i+1)
				}
				return tx.Commit()
			}, stmt.Close
		},
		"a transaction's own": func(f *fixture) (func(int) error, func() error) {
			return func(i int) error {
				tx, err := f.Begin()
				if err != nil {
					return err
				}
				defer tx.Rollback()
				stmt, err := tx.Prepare("select $1::int + 1 " + marked)
				if err != nil {
					return err
				}
				defer stmt.Close()
				if _, err := stmt.Exec(i); err != nil {
					return err
				}
				return tx.Commit()
			}, func() error { return nil }
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := open(t, d, limit)
			call, end := do(f)
			crowdly(t, executions, call)
			f.settled(t)
			statements, executed := 0, 0
			for _, c := range f.hold(t, limit) {
				var n, times int
				err := c.QueryRowContext(t.Context(), "select count(*), coalesce(sum(generic_plans + custom_plans), 0)::int "+
					"from pg_prepared_statements where position('"+marked+"' in statement) > 0 "+
					"and position('pg_prepared_statements' in statement) = 0").Scan(&n, &times)
				if err != nil {
					t.Fatal(err)
				}
				statements, executed = statements+n, executed+times
				c.Close()
			}
			if statements > limit || executed < executions {
				t.Errorf("%d statements were executed %d times, want at most %d and %d times", statements, executed, limit, executions)
			}
			if err := end(); err != nil {
				t.Error(err)
			}
		})
	}
}

// testOutdated has the server lose statements, or their plans.
func testOutdated(t *testing.T, d Driver, way reuseWay) {
	const limit = 3
	way.config.Gate = gate.Config{Limit: limit}
	f := openConfig(t, d, way.config)
	ctx := t.Context()
	f.must(t, "create table t (id int, v text)", "insert into t values (1, 'a'), (2, 'b')")

	for _, test := range []struct {
		name   string
		query  string
		change func(t *testing.T)
		undo   string
		before string
		after  string
	}{
		{"a column that is added", "select * from t where id = $1", func(t *testing.T) {
			f.must(t, "alter table t add w int default 7")
		}, "alter table t drop w", "1 a", "1 a 7"},
		{"a column that another program adds", "select * from t where id = $1", func(t *testing.T) {
			f.foreign(t, "alter table t add w int default 7")
		}, "alter table t drop w", "1 a", "1 a 7"},
		{"a column of another type", "select id from t where id = $1", func(t *testing.T) {
			f.must(t, "alter table t alter id type text")
		}, "alter table t alter id type int using id::int", "1", "1"},
		{"a column that another program gives another type", "select id from t where id = $1", func(t *testing.T) {
			f.foreign(t, "alter table t alter id type text")
		}, "alter table t alter id type int using id::int", "1", "1"},
		{"a table that is made again", "select * from t where id = $1", func(t *testing.T) {
			f.must(t, "drop table t", "create table t (id int, v text)", "insert into t values (1, 'again')")
		}, "update t set v = 'a'", "1 a", "1 again"},
		{"another table of that name", "select * from t where id = $1", func(t *testing.T) {
			f.must(t, "alter table t rename to other", "create table t (v text, id int)", "insert into t values ('new', 1)")
		}, "drop table t; alter table other rename to t", "1 a", "new 1"},
		{"DISCARD ALL", "select v from t where id = $1", func(t *testing.T) {
			f.everywhere(t, "  discard all")
		}, "select 1", "a", "a"},
		{"DEALLOCATE ALL", "select v from t where id = $1", func(t *testing.T) {
			f.everywhere(t, "deallocate all")
		}, "select 1", "a", "a"},
		{"DEALLOCATE ALL among others", "select v from t where id = $1", func(t *testing.T) {
			f.everywhere(t, "select 1; deallocate all")
		}, "select 1", "a", "a"},
	} {
		t.Run(test.name, func(t *testing.T) {
			query := way.query(t, f, test.query)
			ask := func(want string) {
				t.Helper()
				crowdly(t, 8*limit, func(int) error {
					// With an argument that is a text for the driver, so that it does not
					// depend on the type that the column had.
					got, err := texts(query(ctx, "1"))
					if err == nil && got != want {
						err = fmt.Errorf("got %q, want %q", got, want)
					}
					return err
				})
			}
			ask(test.before)
			test.change(t)
			ask(test.after)
			for _, s := range strings.Split(test.undo, "; ") {
				f.must(t, s)
			}
			ask(test.before)
			f.settled(t)
		})
	}

	t.Run("an argument is what its column is after an ALTER", func(t *testing.T) {
		f.must(t, "create table events (at date)")
		defer f.must(t, "drop table events")
		ask := way.query(t, f, "insert into events values ($1) returning at::text")
		at := time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)
		insert := func(want string) {
			t.Helper()
			crowdly(t, 8*limit, func(int) error {
				got, err := texts(ask(ctx, at))
				if err == nil && got != want {
					err = fmt.Errorf("got %q, want %q", got, want)
				}
				return err
			})
		}
		insert("2026-02-03")
		tx, err := f.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec("ALTER TABLE events ALTER at TYPE timestamp"); err != nil {
			t.Fatal(err)
		}
		if err := tx.Commit(); err != nil {
			t.Fatal(err)
		}
		insert("2026-02-03 04:05:06")
	})

	t.Run("within a transaction the call fails, and the next does not", func(t *testing.T) {
		query := "select * from t where id = $1"
		ask := way.query(t, f, query)
		crowdly(t, 8*limit, func(int) error { _, err := texts(ask(ctx, "1")); return err })
		f.foreign(t, "alter table t add w int default 7")
		defer f.must(t, "alter table t drop w")
		for range 2 * limit {
			tx, err := f.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			// Not all connections need have it.
			if stmt, err := tx.PrepareContext(ctx, query); err == nil {
				if _, err := texts(stmt.Query("1")); err != nil && state(err) != "0A000" {
					t.Errorf("got %v", err)
				}
			}
			tx.Rollback()
		}
		crowdly(t, 8*limit, func(int) error {
			got, err := texts(ask(ctx, "1"))
			if err == nil && got != "1 a 7" {
				err = fmt.Errorf("got %q", got)
			}
			return err
		})
	})

	t.Run("within a transaction that a statement began the error is that of the call", func(t *testing.T) {
		query := "select * from t where id = $1"
		ask := way.query(t, f, query)
		begun := func(change string) error {
			conn, err := f.Conn(ctx)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			stmt, err := conn.PrepareContext(ctx, query)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []string{"begin", change} {
				if _, err := conn.ExecContext(ctx, s); err != nil {
					t.Fatal(err)
				}
			}
			_, err = texts(stmt.QueryContext(ctx, "1"))
			if _, err := conn.ExecContext(ctx, "rollback"); err != nil {
				t.Fatal(err)
			}
			return err
		}
		for range 2 {
			if err := begun("alter table t add w int default 7"); err != nil && state(err) != "0A000" {
				t.Errorf("got %v", err)
			}
			if err := begun("drop table t"); state(err) != "42P01" {
				t.Errorf("got %v", err)
			}
		}
		if got, err := texts(ask(ctx, "1")); err != nil || got != "1 a" {
			t.Errorf("got %q, %v", got, err)
		}

		view := f.OutOfBandReadOnly()
		stmt, err := view.PrepareContext(ctx, query)
		if err != nil {
			t.Fatal(err)
		}
		defer stmt.Close()
		f.foreign(t, "alter table t add w int default 7")
		defer f.must(t, "alter table t drop w")
		for range 2 * limit {
			if got, err := texts(stmt.QueryContext(ctx, "1")); err == nil && got != "1 a 7" || err != nil && state(err) != "0A000" {
				t.Errorf("got %q, %v", got, err)
			}
		}
	})

	t.Run("a temporary table that hides another", func(t *testing.T) {
		query := "select v from t where id = $1"
		ask := way.query(t, f, query)
		crowdly(t, 8*limit, func(int) error { _, err := texts(ask(ctx, "1")); return err })
		hide := func() {
			tx, err := f.BeginTx(ctx, nil)
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			for _, s := range []string{"create temp table t (id int, v text) on commit drop", "insert into t values (1, 'temporary')"} {
				if _, err := tx.ExecContext(ctx, s); err != nil {
					t.Fatal(err)
				}
			}
			stmt, err := tx.PrepareContext(ctx, query)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := texts(stmt.QueryContext(ctx, "1")); err != nil || got != "temporary" {
				t.Errorf("got %q, %v", got, err)
			}
		}
		for range 4 * limit {
			hide()
			crowdly(t, 8*limit, func(int) error { _, err := texts(ask(ctx, "1")); return err })
		}
	})
}

// testEviction checks how many statements a connection keeps.
func testEviction(t *testing.T, d Driver) {
	const most = 5
	count := func(t *testing.T, f *fixture) int {
		t.Helper()
		return scalar[int](t, f, "select count(*) from pg_prepared_statements where statement like 'select % /* kept */'")
	}
	for _, test := range []struct{ config, want int }{{most, most}, {-1, 0}} {
		f := openConfig(t, d, poolgate.Config{Gate: gate.Config{Limit: 1}, StatementsPerConn: test.config})
		t.Run(fmt.Sprintf("of many statements each connection keeps %d", test.want), func(t *testing.T) {
			var stmts []*sql.Stmt
			for range 3 {
				for i := range 3 * most {
					if len(stmts) <= i {
						stmt, err := f.Prepare(fmt.Sprintf("select %d + $1 /* kept */", i))
						if err != nil {
							t.Fatal(err)
						}
						defer stmt.Close()
						stmts = append(stmts, stmt)
					}
					var n int
					if err := stmts[i].QueryRow(1).Scan(&n); err != nil || n != i+1 {
						t.Errorf("got %d, %v, want %d", n, err, i+1)
					}
				}
				if n := count(t, f); n != test.want {
					t.Errorf("%d are kept", n)
				}
			}
		})
		t.Run("a Conn that prepares more at once has them until they are closed", func(t *testing.T) {
			conn := f.hold(t, 1)[0]
			var stmts []*sql.Stmt
			for i := range 3 * most {
				stmt, err := conn.PrepareContext(t.Context(), fmt.Sprintf("select 100 + %d + $1 /* kept */", i))
				if err != nil {
					t.Fatal(err)
				}
				stmts = append(stmts, stmt)
			}
			for i, stmt := range slices.Backward(stmts) {
				var n int
				if err := stmt.QueryRow(1).Scan(&n); err != nil || n != 100+i+1 {
					t.Errorf("got %d, %v", n, err)
				}
			}
			for _, stmt := range stmts {
				if err := stmt.Close(); err != nil {
					t.Error(err)
				}
			}
			if n := scalar[int](t, conn, "select count(*) from pg_prepared_statements where statement like 'select % /* kept */'"); n != test.want {
				t.Errorf("%d are left", n)
			}
			conn.Close()
			if n := count(t, f); n != test.want {
				t.Errorf("%d are kept", n)
			}
		})
		t.Run("one that is prepared twice stays while the rows of the other are open", func(t *testing.T) {
			conn := f.hold(t, 1)[0]
			prepare := func(i int) *sql.Stmt {
				t.Helper()
				stmt, err := conn.PrepareContext(t.Context(), fmt.Sprintf("select n from generate_series(200 + %d + $1, 300) n /* kept */", i))
				if err != nil {
					t.Fatal(err)
				}
				return stmt
			}
			first, again := prepare(0), prepare(0)
			var others []*sql.Stmt
			for i := range 2 * most {
				others = append(others, prepare(1+i))
			}
			rows, err := first.Query(0)
			if err != nil {
				t.Fatal(err)
			}
			if test.config > 0 { // otherwise it is a statement of its own, which neither driver can close meanwhile
				if err := again.Close(); err != nil {
					t.Error(err)
				}
			}
			n := 0
			for rows.Next() {
				n++
			}
			if err := errors.Join(rows.Err(), rows.Close()); err != nil || n != 101 {
				t.Errorf("%d rows, %v", n, err)
			}
			for _, stmt := range append(others, first, again) {
				if err := stmt.Close(); err != nil {
					t.Error(err)
				}
			}
			conn.Close()
			f.usable(t)
		})
	}
}

// foreign executes a statement as another program would.
func (f *fixture) foreign(t *testing.T, statement string) {
	t.Helper()
	if _, err := f.observer.Exec(statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

// testUnusualStatements has statements prepared by Config.PrepareQueries that
// cannot be, or need not.
func testUnusualStatements(t *testing.T, d Driver) {
	f := openConfig(t, d, poolgate.Config{Gate: gate.Config{Limit: 1}, PrepareQueries: true})
	ctx := t.Context()
	f.must(t, "create table t (id int primary key, v text)")

	t.Run("errors are the server's", func(t *testing.T) {
		for query, want := range map[string]string{
			"select nothing from nowhere where id = $1": "42P01",
			"select $1::int; select 2":                  "42601",
			"select 1 / $1::int":                        "22012",
		} {
			for range 2 {
				if _, err := f.Exec(query, 0); state(err) != want {
					t.Errorf("%s: got %v", query, err)
				}
			}
		}
		f.usable(t)
	})

	t.Run("a wrong number of arguments is an error", func(t *testing.T) {
		for _, args := range [][]any{{1}, {1, 2, 3}} {
			if _, err := f.Exec("select $1::int + $2::int", args...); err == nil {
				t.Errorf("%d arguments: no error", len(args))
			}
		}
		f.usable(t)
	})

	t.Run("results are as without it", func(t *testing.T) {
		res, err := f.Exec("insert into t values ($1, $2), ($1 + 1, $2)", 1, "x")
		if err != nil {
			t.Fatal(err)
		}
		if n, err := res.RowsAffected(); n != 2 || err != nil {
			t.Errorf("%d rows, %v", n, err)
		}
		if got := scalar[string](t, f, "select v from t where id = $1", 2); got != "x" {
			t.Errorf("got %q", got)
		}
	})

	t.Run("a context that ends is the error", func(t *testing.T) {
		ctx, cancel := context.WithCancel(ctx)
		done := make(chan error)
		go func() {
			_, err := f.ExecContext(ctx, "select pg_sleep($1)", 60)
			done <- err
		}()
		eventually(t, "it runs", func() bool {
			return f.count(t, "application_name = 'gated' and wait_event = 'PgSleep'") == 1
		})
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
		f.usable(t)
	})
}
