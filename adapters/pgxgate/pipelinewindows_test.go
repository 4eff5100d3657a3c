package pgxgate_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/internal/testing/network"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
)

// A pipeline that is too large for the buffers on the way goes in pieces, and is
// still one.
func TestPipelineWindows(t *testing.T) {
	net, dsn := network.Between(t, pgserver.ForTest(t).CreateDatabase(t), 0)
	megabyte := strings.Repeat("x", 1<<20)
	many := func(n int, query string, args ...any) (p poolgate.Pipeline) {
		for range n {
			p.Statements = append(p.Statements, poolgate.PipelineStatement{Query: query, Args: named(args...)})
		}
		return p
	}
	for _, mode := range []string{"cache_statement", "exec"} {
		t.Run(mode, func(t *testing.T) {
			conn := connect(t, dsn+"&default_query_exec_mode="+mode)
			send := func(p poolgate.Pipeline) poolgate.PipelineResults {
				t.Helper()
				results, err := conn.SendPipeline(t.Context(), p)
				if err != nil {
					t.Fatal(err)
				}
				return results
			}
			execute := func(p poolgate.Pipeline) error {
				results, err := conn.SendPipeline(t.Context(), p)
				if err != nil {
					return err
				}
				return results.Close()
			}
			count := func() any {
				t.Helper()
				rows, err := conn.QueryContext(t.Context(), "SELECT count(*) FROM texts", nil)
				if err != nil {
					t.Fatal(err)
				}
				return readAll(t, rows)[0]
			}
			if err := execute(many(1, "CREATE TABLE IF NOT EXISTS texts (text text)")); err != nil {
				t.Fatal(err)
			}
			empty := func() {
				if err := execute(many(1, "TRUNCATE texts")); err != nil {
					t.Fatal(err)
				}
			}
			const insert = "INSERT INTO texts VALUES ($1::text)"

			t.Run("much in both directions, and little in memory", func(t *testing.T) {
				const n = 200
				runtime.GC()
				var memory runtime.MemStats
				runtime.ReadMemStats(&memory)
				before, most := memory.HeapAlloc, uint64(0)
				results := send(many(n, "SELECT $1::text", megabyte))
				for range n {
					rows, err := results.Query()
					if err != nil {
						t.Fatal(err)
					}
					if got := readAll(t, rows); len(got) != 1 || len(got[0].(string)) != len(megabyte) {
						t.Fatalf("%d rows", len(got))
					}
					runtime.ReadMemStats(&memory)
					most = max(most, memory.HeapAlloc)
				}
				if err := results.Close(); err != nil {
					t.Fatal(err)
				}
				if most-before > 100<<20 { // some of it is garbage; all arguments are 200 MB, encoded and sent 400
					t.Errorf("%d MB were in memory", (most-before)>>20)
				}
			})

			t.Run("a round trip for each megabyte", func(t *testing.T) {
				for size, want := range map[int]int{10: 1, 10_000: 1, 100_000: 2, 500_000: 10, 1 << 20: 20} {
					p := many(20, "SELECT length($1::text)", megabyte[:size])
					for _, again := range []bool{false, true} { // the first time it is prepared
						before := net.RoundTrips()
						if err := execute(p); err != nil {
							t.Fatal(err)
						}
						if got := net.RoundTrips() - before; again && got != want {
							t.Errorf("%d round trips for 20 statements of %d bytes", got, size)
						}
					}
				}
			})

			t.Run("all of it is executed, whether its results are read or not", func(t *testing.T) {
				empty()
				if err := execute(many(10, insert, megabyte)); err != nil || count() != int64(10) {
					t.Errorf("%v rows, %v", count(), err)
				}
			})

			t.Run("nothing is executed if an argument cannot be encoded", func(t *testing.T) {
				empty()
				p := many(10, insert, megabyte)
				p.Statements[9].Args = named(make(chan int))
				err := execute(p)
				if refused, ok := errors.AsType[*poolgate.PipelineError](err); !ok || refused.Index != 9 || count() != int64(0) {
					t.Errorf("%v rows, %v", count(), err)
				}
			})

			t.Run("nothing stays if a statement fails", func(t *testing.T) {
				empty()
				for _, at := range []int{0, 5, 9} {
					p := many(10, insert, megabyte)
					p.Statements[at] = poolgate.PipelineStatement{Query: "SELECT 1 / (SELECT 0)"}
					if err := execute(p); state(err) != "22012" || count() != int64(0) {
						t.Errorf("%v rows, %v", count(), err)
					}
				}
			})

			t.Run("the end of a context ends it", func(t *testing.T) {
				empty()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				results, err := conn.SendPipeline(ctx, many(10, insert, megabyte))
				if err != nil {
					t.Fatal(err)
				}
				for range 3 {
					if _, err := results.Exec(); err != nil {
						t.Fatal(err)
					}
				}
				cancel()
				for range 3 {
					if _, err = results.Exec(); err != nil {
						break
					}
				}
				if closed := results.Close(); err == nil {
					err = closed
				}
				if !errors.Is(err, context.Canceled) {
					t.Errorf("error %v", err)
				}
				if !conn.IsValid() { // on a machine that is busy
					conn = connect(t, dsn+"&default_query_exec_mode="+mode)
				}
				if n := count(); n != int64(0) {
					t.Errorf("%v rows", n)
				}
			})

			t.Run("texts too", func(t *testing.T) {
				p := poolgate.Pipeline{}
				for i := range 6 {
					p.Statements = append(p.Statements, poolgate.PipelineStatement{Query: fmt.Sprintf("SELECT %d -- %s", i, megabyte)})
				}
				results := send(p)
				for i := range 6 {
					rows, err := results.Query()
					if err != nil {
						t.Fatal(err)
					}
					if got := readAll(t, rows); fmt.Sprint(got) != fmt.Sprintf("[%d]", i) {
						t.Errorf("got %v", got)
					}
				}
				if err := results.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}

var _ poolgate.Pipeliner = (*pgxgate.Conn)(nil)
