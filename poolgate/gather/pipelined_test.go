package gather_test

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/session"
)

var pipelined = gather.Options{Consistency: gather.Pipelined}

func TestPipelined(t *testing.T) {
	onPgx(t, func(run func(string, func(*testing.T, *fixture))) {
		run("results come in order, of every kind of statement", func(t *testing.T, db *fixture) {
			var list []int
			var one string
			var text string
			var stages []int
			err := gather.Run(patiently(t), db, pipelined,
				gather.Query(&list, "SELECT generate_series(1, $1::int)", 3),
				gather.One(&one, "SELECT $1::text", "one"),
				gather.Discard("SELECT 1"),
				func(ctx context.Context, db session.DBTX) error { // as sqlc generates it
					return db.QueryRowContext(ctx, "SELECT $1::text", "row").Scan(&text)
				},
				func(ctx context.Context, db session.DBTX) error { // two round trips
					for i := range 2 {
						var n int
						if err := db.QueryRowContext(ctx, "SELECT $1::int", i+1).Scan(&n); err != nil {
							return err
						}
						stages = append(stages, n)
					}
					return nil
				},
				gather.Exec(nil, "SELECT 1"))
			must(t, err)
			equal(t, list, []int{1, 2, 3})
			equal(t, one+text, "onerow")
			equal(t, stages, []int{1, 2})
		})

		run("rows are scanned as with the other consistencies", func(t *testing.T, db *fixture) {
			type row struct {
				Texts []string
				Ints  []*int64
				At    time.Time
				Bytes []byte
				Big   string
				Maybe *float64
			}
			const query = "SELECT '{a,NULL}'::text[] AS texts, '{1,NULL}'::bigint[] AS ints, '2024-02-29 01:02:03Z'::timestamptz AS at, " +
				"'x'::bytea AS bytes, 1.50::numeric AS big, NULL::float8 AS maybe"
			for _, query := range []string{query, strings.Replace(query, "NULL}'::text", "b}'::text", 1)} {
				statement := gather.SQL{Query: query}
				want, err := gather.Collect[row](patiently(t), db, gather.Options{Consistency: gather.Serial}, statement)
				got, failed := gather.Collect[row](patiently(t), db, pipelined, statement)
				equal(t, fmt.Sprint(failed), fmt.Sprint(err))
				equal(t, got, want)
			}
		})

		run("a function scans as with the other consistencies", func(t *testing.T, db *fixture) {
			for _, value := range []string{"NULL::text", "'7'::text", "7::int", "1.50::numeric", "1.5::float8", "true", `'\x00ff'::bytea`,
				`'{"a": 1}'::jsonb`, "'2026-03-01'::date", "'{a,b}'::text[]", "'{1,2}'::int[]", "point(1, 2)"} {
				for _, into := range []func() any{
					func() any { return new(any) }, func() any { return new(string) }, func() any { return new(*string) },
					func() any { return new(int) }, func() any { return new(float64) }, func() any { return new(bool) },
					func() any { return new([]byte) }, func() any { return new(sql.RawBytes) }, func() any { return new(sql.Null[string]) },
					func() any { return new(time.Time) }, func() any { return new([]string) }, func() any { return new(*[]string) },
					func() any { return new([]*int) }, func() any { return new(map[string]any) }, func() any { return new([2]int) },
				} {
					scan := func(o gather.Options) string {
						dest := into()
						err := gather.Run(patiently(t), db, o, func(ctx context.Context, db session.DBTX) error {
							rows, err := db.QueryContext(ctx, "SELECT "+value)
							if err != nil {
								return err
							}
							defer rows.Close()
							rows.Next()
							return rows.Scan(dest)
						})
						// Where no type of pgx fits, it tries them all in the order of a
						// map, so that either of two texts may say that NULL does not.
						if err != nil && strings.Contains(err.Error(), "cannot scan NULL into") {
							err = errors.New("cannot scan NULL")
						}
						text, _ := json.Marshal(dest)
						return fmt.Sprintf("%s into %T: %s, %v", value, dest, text, err)
					}
					equal(t, scan(pipelined), scan(gather.Options{Consistency: gather.Serial}))
				}
			}
		})

		run("hundreds of statements, in batches", func(t *testing.T, db *fixture) {
			for _, n := range []int{1, 255, 256, 257, 700} {
				results, err := gather.Collect[int](patiently(t), db, pipelined, ones(n)...)
				must(t, err)
				for i, r := range results {
					equal(t, r.Rows(), []int{i})
				}
			}
			o := pipelined
			o.Limit = 3
			results, err := gather.Collect[int](patiently(t), db, o, ones(10)...)
			must(t, err)
			equal(t, results[9].Rows(), []int{9})
		})

		run("it is one transaction on one snapshot, read only", func(t *testing.T, db *fixture) {
			var ids [2]string
			var mode string
			must(t, gather.Run(patiently(t), db, pipelined,
				gather.One(&ids[0], "SELECT pg_current_snapshot()::text || pg_backend_pid()"),
				func(context.Context, session.DBTX) error {
					exec(t, db.watch, "INSERT INTO numbers VALUES (1)")
					return nil
				},
				gather.One(&mode, "SELECT current_setting('transaction_isolation') || current_setting('transaction_read_only')"),
				gather.One(&ids[1], "SELECT pg_current_snapshot()::text || pg_backend_pid()")))
			equal(t, ids[0], ids[1])
			equal(t, mode, "repeatable readon")
			err := gather.Run(patiently(t), db, pipelined, gather.Exec(nil, "INSERT INTO numbers VALUES (2)"))
			equal(t, state(err), "25006")
		})

		run("a gather that writes is committed, or rolled back as a whole", func(t *testing.T, db *fixture) {
			o := pipelined
			o.ReadWrite = true
			var result sql.Result
			var count int
			must(t, gather.Run(patiently(t), db, o,
				gather.Exec(&result, "INSERT INTO numbers SELECT generate_series(1, $1::int)", 5),
				gather.One(&count, "SELECT count(*) FROM numbers")))
			affected, err := result.RowsAffected()
			must(t, err)
			equal(t, affected, 5)
			equal(t, count, 5)
			for name, fails := range map[string]gather.Statement{
				"at the server":  gather.Exec(nil, "SELECT 1 / (SELECT 0)"),
				"at the client":  gather.One(&count, "SELECT 1 WHERE false"),
				"of its own":     func(context.Context, session.DBTX) error { return errors.New("no") },
				"when prepared":  gather.Exec(nil, "SELECT none FROM numbers"),
				"in the encoder": gather.Exec(nil, "SELECT $1::int", "x"),
				"that is hidden": func(ctx context.Context, db session.DBTX) error {
					db.ExecContext(ctx, "SELECT 1 / (SELECT 0)")
					return nil
				},
			} {
				for _, o.AllErrors = range []bool{false, true} {
					err := gather.Run(patiently(t), db, o,
						gather.Exec(nil, "INSERT INTO numbers VALUES (6)"), fails, gather.Exec(nil, "INSERT INTO numbers VALUES (7)"))
					hidden := name == "that is hidden" && o.AllErrors // its savepoint undoes it
					if (err == nil) != hidden {
						t.Errorf("%s, %v: error %v", name, o.AllErrors, err)
					}
					if hidden {
						exec(t, db.watch, "DELETE FROM numbers WHERE n > 5")
					}
				}
			}
			must(t, db.watch.QueryRowContext(t.Context(), "SELECT count(*) FROM numbers").Scan(&count))
			equal(t, count, 5)
		})

		run("the first error, or all of them", func(t *testing.T, db *fixture) {
			statements := []gather.SQL{
				{Query: "SELECT 0"}, {Query: "SELECT 1 / (SELECT 0)"}, {Query: "SELECT 2"}, {Query: "SELECT none"},
				{Query: "SELECT 4"}, {Query: "SELECT $1::int", Args: []any{"x"}}, {Query: "SELECT 'x'"}, {Query: "SELECT 7"},
			}
			for range 2 { // the second time all is prepared
				results, err := gather.Collect[int](patiently(t), db, pipelined, statements...)
				if failed, ok := errors.AsType[*gather.StatementError](err); !ok || results != nil {
					t.Errorf("%v, %v", failed, results)
				}
				o := pipelined
				o.AllErrors = true
				results, err = gather.Collect[int](patiently(t), db, o, statements...)
				var failed []int
				for _, err := range err.(interface{ Unwrap() []error }).Unwrap() {
					failed = append(failed, err.(*gather.StatementError).Index)
				}
				equal(t, failed, []int{1, 3, 5, 6})
				for _, i := range []int{0, 2, 4, 7} {
					equal(t, results[i].Rows(), []int{i})
				}
			}
		})

		run("much in both directions", func(t *testing.T, db *fixture) {
			big := strings.Repeat("x", 200_000)
			statements := make([]gather.SQL, 100)
			for i := range statements {
				statements[i] = gather.SQL{Query: "SELECT $1::text FROM generate_series(1, 3)", Args: []any{big}}
			}
			results, err := gather.Collect[string](patiently(t), db, pipelined, statements...)
			must(t, err)
			for _, r := range results {
				if r.Len() != 3 || r.At(2) != big {
					t.Fatalf("%d rows", r.Len())
				}
			}
		})

		run("the end of a context ends it in time", func(t *testing.T, db *fixture) {
			for name, run := range map[string]func(ctx context.Context) error{
				"the caller's": func(ctx context.Context) error {
					return gather.Run(ctx, db, pipelined, gather.Discard("SELECT 1"), gather.Discard("SELECT pg_sleep(20)"), gather.Discard("SELECT 1"))
				},
				"a statement's": func(own context.Context) error {
					return gather.Run(patiently(t), db, pipelined, gather.Discard("SELECT 1"),
						func(_ context.Context, db session.DBTX) error {
							_, err := db.ExecContext(own, "SELECT pg_sleep(20)")
							return err
						}, gather.Discard("SELECT pg_sleep(20)"))
				},
			} {
				ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
				is(t, run(ctx), context.DeadlineExceeded)
				deadline, _ := ctx.Deadline()
				t.Logf("%s: %v late", name, time.Since(deadline))
				cancel()
			}
			must(t, gather.Run(patiently(t), db, pipelined, gather.Discard("SELECT 1")))
		})

		run("what a statement must not do", func(t *testing.T, db *fixture) {
			must(t, gather.Run(patiently(t), db, pipelined, func(ctx context.Context, db session.DBTX) error {
				if _, err := db.PrepareContext(ctx, "SELECT 1"); err == nil {
					return errors.New("prepared")
				}
				rows, err := db.QueryContext(ctx, "SELECT generate_series(1, 3)")
				if err != nil {
					return err
				}
				defer rows.Close()
				if _, err := db.ExecContext(ctx, "SELECT 1"); err == nil {
					return errors.New("two at a time")
				}
				return nil
			}))
			is(t, gather.Run(patiently(t), db, pipelined, gather.Discard("SELECT 1"), func(ctx context.Context, db session.DBTX) error {
				_, err := db.QueryContext(ctx, "SELECT generate_series(1, 100000)")
				return err
			}, gather.Discard("SELECT 1")), gather.ErrRowsOpen)
			func() {
				defer func() {
					if p, ok := recover().(*gather.PanicError); !ok || fmt.Sprint(p.Value) != "no" {
						t.Errorf("recovered %v", p)
					}
				}()
				gather.Run(patiently(t), db, pipelined, gather.Discard("SELECT 1"), func(ctx context.Context, db session.DBTX) error {
					db.ExecContext(ctx, "SELECT 1")
					panic("no")
				}, gather.Discard("SELECT 1"))
			}()
		})
	})
}

