package session_test

import (
	"context"
	"testing"

	"github.com/poolgate/poolgate/poolgate/session"
)

func TestInTx(t *testing.T) {
	onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
		run("a session is open from its first statement to its end", func(t *testing.T, db *fixture) {
			open := func(ctx context.Context, want bool) {
				t.Helper()
				if got := session.From(ctx).InTx(); got != want {
					t.Errorf("open: %v", got)
				}
			}
			open(t.Context(), false) // and there is no session at all
			must(t, session.Run(t.Context(), func(ctx context.Context) error {
				open(ctx, false)
				must(t, insert(ctx, session.DB(ctx, db.DB.DB), "a"))
				open(ctx, true)
				must(t, session.Run(ctx, func(ctx context.Context) error {
					open(ctx, true)
					return nil
				}))
				must(t, session.From(ctx).Commit())
				open(ctx, false)
				return nil
			}))
		})
	})
}
