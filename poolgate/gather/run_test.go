package gather_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/rows"
	"github.com/poolgate/poolgate/poolgate/session"
)

// eachOf returns a run that runs a test with each consistency.
func eachOf(run func(string, func(*testing.T, *fixture))) func(name string, test func(t *testing.T, db *fixture, o gather.Options)) {
	return func(name string, test func(*testing.T, *fixture, gather.Options)) {
		for _, c := range consistencies {
			run(fmt.Sprintf("%s (%v)", name, c), func(t *testing.T, db *fixture) {
				test(t, db, gather.Options{Consistency: c})
			})
		}
		run(fmt.Sprintf("%s (%v)", name, gather.Pipelined), func(t *testing.T, db *fixture) {
			if !db.pipelines {
				t.Skip("the driver has no pipeline")
			}
			test(t, db, gather.Options{Consistency: gather.Pipelined, ReadWrite: true})
		})
	}
}

// oneByOne reports whether the server executes the statements one by one.
func oneByOne(o gather.Options) bool { return o.Consistency >= gather.Serial }

func TestResults(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *fixture))) {
		each := eachOf(run)
		each("results are in the order of the statements", func(t *testing.T, db *fixture, o gather.Options) {
			statements := make([]gather.SQL, 50)
			for i := range statements {
				// the later ones are the faster ones
				statements[i] = gather.SQL{Query: "SELECT n FROM generate_series($1::int, $2::int) n, pg_sleep(0.0001 * $3::int)", Args: []any{i, i + i%3, 50 - i}}
			}
			results, err := gather.Collect[int](patiently(t), db, o, statements...)
			must(t, err)
			for i, r := range results {
				want := []int{i, i + 1, i + 2}[:1+i%3]
				equal(t, r.Rows(), want)
			}
		})

		each("statements of different types go together", func(t *testing.T, db *fixture, o gather.Options) {
			type point struct{ X, Y int }
			var (
				points  []point
				any     []map[string]any
				n       int
				name    string
				only    point
				written sql.Result
			)
			statements := []gather.Statement{
				gather.Query(&points, "SELECT 1 AS x, 2 AS y UNION ALL SELECT 3, 4 ORDER BY 1"),
				gather.Query(&any, "SELECT 'a'::text AS b"),
				gather.One(&n, "SELECT count(*) FROM numbers"),
				gather.One(&only, "SELECT 5 AS x, $1::int AS y", 6),
				func(ctx context.Context, db session.DBTX) (err error) {
					name, err = rows.One[string](ctx, db, "SELECT 'Ada'")
					return err
				},
				gather.Discard("SELECT generate_series(1, 1000)"),
			}
			if o.Consistency != gather.Snapshot {
				statements = append(statements, gather.Exec(&written, "INSERT INTO numbers VALUES ($1), ($2)", 1, 2),
					gather.Exec(nil, "UPDATE numbers SET n = n WHERE false"))
			}
			must(t, gather.Run(patiently(t), db, o, statements...))
			equal(t, points, []point{{1, 2}, {3, 4}})
			equal(t, only, point{5, 6})
			equal(t, any, []map[string]interface{}{{"b": "a"}})
			equal(t, name, "Ada")
			if written != nil {
				affected, err := written.RowsAffected()
				must(t, err)
				equal(t, affected, 2)
				n, err := rows.One[int](t.Context(), db, "SELECT count(*) FROM numbers")
				must(t, err)
				equal(t, n, 2)
			}
		})

		each("no statements are no work", func(t *testing.T, db *fixture, o gather.Options) {
			must(t, gather.Run(t.Context(), db, o))
			results, err := gather.Collect[int](t.Context(), db, o)
			must(t, err)
			equal(t, len(results), 0)
			equal(t, db.Gate().Stats().Acquired, 0)
		})

		each("one statement is enough", func(t *testing.T, db *fixture, o gather.Options) {
			var n int
			must(t, gather.Run(patiently(t), db, o, gather.One(&n, "SELECT 7")))
			equal(t, n, 7)
		})
	})
}

