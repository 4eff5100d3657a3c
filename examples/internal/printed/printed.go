// Package printed compares what an example prints with what it should.
package printed

import (
	"context"
	"io"
	"strings"
	"testing"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/poolgatetest"
)

// Compare runs an example with each driver, on a new database and a gate of
// eight permits, and fails t if it prints anything but want or leaves something
// held. What it prints goes through edit first, which takes out what differs
// from run to run; nil leaves it as it is.
func Compare(t *testing.T, run func(context.Context, *poolgate.DB, io.Writer) error, edit func(string) string, want string) {
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			db, err := driver.Open(pgserver.ForTest(t).CreateDatabase(t), poolgate.Config{Gate: gate.Config{Limit: 8}})
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if err := run(t.Context(), db, &out); err != nil {
				t.Fatal(err)
			}
			poolgatetest.AssertIdle(t, db)
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			got := out.String()
			if edit != nil {
				got = edit(got)
			}
			if got != want {
				t.Errorf("it printed\n%s\n\nand not\n%s", got, want)
			}
		})
	}
}
