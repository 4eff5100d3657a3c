// Command concurrent_sessions is an HTTP handler that works in five sessions at
// once: the request's own, two that are opened in addition, and two that no
// context carries.
//
// It is the example of context-async-sqlalchemy for concurrent queries.
package main

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gatehttp"
	"github.com/poolgate/poolgate/poolgate/rows"
	"github.com/poolgate/poolgate/poolgate/session"
)

func main() {
	ctx := context.Background()
	server, err := pgserver.Start(ctx, pgserver.Config{}) // a throw-away PostgreSQL
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	db, err := pgxgate.Open(server.DSN(), poolgate.Config{Gate: gate.Config{Limit: 8}})
	if err != nil {
		log.Fatal(err)
	}
	defer db.Close()
	if err := run(ctx, db, os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// run serves two requests: one that succeeds, and one that the handler refuses
// at its end, when four of the five sessions have been committed.
func run(ctx context.Context, db *poolgate.DB, out io.Writer) error {
	_, err := db.ExecContext(ctx, `
		DROP TABLE IF EXISTS example_texts;
		CREATE TABLE example_texts (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, text text NOT NULL)`)
	if err != nil {
		return err
	}
	handler, err := session.NewHandler(handle(db), session.HandlerConfig{})
	if err != nil {
		return err
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	for _, path := range []string{"/", "/?refuse=1"} {
		response, err := server.Client().Post(server.URL+path, "", nil)
		if err != nil {
			return err
		}
		response.Body.Close()
		fmt.Fprintf(out, "POST %s: %s\n", path, response.Status)

		texts, err := rows.Collect[string](ctx, db, "DELETE FROM example_texts RETURNING text")
		if err != nil {
			return err
		}
		slices.Sort(texts) // they were written in any order
		fmt.Fprintf(out, "  committed: %s\n", strings.Join(texts, "; "))
	}
	return nil
}

func handle(db *poolgate.DB) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		ctx := r.Context()
		all, stopping := errgroup.WithContext(ctx) // stopping ends when one of them fails
		all.Go(func() error { return insert(ctx, db) })
		all.Go(func() error { return insertNew(stopping, db) })
		all.Go(func() error { return insertNewByHand(stopping, db) })
		all.Go(func() error { return insertDetached(stopping, db) })
		all.Go(func() error { return insertDetachedByHand(stopping, db) })
		switch err := all.Wait(); {
		case err != nil:
			gatehttp.WriteError(w, err) // a 503 if the gate refused
		case r.FormValue("refuse") != "":
			http.Error(w, "refused", http.StatusBadRequest) // rolls the request's session back
		default:
			w.WriteHeader(http.StatusNoContent) // commits it first
		}
	}
}

const statement = "INSERT INTO example_texts (text) VALUES ($1)"

// insert uses the request's session, which the answer commits.
func insert(ctx context.Context, db *poolgate.DB) error {
	_, err := session.DB(ctx, db.DB).ExecContext(ctx, statement, "context")
	return err
}

// insertNew uses a new session in a context of its own, which is committed when
// the function returns nil.
func insertNew(ctx context.Context, db *poolgate.DB) error {
	return session.RunNew(ctx, func(ctx context.Context) error {
		_, err := session.DB(ctx, db.DB).ExecContext(ctx, statement, "new")
		return err
	})
}

// insertNewByHand commits and closes the new session itself. It need not.
func insertNewByHand(ctx context.Context, db *poolgate.DB) error {
	return session.RunNew(ctx, func(ctx context.Context) error {
		if _, err := session.DB(ctx, db.DB).ExecContext(ctx, statement, "new, by hand"); err != nil {
			return err
		}
		s := session.From(ctx)
		if err := s.Commit(); err != nil {
			return err
		}
		return s.Close()
	})
}

// insertDetached uses a session that no context carries, which is committed when
// the function returns nil.
func insertDetached(ctx context.Context, db *poolgate.DB) error {
	return session.Atomic(ctx, func(s *session.Session) error {
		_, err := s.DB(db.DB).ExecContext(ctx, statement, "detached")
		return err
	})
}

// insertDetachedByHand commits it itself.
func insertDetachedByHand(ctx context.Context, db *poolgate.DB) error {
	s, err := session.New(ctx, session.Config{})
	if err != nil {
		return err
	}
	defer s.Close() // rolls back what is not committed
	if _, err := s.DB(db.DB).ExecContext(ctx, statement, "detached, by hand"); err != nil {
		return err
	}
	return s.Commit()
}
