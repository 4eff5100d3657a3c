package pgxgate_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"reflect"
	"testing"
	"time"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// pipelineValues are one of each type that pgx treats in a way of its own, and
// some of those that it leaves as text.
var pipelineValues = []struct {
	typ  string
	text []string
}{
	{"bool", []string{"t", "f"}},
	{"bytea", []string{`\x`, `\x00ff5c`}},
	{"int2", []string{"-32768"}}, {"int4", []string{"2147483647"}}, {"int8", []string{"-9223372036854775808"}},
	{"float4", []string{"0.1", "NaN", "-Infinity"}}, {"float8", []string{"1e308", "NaN"}},
	{"oid", []string{"4294967295"}}, {"xid", []string{"4294967295"}}, {"cid", []string{"7"}},
	{"date", []string{"2024-02-29", "infinity", "-infinity", "0044-03-15 BC"}},
	{"timestamp", []string{"2024-02-29 01:02:03.000004", "infinity"}},
	{"timestamptz", []string{"2024-02-29 01:02:03.000004+05", "-infinity"}},
	{"json", []string{`{"a": [1, null]}`, "null"}}, {"jsonb", []string{`{"a":1}`, "null", `"x"`}},
	{"text", []string{"", "Žluť"}}, {"varchar(9)", []string{"x"}}, {"char(5)", []string{"x"}}, {`"char"`, []string{"x"}}, {"name", []string{"x"}},
	{"numeric", []string{"1.50", "NaN", "123456789012345678901234567890.1"}},
	{"uuid", []string{"a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"}},
	{"interval", []string{"1 year 2 mons -3 days 04:05:06.000007"}}, {"time", []string{"24:00:00"}}, {"timetz", []string{"01:02:03+02"}},
	{"inet", []string{"10.1.2.3", "::1/64"}}, {"cidr", []string{"10.0.0.0/8"}}, {"macaddr", []string{"08:00:2b:01:02:03"}},
	{"int4[]", []string{"{1,NULL,3}"}}, {"text[]", []string{`{a,"b c"}`}}, {"int4range", []string{"[1,5)"}}, {"tsvector", []string{"'a':1"}},
	{"point", []string{"(1,2)"}}, {"bit(3)", []string{"101"}}, {"money", []string{"$1.00"}}, {"xid8", []string{"5"}}, {"void", nil},
	{"pg_lsn", []string{"0/10"}}, {"regclass", []string{"pg_class"}}, {"int8multirange", []string{"{[1,2)}"}},
}

var pipelineModes = []string{"cache_statement", "cache_describe", "describe_exec", "exec"}

// readAll reads rows with the types that *any gets.
func readAll(t *testing.T, rows driver.Rows) (all []any) {
	t.Helper()
	dest := make([]driver.Value, len(rows.Columns()))
	for {
		switch err := rows.Next(dest); err {
		case nil:
			for _, v := range dest {
				all = append(all, v)
			}
		case io.EOF:
			if err := rows.Close(); err != nil {
				t.Fatal(err)
			}
			return all
		default:
			t.Fatal(err)
		}
	}
}

func named(args ...any) (all []driver.NamedValue) {
	for i, arg := range args {
		all = append(all, driver.NamedValue{Ordinal: i + 1, Value: arg})
	}
	return all
}