func TestErrors(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *fixture))) {
		each := eachOf(run)
		each("the first error cancels the others and says which it was", func(t *testing.T, db *fixture, o gather.Options) {
			o.Limit = 3
			began := new(atomic.Int64)
			sleep := func(ctx context.Context, db session.DBTX) error {
				began.Add(1)
				return gather.Discard("SELECT pg_sleep(60)")(ctx, db)
			}
			bad := func(ctx context.Context, conn session.DBTX) error {
				// while others are at work
				eventually(t, "others have begun", func() bool { return oneByOne(o) || db.sleeping(t) == 2 })
				return gather.Discard("SELECT 1/0")(ctx, conn)
			}
			statements := []gather.Statement{bad, sleep, sleep, sleep, sleep}
			err := gather.Run(patiently(t), db, o, statements...)
			var failed *gather.StatementError
			if !errors.As(err, &failed) || failed.Index != 0 || state(err) != "22012" {
				t.Errorf("got error %v", err)
			}
			if !strings.HasPrefix(err.Error(), "gather: statement 0: ") {
				t.Errorf("it says %q", err)
			}
			if n := began.Load(); n > 2 {
				t.Errorf("%d other statements began", n)
			}
		})

		each("without results after an error", func(t *testing.T, db *fixture, o gather.Options) {
			results, err := gather.Collect[int](patiently(t), db, o, gather.SQL{Query: "SELECT 1"}, gather.SQL{Query: "SELECT 1/0"})
			equal(t, state(err), "22012")
			equal(t, len(results), 0)
		})

		each("all errors are joined in order, and the other results are there", func(t *testing.T, db *fixture, o gather.Options) {
			for _, limit := range []int{0, 1, 2} {
				o.AllErrors, o.Limit = true, limit
				statements := make([]gather.SQL, 10)
				for i := range statements {
					statements[i] = gather.SQL{Query: "SELECT 10 / ($1::int % 3)", Args: []any{i}}
				}
				results, err := gather.Collect[int](patiently(t), db, o, statements...)
				joined, ok := err.(interface{ Unwrap() []error })
				if !ok {
					t.Fatalf("got error %v", err)
				}
				var failed []int
				for _, err := range joined.Unwrap() {
					failed = append(failed, err.(*gather.StatementError).Index)
					equal(t, state(err), "22012")
				}
				equal(t, failed, []int{0, 3, 6, 9})
				for i, r := range results {
					equal(t, r.Rows(), [][]int{nil, {10}, {5}}[i%3])
				}
			}
		})

		each("a connection that is lost is an error, and nothing hangs", func(t *testing.T, db *fixture, o gather.Options) {
			for _, all := range []bool{false, true} {
				o.AllErrors = all
				statements := slices.Repeat([]gather.Statement{gather.Discard("SELECT pg_sleep(0.002)")}, 12)
				statements[5] = gather.Discard("SELECT pg_terminate_backend(pg_backend_pid())")
				err := gather.Run(patiently(t), db, o, statements...)
				var failed *gather.StatementError
				if !errors.As(err, &failed) || failed.Index != 5 {
					t.Errorf("got error %v", err)
				}
				if all && o.Consistency == gather.Serial && !strings.HasSuffix(err.Error(), "gather: no connection is left for 6 of 12 statements") {
					t.Errorf("got error %v", err)
				}
				must(t, gather.Run(patiently(t), db, o, statements[:5]...))
			}
		})

		run("the server refuses a write on a snapshot", func(t *testing.T, db *fixture) {
			err := gather.Run(patiently(t), db, gather.Options{Consistency: gather.Snapshot}, gather.Exec(nil, "INSERT INTO numbers VALUES (1)"))
			equal(t, state(err), "25006")
		})
		run("one failure undoes what a serial gather has written", func(t *testing.T, db *fixture) {
			for _, all := range []bool{false, true} {
				err := gather.Run(patiently(t), db, gather.Options{Consistency: gather.Serial, AllErrors: all},
					gather.Exec(nil, "INSERT INTO numbers VALUES (1)"), gather.Discard("SELECT 1/0"), gather.Exec(nil, "INSERT INTO numbers VALUES (2)"))
				equal(t, state(err), "22012")
				numbers(t, db)
			}
		})
		run("an error that a function swallows does not pass for a commit", func(t *testing.T, db *fixture) {
			err := gather.Run(patiently(t), db, gather.Options{Consistency: gather.Serial},
				gather.Exec(nil, "INSERT INTO numbers VALUES (1)"),
				func(ctx context.Context, db session.DBTX) error {
					gather.Discard("SELECT 1/0")(ctx, db)
					return nil
				})
			equal(t, state(err), "25P02")
			numbers(t, db)
		})
		run("a refusal by the gate arrives", func(t *testing.T, db *fixture) {
			db.Gate().Close()
			for _, c := range consistencies {
				err := gather.Run(patiently(t), db, gather.Options{Consistency: c}, gather.Discard("SELECT 1"))
				is(t, err, gate.ErrClosed)
				var rejected *gate.RejectedError
				equal(t, errors.As(err, &rejected), true)
			}
		})
	})
}

