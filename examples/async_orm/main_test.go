package main

import (
	"regexp"
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
			if got := date.ReplaceAllString(out.String(), "created at: SOME TIME\n"); got != want {
				t.Errorf("it printed\n%s\n\nand not\n%s", got, want)
			}
		})
	}
}

var date = regexp.MustCompile(`created at: 20\S+\n`)

const want = `A 1 a1, created at: SOME TIME
  B 1
  B 2
A 2 a2, created at: SOME TIME
  B 3
A 3 a3, created at: SOME TIME
  B 4
  B 5
A a1
  B 1
  B 2
A a2
  B 3
A a3
  B 4
  B 5
committed: A 1 is "new data", error: <nil>
`
