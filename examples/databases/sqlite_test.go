package databases

import (
	"database/sql/driver"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/poolgate/poolgate/internal/testing/neutral"
)

// sqlite is SQLite for the suite.
func sqlite(open func(t testing.TB) driver.Connector, single bool) neutral.Database {
	return neutral.Database{
		Open:   open,
		Single: single,
		Key:    "INTEGER PRIMARY KEY AUTOINCREMENT",
		Double: "DOUBLE",
		Bytes:  "BLOB",
		Time:   "TIMESTAMP",
		Bool:   "BOOLEAN",
	}
}

// file returns the DSN of an empty database in a file.
func file(t testing.TB, options string) string {
	return "file:" + filepath.Join(t.TempDir(), "test.db") + options
}

func TestSQLite(t *testing.T) {
	t.Run("a file", func(t *testing.T) {
		neutral.Run(t, sqlite(func(t testing.TB) driver.Connector {
			return neutral.Connector(t, "sqlite", file(t, "?_pragma=journal_mode(wal)&_pragma=busy_timeout(10000)"))
		}, false))
	})
	t.Run("in memory", func(t *testing.T) {
		neutral.Run(t, sqlite(func(t testing.TB) driver.Connector {
			return neutral.Connector(t, "sqlite", ":memory:")
		}, true))
	})
}
