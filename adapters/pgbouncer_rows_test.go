//go:build unix

package adapters_test

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/session"
)

// envQueries names the environment variable that says how many checked queries
// TestPgBouncer makes in each way.
const envQueries = "POOLGATE_PGBOUNCER_QUERIES"

func checkedQueries(t *testing.T) int64 {
	t.Helper()
	few := "1600"
	if testing.Short() {
		few = "400"
	}
	n, err := strconv.ParseInt(cmp.Or(os.Getenv(envQueries), few), 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", envQueries, err)
	}
	return n
}

// A work is a kind of work with a pool, which makes checked queries and returns
// how many.
type work struct {
	name string
	do   func(ctx context.Context, b *bounced, stmts []*sql.Stmt, n int) (int, error)
}

// single is work that has one connection at a time.
var single = []work{
	{"query", func(ctx context.Context, b *bounced, _ []*sql.Stmt, n int) (int, error) { return 1, ask(ctx, b, n) }},
	{"statement", func(ctx context.Context, _ *bounced, stmts []*sql.Stmt, n int) (int, error) {
		return 1, check(n, func(_ string, args ...any) (*sql.Rows, error) {
			return stmts[n%len(texts)].QueryContext(ctx, args...)
		})
	}},
	{"insert", func(ctx context.Context, b *bounced, _ []*sql.Stmt, n int) (int, error) {
		_, err := b.ExecContext(ctx, "INSERT INTO written (n, text) VALUES ($1, $2)", n, fmt.Sprint("w", n))
		return 1, err
	}},
	{"transaction", func(ctx context.Context, b *bounced, stmts []*sql.Stmt, n int) (int, error) {
		tx, err := b.BeginTx(ctx, &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: n%2 == 0})
		if err != nil {
			return 0, err
		}
		defer tx.Rollback()
		if err := ask(ctx, tx, n); err != nil {
			return 0, err
		}
		err = check(n+1, func(_ string, args ...any) (*sql.Rows, error) {
			return tx.StmtContext(ctx, stmts[(n+1)%len(texts)]).QueryContext(ctx, args...)
		})
		if err != nil {
			return 0, err
		}
		err = check(n+2, func(text string, args ...any) (*sql.Rows, error) {
			stmt, err := tx.PrepareContext(ctx, text)
			if err != nil {
				return nil, err
			}
			return stmt.QueryContext(ctx, args...)
		})
		if err != nil {
			return 0, err
		}
		return 3, tx.Commit()
	}},
	{"connection", func(ctx context.Context, b *bounced, _ []*sql.Stmt, n int) (int, error) {
		conn, err := b.Conn(ctx)
		if err != nil {
			return 0, err
		}
		defer conn.Close()
		for i := range 2 {
			if err := ask(ctx, conn, n+i); err != nil {
				return 0, err
			}
		}
		return 2, nil
	}},
	{"out of band", func(ctx context.Context, b *bounced, _ []*sql.Stmt, n int) (int, error) {
		if err := ask(ctx, b.OutOfBand(), n); err != nil {
			return 0, err
		}
		return 2, ask(ctx, b.OutOfBandReadOnly(), n+1)
	}},
	{"session", func(ctx context.Context, b *bounced, _ []*sql.Stmt, n int) (int, error) {
		return 2, session.Run(ctx, func(ctx context.Context) error {
			if err := ask(ctx, session.DB(ctx, b.DB.DB), n); err != nil {
				return err
			}
			return session.Run(ctx, func(ctx context.Context) error { return ask(ctx, session.DB(ctx, b.DB.DB), n+1) })
		})
	}},
	gathers("serial", gather.Options{Consistency: gather.Serial}),
	gathers("independent", gather.Options{Consistency: gather.Independent, Limit: 1}),
	gathers("pipelined", gather.Options{Consistency: gather.Pipelined, OrSerial: true}),
	gathers("pipelined with all errors", gather.Options{Consistency: gather.Pipelined, OrSerial: true, AllErrors: true, ReadWrite: true}),
}

