package gather_test

import (
	"context"
	"fmt"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/rows"
	"github.com/poolgate/poolgate/poolgate/session"
)

// byHand is what one writes without this package.
func byHand[T any](ctx context.Context, db gather.DB, statements []gather.SQL) ([][]T, error) {
	results := make([][]T, len(statements))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(gather.DefaultLimit)
	for i, s := range statements {
		group.Go(func() (err error) {
			results[i], err = rows.Collect[T](ctx, db, s.Query, s.Args...)
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, err
	}
	return results, nil
}

func ones(n int) []gather.SQL {
	statements := make([]gather.SQL, n)
	for i := range statements {
		statements[i] = gather.SQL{Query: "SELECT $1::int", Args: []any{i}}
	}
	return statements
}

// TestAllocations compares in one run, so that it holds on any machine.
func TestAllocations(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *fixture))) {
		for _, n := range []int{8, 100} {
			run(fmt.Sprintf("at most three a statement more than an errgroup by hand, for %d", n), func(t *testing.T, db *fixture) {
				statements := ones(n)
				count := func(f func() error) float64 {
					return testing.AllocsPerRun(800/n, func() { must(t, f()) }) / float64(n)
				}
				hand := count(func() error { _, err := byHand[int](t.Context(), db, statements); return err })
				ours := count(func() error {
					_, err := gather.Collect[int](t.Context(), db.DB, gather.Options{}, statements...)
					return err
				})
				t.Logf("%.1f allocations a statement, by hand %.1f", ours, hand)
				if ours > hand+3 {
					t.Errorf("%.1f allocations a statement, and by hand %.1f", ours, hand)
				}
			})
		}
	})
}

// BenchmarkOverhead gathers statements that do nothing.
func BenchmarkOverhead(b *testing.B) {
	db := struct{ gather.DB }{} // which nobody calls
	for _, n := range []int{1, 8, 30, 200} {
		b.Run(fmt.Sprintf("n=%d/by=hand", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				group, _ := errgroup.WithContext(b.Context())
				group.SetLimit(gather.DefaultLimit)
				for range n {
					group.Go(func() error { return nil })
				}
				must(b, group.Wait())
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/statement")
		})
		b.Run(fmt.Sprintf("n=%d/by=gather", n), func(b *testing.B) {
			nothing := func(context.Context, session.DBTX) error { return nil }
			statements := make([]gather.Statement, n)
			for i := range statements {
				statements[i] = nothing
			}
			b.ReportAllocs()
			for b.Loop() {
				must(b, gather.Run(b.Context(), db, gather.Options{}, statements...))
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/statement")
		})
	}
}
