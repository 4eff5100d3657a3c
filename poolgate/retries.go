package poolgate

import (
	"context"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/petermattis/goid"
)

// database/sql tries a call again if its connection was bad: twice with a
// connection from its free list, then with a new one. The façade leaves that to
// it and sends nothing twice itself, so that a statement is sent as often as it
// would be without a gate. But these tries are checkouts of different seats,
// and only the goroutine connects them.

// retries are what the next checkout of a goroutine has to know of the one
// before.
type retries struct {
	n  atomic.Int32 // of entries, for those that look in vain
	mu sync.Mutex   // guards what follows
	by map[int64]retry

	looked time.Time // when forgetOld did
}

type retry struct {
	at      time.Time
	bad     int             // connections in a row that were bad when they were called
	refused error           // why a checkout for DB.Conn failed
	ctx     context.Context // of that checkout
}

// database/sql tries nothing again for a Conn or a Tx, so that an entry can be
// left. It is forgotten after retryWithin, and all are if there are maxRetries.
const (
	retryWithin = time.Minute
	maxRetries  = 1000
)

// wasBad notes that a connection was bad when it was called.
func (r *retries) wasBad() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetOld()
	r.put(retry{bad: r.by[goid.Get()].bad + 1})
}

// wantsNew reports whether the checkout should get a connection that was not
// idle: two of the others were bad.
func (r *retries) wantsNew() bool {
	if r.n.Load() == 0 {
		return false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.forgetOld()
	wants := r.by[goid.Get()].bad >= maxBadConns
	if wants {
		r.drop()
	}
	return wants
}

// maxBadConns is how many bad connections database/sql accepts until it wants a
// new one.
const maxBadConns = 2

// refuse keeps the error of a checkout for DB.Conn. If ctx has ended
// database/sql does not try again.
func (r *retries) refuse(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.put(retry{refused: err, ctx: ctx})
}

// isRefused reports whether refusal has something to return.
func (r *retries) isRefused() bool { return r.refusal(false) != nil }

// refusal returns the error that refuse kept, if the checkout is a further try
// of the same call, and forgets it if take is set. Only if its context has ended
// can an error be left of an earlier call.
func (r *retries) refusal(take bool) error {
	if r.n.Load() == 0 {
		return nil
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	one := r.by[goid.Get()]
	if one.refused == nil {
		return nil
	}
	if one.ctx.Err() != nil {
		one.refused = nil
		take = true
	}
	if take {
		r.drop()
	}
	return one.refused
}

// put and drop change the entry of the calling goroutine, with r.mu held.
func (r *retries) put(one retry) {
	if r.by == nil || len(r.by) >= maxRetries {
		r.by = make(map[int64]retry)
	}
	one.at = time.Now()
	r.by[goid.Get()] = one
	r.n.Store(int32(len(r.by)))
}

// forgetOld is called with r.mu held. It looks once in a second: after a server
// has failed, all goroutines have entries, and all checkouts come here.
func (r *retries) forgetOld() {
	now := time.Now()
	if now.Sub(r.looked) < time.Second {
		return
	}
	r.looked = now
	for id, one := range r.by {
		if now.Sub(one.at) > retryWithin {
			delete(r.by, id)
		}
	}
	r.n.Store(int32(len(r.by)))
}

func (r *retries) drop() {
	delete(r.by, goid.Get())
	r.n.Store(int32(len(r.by)))
}

// calledBy reports whether function is among the nearest callers of the driver
// in database/sql. It takes a microsecond.
func calledBy(function string) bool {
	var stack [16]uintptr
	frames := runtime.CallersFrames(stack[:runtime.Callers(2, stack[:])])
	for {
		f, more := frames.Next()
		if f.Function == function {
			return true
		}
		if !more {
			return false
		}
	}
}