// several is work that has more than one connection at a time, for which there
// have to be as many connections of the server as there can be of the pool.
var several = []work{
	gathers("independent, side by side", gather.Options{Consistency: gather.Independent}),
	gathers("snapshot", gather.Options{Consistency: gather.Snapshot}),
	{"out of band in a transaction", func(ctx context.Context, b *bounced, _ []*sql.Stmt, n int) (int, error) {
		tx, err := b.BeginTx(ctx, nil)
		if err != nil {
			return 0, err
		}
		defer tx.Rollback()
		for i, q := range []querier{tx, b.OutOfBand(), tx, b.OutOfBandReadOnly(), tx} {
			if err := ask(ctx, q, n+i); err != nil {
				return 0, err
			}
		}
		return 5, tx.Commit()
	}},
}

// gathers is a gather of three statements.
func gathers(name string, o gather.Options) work {
	return work{name, func(ctx context.Context, b *bounced, _ []*sql.Stmt, n int) (int, error) {
		statements := make([]gather.Statement, 3)
		for i := range statements {
			statements[i] = func(ctx context.Context, q session.DBTX) error { return ask(ctx, q, n+i) }
		}
		return len(statements), gather.Run(ctx, b, o, statements...)
	}}
}

// TestPgBouncer checks the answers of queries that 400 goroutines make through a
// PgBouncer at once, in every way that the documentation names.
func TestPgBouncer(t *testing.T) {
	const limit = 40
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			if w.bouncer.Mode == "session" { // where each connection of the pool keeps one of the server
				w.bouncer.PoolSize = limit + limit/4
			} else {
				w.bouncer.PoolSize = 10
			}
			b := through(t, w, limit)
			b.ask(t, single, checkedQueries(t))
		})
		t.Run(w.name+", several connections at once", func(t *testing.T) {
			w.bouncer.PoolSize = limit + limit/4
			b := through(t, w, limit)
			b.ask(t, append(several, single...), checkedQueries(t)/4)
		})
	}
}

// ask has 400 goroutines do works until they have made so many checked queries.
func (b *bounced) ask(t *testing.T, works []work, queries int64) {
	t.Helper()
	ctx := t.Context()
	_, err := b.direct.ExecContext(ctx, "CREATE TABLE written (n bigint PRIMARY KEY, text text NOT NULL)")
	must(t, err)
	stmts := make([]*sql.Stmt, len(texts))
	for i := range stmts {
		stmts[i], err = b.PrepareContext(ctx, texts[i])
		must(t, err)
		defer stmts[i].Close()
	}
	done := make([]atomic.Int64, len(works)) // queries of each
	var next, asked, inserted atomic.Int64
	var working sync.WaitGroup
	for range 400 {
		working.Go(func() {
			for !t.Failed() && asked.Load() < queries {
				n := int(next.Add(1))
				i := n % len(works)
				did, err := works[i].do(ctx, b, stmts, n*10)
				if err != nil {
					t.Errorf("%s: %v", works[i].name, err)
					return
				}
				if works[i].name == "insert" {
					inserted.Add(1)
				}
				asked.Add(int64(did))
				done[i].Add(int64(did))
			}
		})
	}
	working.Wait()
	for i := range works {
		if done[i].Load() == 0 && !t.Failed() {
			t.Errorf("%s: there was none", works[i].name)
		}
	}
	var rows int64
	must(t, b.direct.QueryRowContext(ctx, "SELECT count(*) FROM written WHERE text = 'w' || n").Scan(&rows))
	if rows != inserted.Load() {
		t.Errorf("%d rows are right of %d that were written", rows, inserted.Load())
	}
	t.Logf("%d checked queries", asked.Load())
}

// Without Config.PgBouncer these two return the rows of others in transaction mode,
// so the queries of the tests find that.
func TestPgBouncerUnawareReturnsWrongRows(t *testing.T) {
	describe := map[string]string{"default_query_exec_mode": "describe_exec"}
	for _, w := range []way{
		{name: "pgx with describe_exec", driver: bothdrivers.All[0], settings: describe},
		{name: "pq", driver: bothdrivers.All[1]},
	} {
		t.Run(w.name, func(t *testing.T) {
			w.bouncer.PoolSize = 10
			b := through(t, w, 40)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			var wrongs atomic.Int64
			var working sync.WaitGroup
			for i := range 400 {
				working.Go(func() {
					for n := i; ctx.Err() == nil; n += 400 {
						if _, ok := errors.AsType[wrong](ask(ctx, b, n)); ok {
							wrongs.Add(1)
							cancel()
						}
					}
				})
			}
			working.Wait()
			if wrongs.Load() == 0 {
				t.Error("there were no wrong rows")
			}
		})
	}
}

