package poolgate

import (
	"sync"

	"github.com/poolgate/poolgate/internal/redact"
)

// longestStatement is how many bytes of a statement are shown of what a permit
// is used for.
const longestStatement = 300

// activity is what a lease is used for. It is a gate.Holder.
type activity struct {
	mu      sync.Mutex // guards what follows
	query   string
	running bool
}

func (a *activity) begin(query string) {
	a.mu.Lock()
	a.query, a.running = query, true
	a.mu.Unlock()
}

func (a *activity) end() {
	a.mu.Lock()
	a.running = false
	a.mu.Unlock()
}

// Statement returns the last statement, without what could be a value in it, and
// whether the server has not answered it yet.
func (a *activity) Statement() (text string, running bool) {
	a.mu.Lock()
	query, running := a.query, a.running
	a.mu.Unlock()
	return redact.Statement(query, longestStatement), running
}