func TestPipelinedWithoutPipeline(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *fixture))) {
		run("is refused, or is Serial where asked", func(t *testing.T, db *fixture) {
			_, err := gather.Collect[int](patiently(t), db, pipelined, ones(3)...)
			if (err == nil) != db.pipelines || !db.pipelines && !errors.Is(err, poolgate.ErrNoPipeline) {
				t.Errorf("error %v", err)
			}
			o := pipelined
			o.OrSerial = true
			results, err := gather.Collect[int](patiently(t), db, o, ones(3)...)
			must(t, err)
			equal(t, results[2].Rows(), []int{2})
			write := gather.Exec(nil, "INSERT INTO numbers VALUES (1)")
			equal(t, state(gather.Run(patiently(t), db, o, write)), "25006")
			o.ReadWrite = true
			must(t, gather.Run(patiently(t), db, o, write))
		})
	})
}

// A function that wants a permit of its own, while the gather has the only one,
// is told so; before its first statement it can have one.
func TestPipelinedDeadlock(t *testing.T) {
	onPgx(t, func(run func(string, func(*testing.T, *fixture))) {
		run("is found", func(t *testing.T, f *fixture) {
			db := f.open(gate.Config{Limit: 1})
			is(t, gather.Run(patiently(t), db, pipelined, gather.Discard("SELECT 1"), func(ctx context.Context, given session.DBTX) error {
				if _, err := db.ExecContext(ctx, "SELECT 1"); err != nil {
					return fmt.Errorf("before: %v", err)
				}
				if _, err := given.ExecContext(ctx, "SELECT 1"); err != nil {
					return err
				}
				_, err := db.ExecContext(ctx, "SELECT 1")
				return err
			}, gather.Discard("SELECT 1")), gate.ErrDeadlock)
		})
	})
}