// After an ALTER TABLE a statement is right or fails, and fails no more than once
// on a connection. Only a PgBouncer that keeps track of statements keeps one that
// fails.
func TestPgBouncerAlterTable(t *testing.T) {
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			w.bouncer.PoolSize = 4
			b := through(t, w, 1)
			ctx := t.Context()
			exec := func(statement string) {
				t.Helper()
				_, err := b.direct.ExecContext(ctx, statement)
				must(t, err)
			}
			exec("CREATE TABLE altered (k bigint, v bigint); INSERT INTO altered VALUES (1, 42)")
			stmt, err := b.PrepareContext(ctx, "SELECT * FROM altered WHERE k::text = $1::text AND v IS NOT NULL")
			must(t, err)
			defer stmt.Close()
			// plain, prepared and pipelined, each with its own text
			asks := map[string]func() ([]string, error){
				"query": func() ([]string, error) {
					return read(b.QueryContext(ctx, "SELECT * FROM altered WHERE k::text = $1::text", "1"))
				},
				"typed":     func() ([]string, error) { return read(b.QueryContext(ctx, "SELECT * FROM altered WHERE k = $1", 1)) },
				"statement": func() ([]string, error) { return read(stmt.QueryContext(ctx, "1")) },
				"pipelined": func() (got []string, err error) {
					o := gather.Options{Consistency: gather.Pipelined, OrSerial: true}
					err = gather.Run(ctx, b, o, func(ctx context.Context, q session.DBTX) (err error) {
						got, err = read(q.QueryContext(ctx, "SELECT * FROM altered WHERE $1::text = k::text", "1"))
						return err
					})
					return got, err
				},
			}
			for _, step := range []struct{ statement, want string }{
				{"SELECT", "[1 42]"},
				{"ALTER TABLE altered ALTER v TYPE numeric", "[1 42]"},
				{"ALTER TABLE altered ALTER v TYPE int", "[1 42]"},
				{"ALTER TABLE altered ALTER v TYPE text", "[1 42]"},
				{"ALTER TABLE altered ADD w bigint DEFAULT 7", "[1 42 7]"},
				{"ALTER TABLE altered ALTER w TYPE numeric", "[1 42 7]"},
				{"ALTER TABLE altered ALTER w DROP DEFAULT, ALTER w TYPE bytea USING w::text::bytea", "[1 42 7]"},
				{"ALTER TABLE altered ALTER w TYPE jsonb USING '7'::jsonb", "[1 42 7]"},
				{"ALTER TABLE altered ALTER w TYPE interval USING '7 s'::interval", "[1 42 00:00:07]"},
				{"ALTER TABLE altered ALTER w TYPE uuid USING '00000000-0000-0000-0000-000000000007'", "[1 42 00000000-0000-0000-0000-000000000007]"},
				{"ALTER TABLE altered DROP w", "[1 42]"},
				{"DROP TABLE altered; CREATE TABLE altered (k int, v bigint); INSERT INTO altered VALUES (1, 8)", "[1 8]"},
			} {
				exec(step.statement)
				for name, ask := range asks {
					failures := 0
					for range 4 {
						got, err := ask()
						switch {
						case err != nil:
							failures++
							t.Logf("%s, %s: %v", step.statement, name, err)
						case fmt.Sprint(got) != step.want:
							t.Errorf("%s, %s: got %v, want %s", step.statement, name, got, step.want)
						}
					}
					keeps := w.bouncer.Settings != nil && !w.pgBouncer
					if !keeps && (failures > 1 || failures > 0 && !w.describes) {
						t.Errorf("%s, %s: it failed %d times", step.statement, name, failures)
					}
				}
			}
		})
	}
}

// read returns the values of the only row.
func read(rows *sql.Rows, err error) ([]string, error) {
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil || !rows.Next() {
		return nil, cmp.Or(err, rows.Err(), errors.New("no row"))
	}
	values := make([]string, len(columns))
	into := make([]any, len(columns))
	for i := range values {
		into[i] = &values[i]
	}
	if err := rows.Scan(into...); err != nil {
		return nil, err
	}
	return values, rows.Close()
}
