// Package activity describes what a permit is used for.
package activity

import (
	"sync"

	"github.com/poolgate/poolgate/internal/redact"
)

// longestStatement is how many bytes of a statement are shown of what a permit
// is used for.
const longestStatement = 300

// An Activity is what a permit is used for. It is a gate.Holder. The zero
// Activity has had no statement yet.
type Activity struct {
	mu      sync.Mutex // guards what follows
	query   string
	running bool
}

// Begin says that the server works on query from now on.
func (a *Activity) Begin(query string) {
	a.mu.Lock()
	a.query, a.running = query, true
	a.mu.Unlock()
}

// End says that the server has answered.
func (a *Activity) End() {
	a.mu.Lock()
	a.running = false
	a.mu.Unlock()
}

// Statement returns the last statement, without what could be a value in it, and
// whether the server has not answered it yet.
func (a *Activity) Statement() (text string, running bool) {
	a.mu.Lock()
	query, running := a.query, a.running
	a.mu.Unlock()
	return redact.Statement(query, longestStatement), running
}