// numbers wants exactly these to be committed.
func numbers(t *testing.T, db *fixture, want ...int) {
	t.Helper()
	got, err := rows.Collect[int](context.Background(), db, "SELECT n FROM numbers ORDER BY n")
	must(t, err)
	equal(t, got, append([]int{}, want...))
}

func TestOptions(t *testing.T) {
	for _, test := range []struct {
		o    gather.Options
		want string
	}{
		{gather.Options{Limit: -1}, "gather: Options.Limit is -1; it must not be negative"},
		{gather.Options{Consistency: 4}, "gather: Options.Consistency is 4; it must be Independent, Snapshot, Serial or Pipelined"},
		{gather.Options{ReadWrite: true}, "gather: Options.ReadWrite is for Pipelined, and Options.Consistency is independent"},
		{gather.Options{Consistency: gather.Serial, OrSerial: true}, "gather: Options.OrSerial is for Pipelined, and Options.Consistency is serial"},
		{gather.Options{Consistency: -1}, "gather: Options.Consistency is -1; it must be Independent, Snapshot, Serial or Pipelined"},
	} {
		says(t, gather.Run(t.Context(), nil, test.o, gather.Discard("SELECT 1")), test.want)
	}
	equal(t, fmt.Sprint(consistencies, gather.Consistency(7)), "[independent snapshot serial] Consistency(7)")
}

func TestLimit(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *fixture))) {
		each := eachOf(run)
		each("no more statements run at once than the limit says", func(t *testing.T, db *fixture, o gather.Options) {
			for _, chunked := range []bool{false, true} {
				o.Limit, o.Chunked = 3, chunked
				if o.Consistency == gather.Serial {
					o.Limit = 0
				}
				var now, most atomic.Int64
				statement := func(ctx context.Context, db session.DBTX) error {
					defer now.Add(-1)
					for n := now.Add(1); n > most.Load(); {
						most.Store(n)
					}
					return gather.Discard("SELECT pg_sleep(0.002)")(ctx, db)
				}
				must(t, gather.Run(patiently(t), db, o, slices.Repeat([]gather.Statement{statement}, 20)...))
				if n := most.Load(); n > 3 || o.Consistency == gather.Serial && n > 1 {
					t.Errorf("%d statements at once", n)
				}
			}
		})

		each("in waves, none begins before all of the wave before have ended", func(t *testing.T, db *fixture, o gather.Options) {
			o.Limit, o.Chunked = 3, true
			var mu sync.Mutex
			var ended []int
			statements := make([]gather.Statement, 11)
			for i := range statements {
				statements[i] = func(ctx context.Context, db session.DBTX) error {
					mu.Lock()
					before := len(ended)
					mu.Unlock()
					if want := i / 3 * 3; o.Consistency != gather.Serial && before < want {
						t.Errorf("statement %d began when %d had ended", i, before)
					}
					err := gather.Discard("SELECT pg_sleep($1)", 0.001*float64(i%3))(ctx, db)
					mu.Lock()
					ended = append(ended, i)
					mu.Unlock()
					return err
				}
			}
			must(t, gather.Run(patiently(t), db, o, statements...))
			equal(t, len(ended), 11)
		})

		run("a sliding gather goes on while one statement takes long", func(t *testing.T, db *fixture) {
			var ended atomic.Int64
			quick := func(context.Context, session.DBTX) error { ended.Add(1); return nil }
			slow := func(context.Context, session.DBTX) error {
				eventually(t, "the others have ended", func() bool { return ended.Load() == 9 })
				return nil
			}
			statements := append([]gather.Statement{slow}, slices.Repeat([]gather.Statement{quick}, 9)...)
			must(t, gather.Run(patiently(t), db, gather.Options{Limit: 2}, statements...))
		})
	})
}

