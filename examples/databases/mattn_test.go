//go:build mattn && cgo

package databases

import (
	"database/sql/driver"
	"testing"

	_ "github.com/mattn/go-sqlite3"

	"github.com/poolgate/poolgate/internal/testing/neutral"
)

// SQLite by cgo, which takes a minute to build: go test -tags mattn.
func TestSQLiteByCgo(t *testing.T) {
	t.Run("a file", func(t *testing.T) {
		neutral.Run(t, sqlite(func(t testing.TB) driver.Connector {
			return neutral.Connector(t, "sqlite3", file(t, "?_journal_mode=WAL&_busy_timeout=10000"))
		}, false))
	})
	t.Run("in memory", func(t *testing.T) {
		neutral.Run(t, sqlite(func(t testing.TB) driver.Connector {
			return neutral.Connector(t, "sqlite3", ":memory:")
		}, true))
	})
}
