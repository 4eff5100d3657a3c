package gate

import (
	"math/bits"
	"sync"
)

// owners finds the permits that a goroutine works under, whatever their number.
// It is a hash table with a lock for each of its lists, so that SetOwner need not
// take the gate's lock.
type owners struct{ lists []ownerList }

type ownerList struct {
	mu    sync.Mutex // guards first, and nextOwned of the holds in the list
	first *hold
}

// maxOwnerLists keeps the table at 16 KB where the limit is high.
const maxOwnerLists = 1024

func newOwners(limit int) owners {
	n := 1 << bits.Len(uint(min(limit, maxOwnerLists)-1))
	return owners{make([]ownerList, n)}
}

func (o *owners) list(id int64) *ownerList { return &o.lists[id&int64(len(o.lists)-1)] }

// set makes id the owner of h, in place of the one that it has; 0 is none.
// Several goroutines may do so at once.
func (o *owners) set(h *hold, id int64) {
	for {
		old := h.owner.Load()
		if old == id {
			return
		}
		if old != 0 {
			o.list(old).remove(h, old)
		} else if o.list(id).add(h, id) {
			return
		}
	}
}

func (l *ownerList) add(h *hold, id int64) bool {
	l.mu.Lock()
	added := h.owner.CompareAndSwap(0, id) // or another was quicker
	if added {
		h.nextOwned, l.first = l.first, h
	}
	l.mu.Unlock()
	return added
}

// remove takes h out, unless id owns it no longer.
func (l *ownerList) remove(h *hold, id int64) {
	l.mu.Lock()
	if h.owner.Load() == id {
		at := &l.first
		for *at != h {
			at = &(*at).nextOwned
		}
		*at, h.nextOwned = h.nextOwned, nil
		h.owner.Store(0)
	}
	l.mu.Unlock()
}

// each calls f with every hold that id owns until f returns false.
func (o *owners) each(id int64, f func(h *hold) bool) {
	l := o.list(id)
	l.mu.Lock()
	defer l.mu.Unlock()
	for h := l.first; h != nil; h = h.nextOwned {
		if h.owner.Load() == id && !f(h) {
			return
		}
	}
}

// own reports whether id owns any.
func (o *owners) own(id int64) (found bool) {
	o.each(id, func(*hold) bool {
		found = true
		return false
	})
	return found
}