func TestPanic(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *fixture))) {
		each := eachOf(run)
		each("a panic reaches the caller when everything is given back", func(t *testing.T, db *fixture, o gather.Options) {
			boom := errors.New("boom")
			for at := range 4 { // whichever goroutine it is in, with its rows open
				statements := slices.Repeat([]gather.Statement{gather.Discard("SELECT pg_sleep(0.01)")}, 4)
				statements[at] = func(ctx context.Context, db session.DBTX) error {
					rs, err := db.QueryContext(ctx, "SELECT generate_series(1, 100000)")
					if err != nil {
						return err
					}
					rs.Next()
					panic(boom)
				}
				func() {
					defer func() {
						p, ok := recover().(*gather.PanicError)
						if !ok || p.Value != boom || !errors.Is(p, boom) || !strings.Contains(string(p.Stack), "TestPanic") {
							t.Errorf("recovered %v", p)
						}
						// the rows are closed by the end of their context, which takes database/sql a moment
						eventually(t, "everything is given back", func() bool { return db.Gate().Stats().InFlight == 0 })
					}()
					gather.Run(patiently(t), db, o, statements...)
					t.Error("Run returned")
				}()
			}
		})

		each("a statement that ends its goroutine ends the caller's", func(t *testing.T, db *fixture, o gather.Options) {
			for at := range 4 {
				statements := slices.Repeat([]gather.Statement{gather.Discard("SELECT 1")}, 4)
				statements[at] = func(ctx context.Context, db session.DBTX) error {
					runtime.Goexit()
					return nil
				}
				returned := false
				var caller sync.WaitGroup
				ctx := patiently(t)
				caller.Go(func() {
					gather.Run(ctx, db, o, statements...)
					returned = true
				})
				caller.Wait()
				equal(t, returned, false)
				nothingHeld(t, db.DB)
			}
		})
	})
}

func TestCancel(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *fixture))) {
		each := eachOf(run)
		each("a cancelled gather leaves nothing behind", func(t *testing.T, db *fixture, o gather.Options) {
			for _, all := range []bool{false, true} {
				o.AllErrors, o.Limit = all, 6 // two more than there are permits
				ctx, cancel := context.WithCancel(t.Context())
				var began atomic.Int64
				statement := func(ctx context.Context, db session.DBTX) error {
					began.Add(1)
					return gather.Discard("SELECT pg_sleep(60)")(ctx, db)
				}
				done := make(chan error)
				go func() { done <- gather.Run(ctx, db, o, slices.Repeat([]gather.Statement{statement}, 20)...) }()
				want := 4
				if oneByOne(o) {
					want = 1
				}
				eventually(t, "statements are running", func() bool { return db.sleeping(t) == want })
				cancel()
				is(t, <-done, context.Canceled)
				nothingHeld(t, db.DB)
				if n := began.Load(); n > 6 {
					t.Errorf("%d statements began", n)
				}
			}
		})

		each("a context that has ended begins nothing", func(t *testing.T, db *fixture, o gather.Options) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			var n int
			is(t, gather.Run(ctx, db, o, gather.One(&n, "SELECT 1")), context.Canceled)
			equal(t, n, 0)
		})

		each("one that is cancelled while it waits leaves the queue", func(t *testing.T, db *fixture, o gather.Options) {
			full, cancelFull := context.WithCancel(t.Context())
			defer cancelFull()
			var holders []*sql.Conn
			for range 4 {
				conn, err := db.Conn(full)
				must(t, err)
				holders = append(holders, conn)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() {
				done <- gather.Run(ctx, db, o, slices.Repeat([]gather.Statement{gather.Discard("SELECT 1")}, 3)...)
			}()
			eventually(t, "it waits", func() bool { return db.Gate().Stats().Waiting > 0 })
			cancel()
			is(t, <-done, context.Canceled)
			equal(t, db.Gate().Stats().Waiting, 0)
			for _, conn := range holders {
				must(t, conn.Close())
			}
		})
	})
}
