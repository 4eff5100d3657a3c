package session_test

import (
	"context"
	"net/http"
	"testing"

	"golang.org/x/sync/errgroup"

	"github.com/poolgate/poolgate/poolgate/session"
)

// Five kinds of session in one handler, side by side.
func TestFiveWays(t *testing.T) {
	onBoth(t, func(t *testing.T, run func(string, func(*testing.T, *fixture))) {
		for _, test := range []struct {
			name   string
			status int
			want   []string
		}{
			{"all five are committed", 200, []string{"context", "detached", "detached, by hand", "new", "new, by hand"}},
			{"an error of the handler undoes the context's alone", 400, []string{"detached", "detached, by hand", "new", "new, by hand"}},
		} {
			run(test.name, func(t *testing.T, db *fixture) {
				s := serve(t, false, session.HandlerConfig{}, func(w http.ResponseWriter, r *http.Request) {
					if err := fiveWays(r.Context(), db); err != nil {
						t.Error(err)
					}
					w.WriteHeader(test.status)
				})
				s.get(t).is(t, test.status, "")
				s.Close()
				has(t, db.DB, test.want...)
			})
		}
	})
}

func fiveWays(ctx context.Context, db *fixture) error {
	g, ctx2 := errgroup.WithContext(ctx)

	g.Go(func() error { // the context's session, which the handler's answer commits
		return insert(ctx2, session.DB(ctx, db.DB.DB), "context")
	})

	g.Go(func() error { // a new one that commits by itself
		return session.RunNew(ctx2, func(ctx context.Context) error {
			return insert(ctx, session.DB(ctx, db.DB.DB), "new")
		})
	})

	g.Go(func() error { // a new one with manual commit and close
		return session.RunNew(ctx2, func(ctx context.Context) error {
			if err := insert(ctx, session.DB(ctx, db.DB.DB), "new, by hand"); err != nil {
				return err
			}
			if err := session.From(ctx).Commit(); err != nil {
				return err
			}
			return session.From(ctx).Close()
		})
	})

	g.Go(func() error { // a detached one that commits by itself
		return session.Atomic(ctx2, func(s *session.Session) error {
			return insert(ctx2, s.DB(db.DB.DB), "detached")
		})
	})

	g.Go(func() error { // a detached one with manual commit and close
		s, err := session.New(ctx2, session.Config{})
		if err != nil {
			return err
		}
		defer s.Close()
		if err := insert(ctx2, s.DB(db.DB.DB), "detached, by hand"); err != nil {
			return err
		}
		return s.Commit()
	})

	return g.Wait()
}