// A pipeline has the values that the same statements have without it.
func TestPipelineValues(t *testing.T) {
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	for _, mode := range pipelineModes {
		t.Run(mode, func(t *testing.T) {
			conn := connect(t, dsn+"&default_query_exec_mode="+mode)
			var statements []poolgate.PipelineStatement
			for _, v := range pipelineValues {
				statements = append(statements, poolgate.PipelineStatement{Query: "SELECT NULL::" + v.typ + " AS v, 1"})
				for _, text := range v.text {
					statements = append(statements, poolgate.PipelineStatement{Query: fmt.Sprintf("SELECT $$%s$$::%s AS v", text, v.typ)})
					if mode != "exec" { // which knows no types
						statements = append(statements, poolgate.PipelineStatement{Query: "SELECT $1::" + v.typ, Args: named(text)})
					}
				}
			}
			now := time.Now().UTC().Truncate(time.Microsecond)
			statements = append(statements, []poolgate.PipelineStatement{
				{Query: "SELECT $1::timestamptz", Args: named(now)},
				{Query: "SELECT $1::bytea", Args: named([]byte{0, 1})},
				{Query: "SELECT $1::int8", Args: named(int64(7))},
				{Query: "SELECT $1::int4", Args: named(sql.NullInt64{})},
				{Query: "SELECT $1::text", Args: named(sql.NullString{String: "x", Valid: true})},
				{Query: "SELECT generate_series(1, 3)"},
				{Query: "SELECT 1 WHERE false"},
				{Query: ""},
			}...)
			want := make([]any, len(statements))
			columns := make([][]string, len(statements))
			for i, s := range statements {
				rows, err := conn.QueryContext(t.Context(), s.Query, s.Args)
				if err != nil {
					t.Fatalf("%s: %v", s.Query, err)
				}
				columns[i] = rows.Columns()
				want[i] = readAll(t, rows)
			}
			for range 2 {
				results, err := conn.SendPipeline(t.Context(), poolgate.Pipeline{Statements: statements})
				if err != nil {
					t.Fatal(err)
				}
				for i, s := range statements {
					rows, err := results.Query()
					if err != nil {
						t.Fatalf("%s: %v", s.Query, err)
					}
					if got := rows.Columns(); !reflect.DeepEqual(got, columns[i]) && len(columns[i]) > 0 {
						t.Errorf("%s: columns %q, want %q", s.Query, got, columns[i])
					}
					if got := any(readAll(t, rows)); fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want[i]) { // NaN is not itself
						t.Errorf("%s: got %#v, want %#v", s.Query, got, want[i])
					}
				}
				if err := results.Close(); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

func connect(t *testing.T, dsn string) *pgxgate.Conn {
	t.Helper()
	connector, err := pgxgate.NewConnector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := connector.Connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return conn.(*pgxgate.Conn)
}

func TestPipelineErrors(t *testing.T) {
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	send := func(conn *pgxgate.Conn, queries ...string) (string, error) {
		var p poolgate.Pipeline
		for _, q := range queries {
			p.Statements = append(p.Statements, poolgate.PipelineStatement{Query: q})
		}
		results, err := conn.SendPipeline(context.Background(), p)
		if err != nil {
			return "", err
		}
		done := ""
		for range queries {
			if _, err := results.Exec(); err != nil {
				done += "-"
			} else {
				done += "+"
			}
		}
		return done, results.Close()
	}
	for _, mode := range pipelineModes {
		t.Run(mode, func(t *testing.T) {
			conn := connect(t, dsn+"&default_query_exec_mode="+mode)
			healthy := func() {
				t.Helper()
				if done, err := send(conn, "SELECT 1", "SELECT 2"); done != "++" || err != nil {
					t.Errorf("afterwards: %s, %v", done, err)
				}
			}
			done, err := send(conn, "CREATE TEMP TABLE x (n int)", "SELECT 1 / (SELECT 0)", "SELECT 2")
			if done != "+--" || err == nil {
				t.Errorf("%s, %v", done, err)
			}
			healthy()
			if _, err := send(conn, "SELECT * FROM x"); err == nil {
				t.Error("what an error ended was kept")
			}
			healthy()
			_, err = send(conn, "SELECT 1", "SELECT none", "SELECT 3")
			if refused, ok := errors.AsType[*poolgate.PipelineError](err); mode != "exec" && (!ok || refused.Index != 1) || err == nil {
				t.Errorf("error %v", err)
			}
			healthy()
			for range 2 { // the server has lost what was prepared: one call notices
				if _, err = send(conn, "DEALLOCATE ALL"); err != nil {
					t.Error(err)
				}
				send(conn, "SELECT 1")
				healthy()
			}
			ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
			defer cancel()
			results, err := conn.SendPipeline(ctx, poolgate.Pipeline{Statements: []poolgate.PipelineStatement{{Query: "SELECT pg_sleep(20)"}}})
			if err == nil {
				_, err = results.Exec()
				results.Close()
			}
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("error %v", err)
			}
			healthy()
			for i := range 1200 { // more than are kept
				if _, err := send(conn, fmt.Sprintf("SELECT %d", i)); err != nil {
					t.Fatal(err)
				}
			}
			var n int
			rows, err := conn.QueryContext(context.Background(), "SELECT count(*)::int4 FROM pg_prepared_statements", nil)
			if err != nil {
				t.Fatal(err)
			}
			if n = int(readAll(t, rows)[0].(int64)); n > 600 {
				t.Errorf("%d prepared statements", n)
			}
		})
	}
}

func TestNoPipelineWithSimpleProtocol(t *testing.T) {
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	db, err := pgxgate.Open(dsn+"&default_query_exec_mode=simple_protocol", poolgate.Config{Gate: gate.Config{Limit: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	err = poolgate.SendPipeline(t.Context(), conn, poolgate.Pipeline{}, func(poolgate.PipelineResults, func()) error { return nil })
	if !errors.Is(err, poolgate.ErrNoPipeline) {
		t.Errorf("error %v", err)
	}
}
