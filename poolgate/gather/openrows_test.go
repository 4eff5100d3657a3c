package gather_test

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/session"
)

const (
	fewRows  = "SELECT generate_series(1, 3)"
	manyRows = "SELECT generate_series(1, 1000000000)"
)

// A statement that returns with rows open fails, and leaves nothing behind.
func TestRowsLeftOpen(t *testing.T) {
	onBoth(t, func(run func(string, func(*testing.T, *fixture))) {
		each := eachOf(run)
		for _, test := range []struct {
			name, query string
			background  bool // the query has a context of its own
			allErrors   bool
		}{
			{"few rows", fewRows, false, false},
			{"few rows and AllErrors", fewRows, false, true},
			{"many rows", manyRows, false, false},
			{"many rows under another context", manyRows, true, false},
			{"many rows under another context and AllErrors", manyRows, true, true},
		} {
			each(test.name, func(t *testing.T, db *fixture, o gather.Options) {
				o.AllErrors = test.allErrors
				leave := func(ctx context.Context, db session.DBTX) error {
					if test.background {
						ctx = context.Background()
					}
					rows, err := db.QueryContext(ctx, test.query)
					if err == nil {
						rows.Next()
					}
					return err
				}
				var n int
				err := gather.Run(patiently(t), db, o, leave, gather.One(&n, "SELECT 7"))
				is(t, err, gather.ErrRowsOpen)
				var failed *gather.StatementError
				if !errors.As(err, &failed) || failed.Index != 0 {
					t.Errorf("got error %v", err)
				}
				if test.allErrors && test.query == fewRows && n != 7 {
					t.Error("the other statement did not run")
				}
			})
		}

		each("an error of the statement comes first", func(t *testing.T, db *fixture, o gather.Options) {
			mine := errors.New("mine")
			err := gather.Run(patiently(t), db, o, func(ctx context.Context, db session.DBTX) error {
				_, err := db.QueryContext(ctx, manyRows)
				must(t, err)
				return mine
			})
			is(t, err, mine)
			if errors.Is(err, gather.ErrRowsOpen) {
				t.Errorf("got error %v", err)
			}
		})

		each("a panic goes on", func(t *testing.T, db *fixture, o gather.Options) {
			defer func() {
				if p, ok := recover().(*gather.PanicError); !ok || p.Value != "boom" {
					t.Errorf("got panic %v", p)
				}
			}()
			gather.Run(patiently(t), db, o, func(ctx context.Context, db session.DBTX) error {
				_, err := db.QueryContext(context.Background(), manyRows)
				must(t, err)
				panic("boom")
			})
		})

		each("raw bytes of a row that is left", func(t *testing.T, db *fixture, o gather.Options) {
			err := gather.Run(patiently(t), db, o, func(ctx context.Context, db session.DBTX) error {
				rows, err := db.QueryContext(ctx, manyRows)
				must(t, err)
				rows.Next()
				var raw sql.RawBytes
				return rows.Scan(&raw)
			})
			is(t, err, gather.ErrRowsOpen)
		})

		each("a row that is not scanned", func(t *testing.T, db *fixture, o gather.Options) {
			// What it costs differs: the next statement or the commit may fail,
			// as nothing says that the row is no longer wanted.
			gather.Run(patiently(t), db, o, func(_ context.Context, db session.DBTX) error {
				return db.QueryRowContext(context.Background(), manyRows).Err()
			}, gather.Discard("SELECT 1"))
			eventually(t, "the row is closed", func() bool { return db.Gate().Stats().InFlight == 0 })
		})

		each("the rows of a prepared statement", func(t *testing.T, db *fixture, o gather.Options) {
			gather.Run(patiently(t), db, o, func(ctx context.Context, db session.DBTX) error {
				stmt, err := db.PrepareContext(ctx, manyRows)
				if o.Consistency == gather.Pipelined {
					return err // which it cannot
				}
				must(t, err)
				_, err = stmt.QueryContext(ctx)
				return err
			}, gather.Discard("SELECT 1"))
			eventually(t, "the rows are closed", func() bool { return db.Gate().Stats().InFlight == 0 })
		})

		each("a statement may open and close many", func(t *testing.T, db *fixture, o gather.Options) {
			must(t, gather.Run(patiently(t), db, o, func(ctx context.Context, db session.DBTX) error {
				for range 200 {
					rows, err := db.QueryContext(ctx, fewRows)
					if err != nil {
						return err
					}
					for rows.Next() {
					}
					if err := rows.Err(); err != nil {
						return err
					}
				}
				return nil
			}))
		})
	})
}
