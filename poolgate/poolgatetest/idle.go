package poolgatetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// patience is how long awaitIdle waits for what is about to be returned. It
// only matters to tests that fail. Only tests change it.
var patience = 5 * time.Second

// AssertIdle fails t if a permit of db is held, a caller waits for one, or a
// connection is in use. The usual causes are a transaction that was not ended,
// rows that were not closed, and a goroutine that is still running. The failure
// lists who holds what.
//
// AssertIdle waits up to five seconds for db to become idle, because
// database/sql returns some connections in the background after their context
// has ended.
func AssertIdle(t testing.TB, db *poolgate.DB) {
	t.Helper()
	if busy := awaitIdle(db); busy != "" {
		t.Errorf("poolgatetest: the DB is not idle: %s", busy)
	}
}

// awaitIdle waits for db to become idle. If it does not, awaitIdle says what is
// held.
func awaitIdle(db *poolgate.DB) (busy string) {
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		busy = describeBusy(db)
		if busy == "" || time.Now().After(deadline) {
			return busy
		}
	}
}

// describeBusy says what is held, or returns "" if db is idle.
func describeBusy(db *poolgate.DB) string {
	s, inUse := db.Gate().Stats(), db.Stats().InUse
	permits := s.InFlight + s.OutOfBand.InFlight
	waiting := s.Waiting
	if permits == 0 && waiting == 0 && inUse == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "permits held %d, connections in use %d, callers waiting %d", permits, inUse, waiting)
	for _, h := range db.Gate().Holders() {
		describeHolder(&b, h)
	}
	return b.String()
}

func describeHolder(b *strings.Builder, h gate.HolderInfo) {
	fmt.Fprintf(b, "\n\tgoroutine %d", h.Goroutine)
	if h.Statement != "" {
		fmt.Fprintf(b, ", last statement: %s", h.Statement)
	}
	if h.Stack != "" {
		fmt.Fprintf(b, "\n%s", h.Stack)
	}
}