// Observers and the debug page see a pipeline as one call.
func TestPipelinedIsObserved(t *testing.T) {
	onPgx(t, func(run func(string, func(*testing.T, *fixture))) {
		run("a panic of the observer reaches the caller", func(t *testing.T, db *fixture) {
			defer db.Observe(poolgate.Observer{Call: func(_ context.Context, c poolgate.Call) {
				if c.Kind == "batch" {
					panic("no")
				}
			}})()
			defer func() {
				if p, ok := recover().(*gather.PanicError); !ok || fmt.Sprint(p.Value) != "no" {
					t.Errorf("recovered %v", p)
				}
			}()
			gather.Run(patiently(t), db, pipelined, gather.Discard("SELECT 1"), func(ctx context.Context, db session.DBTX) error {
				for range 2 {
					if _, err := db.ExecContext(ctx, "SELECT 1"); err != nil {
						return err
					}
				}
				return nil
			})
		})

		run("as one call, with its statements", func(t *testing.T, db *fixture) {
			var calls []poolgate.Call
			defer db.Observe(poolgate.Observer{Call: func(_ context.Context, c poolgate.Call) { calls = append(calls, c) }})()
			var shown string
			must(t, gather.Run(patiently(t), db, pipelined, gather.Discard("SELECT 'secret'"), gather.Discard("SELECT $1::int", 1),
				func(ctx context.Context, conn session.DBTX) error {
					_, err := conn.ExecContext(ctx, "SELECT 2")
					for _, h := range db.Gate().Holders() {
						shown = fmt.Sprint(h.Statement, " ", h.Running)
					}
					return err
				}))
			equal(t, shown, "SELECT ?; SELECT $1::int; SELECT ? true")
			if len(calls) != 2 || calls[0].Kind != "batch" || calls[0].Batch != 3 || calls[0].Took <= 0 ||
				calls[0].Query != "SELECT 'secret'; SELECT $1::int; SELECT 2" || calls[1].Query != "ROLLBACK" {
				t.Errorf("calls %+v", calls)
			}
		})
	})
}
