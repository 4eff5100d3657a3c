package conformance

import (
	"database/sql"
	"sync"
	"testing"
)

// outcome is what a writer knows of a row that it has tried to write.
type outcome int

const (
	doubtful outcome = iota // it failed without saying whether before or after
	written                 // it was told that the row is there
	absent                  // it was told that the row is not there, or never finished
	outcomes
)

// ledger is what all writers know. It is safe for concurrent use.
type ledger struct {
	mu   sync.Mutex // guards rows
	rows []outcome  // by id
}

// next returns the id of a new row, whose outcome is doubtful.
func (l *ledger) next() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.rows = append(l.rows, doubtful)
	return len(l.rows) - 1
}

func (l *ledger) set(o outcome, ids ...int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		l.rows[id] = o
	}
}

// check compares the ledger with the rows of table torture, and returns how
// many rows there are of each outcome.
func (l *ledger) check(t *testing.T, db *sql.DB) (count [outcomes]int) {
	t.Helper()
	times := make([]int, len(l.rows))
	rows, err := db.Query("select id, count(*) from torture group by id")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	for rows.Next() {
		var id, n int
		if err := rows.Scan(&id, &n); err != nil {
			t.Fatal(err)
		}
		if id < 0 || id >= len(times) {
			t.Errorf("row %d is there, which nobody wrote", id)
			continue
		}
		times[id] = n
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for id, o := range l.rows {
		count[o]++
		switch n := times[id]; {
		case o == written && n != 1:
			t.Errorf("row %d was written, and is there %d times", id, n)
		case o == absent && n != 0:
			t.Errorf("row %d was not written, and is there %d times", id, n)
		case n > 1:
			t.Errorf("row %d is there %d times", id, n)
		}
	}
	return count
}
