package session_test

import (
	"context"
	"testing"

	"github.com/poolgate/poolgate/poolgate/rows"
	"github.com/poolgate/poolgate/poolgate/session"
)

// A panicking destination is one whose Scan method panics.
type panicking struct{}

func (*panicking) Scan(any) error { panic(errMine) }

// TestScanPanics has a panic out of the Scan method of a destination, as package
// rows calls it, roll the unit back and go on. Inside of sql.Rows.Scan it would
// leave the rows locked for good.
func TestScanPanics(t *testing.T) {
	onBoth(t, func(t *testing.T, run func(name string, test func(t *testing.T, db *fixture))) {
		for name, read := range map[string]func(context.Context, rows.Queryer){
			"One": func(ctx context.Context, q rows.Queryer) { rows.One[panicking](ctx, q, "SELECT 1") },
			"Collect": func(ctx context.Context, q rows.Queryer) {
				rows.Collect[*panicking](ctx, q, "SELECT generate_series(1, 1000)")
			},
		} {
			run(name, func(t *testing.T, db *fixture) {
				defer func() {
					if got := recover(); got != errMine {
						t.Errorf("the panic is %v", got)
					}
					nothingHeld(t, db.DB)
					has(t, db.DB)
				}()
				session.Run(t.Context(), func(ctx context.Context) error {
					must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
					read(ctx, session.DB(ctx, db.DB.DB))
					return nil
				})
			})
		}
	})
}
