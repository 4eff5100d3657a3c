package main

import (
	"strings"
	"testing"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/adapters/pqgate"
	"github.com/poolgate/poolgate/internal/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/poolgatetest"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

func TestOutput(t *testing.T) {
	for name, open := range map[string]func(string, poolgate.Config) (*poolgate.DB, error){"pgx": pgxgate.Open, "pq": pqgate.Open} {
		t.Run(name, func(t *testing.T) {
			db, err := open(pgserver.ForTest(t).CreateDatabase(t), poolgate.Config{Gate: gate.Config{Limit: 8}})
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if err := run(t.Context(), db, &out); err != nil {
				t.Fatal(err)
			}
			poolgatetest.NothingHeld(t, db)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			if got := out.String(); got != want {
				t.Errorf("it printed\n%s\n\nand not\n%s", got, want)
			}
		})
	}
}

const want = `POST /: 204 No Content
  committed: context; detached; detached, by hand; new; new, by hand
POST /?refuse=1: 400 Bad Request
  committed: detached; detached, by hand; new; new, by hand
`
