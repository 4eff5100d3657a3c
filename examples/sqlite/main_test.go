package sqlite

import (
	"database/sql"
	"path/filepath"
	"sync"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A gate of one permit is what SQLite wants of its writers: they wait in order,
// instead of failing with SQLITE_BUSY.
func TestWriters(t *testing.T) {
	pool, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "test.db")+"?_pragma=journal_mode(wal)")
	if err != nil {
		t.Fatal(err)
	}
	db, err := poolgate.Wrap(pool, poolgate.Config{Gate: gate.Config{Limit: 1}, CloseInner: true})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec("CREATE TABLE n (i int)"); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			tx, err := db.Begin()
			if err != nil {
				t.Error(err)
				return
			}
			defer tx.Rollback()
			if _, err := tx.Exec("INSERT INTO n SELECT max(i) + ? FROM n", i); err != nil {
				t.Error(err)
			}
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	var n int
	if err := db.QueryRow("SELECT count(*) FROM n").Scan(&n); err != nil || n != 50 {
		t.Errorf("%d rows, %v", n, err)
	}
	if s := db.Gate().Stats(); s.InFlight != 0 || s.Waiting != 0 {
		t.Errorf("left behind: %+v", s)
	}
}
