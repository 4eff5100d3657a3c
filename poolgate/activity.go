package poolgate

import (
	"sync"

	"github.com/poolgate/poolgate/internal/redact"
)

// longestStatement is how many bytes of a statement are shown to whoever asks
// what a permit is used for.
const longestStatement = 300

// activity is what a lease is used for. It is a gate.Holder.
type activity struct {
	mu    sync.Mutex // guards query
	query string
}

func (a *activity) begin(query string) {
	a.mu.Lock()
	a.query = query
	a.mu.Unlock()
}

// Statement returns the last statement, without what could be a value in it.
func (a *activity) Statement() string {
	a.mu.Lock()
	query := a.query
	a.mu.Unlock()
	return redact.Statement(query, longestStatement)
}
