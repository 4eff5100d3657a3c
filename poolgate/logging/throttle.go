package logging

import (
	"sync"
	"time"
)

// throttleFor is how long lines of one kind are held back after one of them.
const throttleFor = time.Second

// throttle lets one line of each kind pass in a while, and counts the others.
type throttle struct {
	mu    sync.Mutex // guards kinds
	kinds map[string]*throttled
}

type throttled struct {
	last time.Time
	held int64
}

// pass reports whether a line may pass, and how many have not since the last one.
func (t *throttle) pass(kind string) (held int64, ok bool) {
	now := time.Now()
	t.mu.Lock()
	defer t.mu.Unlock()
	k := t.kinds[kind]
	if k == nil {
		k = &throttled{}
		if t.kinds == nil {
			t.kinds = make(map[string]*throttled)
		}
		t.kinds[kind] = k
	} else if now.Sub(k.last) < throttleFor {
		k.held++
		return 0, false
	}
	held, k.held, k.last = k.held, 0, now
	return held, true
}
