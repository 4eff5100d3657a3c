package poolgatetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// patience is how long NothingHeld waits for what is about to be given back.
const patience = 2 * time.Second

// NothingHeld fails t, and lists who holds what, if a permit of db is held, if
// somebody waits for one, or if a connection is in use: because of a
// transaction without an end, rows that are not closed, or a goroutine that is
// still at work. What is given back within two seconds is no failure, as
// database/sql gives some things back in the background after a context has
// ended.
func NothingHeld(t testing.TB, db *poolgate.DB) {
	t.Helper()
	for deadline := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		held := held(db)
		if held == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("poolgatetest: %s", held)
			return
		}
	}
}

// held says what is held, or "".
func held(db *poolgate.DB) string {
	s, inUse := db.Gate().Stats(), db.Stats().InUse
	out := s.InFlight + s.OutOfBand.InFlight
	waiting := s.Waiting
	if out == 0 && waiting == 0 && inUse == 0 {
		return ""
	}
	var b strings.Builder
	fmt.Fprintf(&b, "still held: %d permits, by %d connections in use; and %d wait for one", out, inUse, waiting)
	for _, h := range db.Gate().Holders() {
		describe(&b, h)
	}
	return b.String()
}

func describe(b *strings.Builder, h gate.HolderInfo) {
	fmt.Fprintf(b, "\n\tgoroutine %d", h.Goroutine)
	if h.Statement != "" {
		fmt.Fprintf(b, ", which last did: %s", h.Statement)
	}
	if h.Stack != "" {
		fmt.Fprintf(b, "\n%s", h.Stack)
	}
}
