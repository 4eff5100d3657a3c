package gate

import (
	"context"
	"time"

	"github.com/petermattis/goid"
)

// A waiter is one caller in the queue. All but ready is guarded by Gate.mu
// while the waiter is queued. It is dequeued by the one that decides its outcome
// (a release, the timer, Close, or the caller itself when its context ends).
// Anybody but the caller then writes the outcome and, having unlocked, sends on
// ready, in this order, so the caller that received may read it without the lock.
//
// It takes 256 bytes with its channel, see TestAWaiterIsSmall.
type waiter struct {
	next, prev *waiter
	weight     int
	queued     bool
	nested     bool // its goroutine held a permit when it came
	shadowed   bool // in shadow mode: it was counted as refused

	ctx       context.Context
	class     *class
	holder    Holder
	goroutine int64
	ticket    uint64        // its place in the order in which all have come
	since     time.Duration // when it was queued, on the gate's clock
	began     time.Duration // when its work did, see WithStart
	deadline  time.Duration // when its context ends; 0 if never

	ready chan struct{} // capacity 1: the sender never blocks

	// The outcome, at most one of which is set: where neither is, ctx has ended.
	hold    *hold
	refused *RejectedError
}

func newWaiter() any { return &waiter{ready: make(chan struct{}, 1)} }

// reset makes w fit to be used again, and lets go of what it referred to.
func (w *waiter) reset() {
	w.ctx, w.class, w.holder, w.hold, w.refused, w.shadowed = nil, nil, nil, nil, nil, false
}

// goroutine returns the identity of the calling goroutine, as in the stacks
// that Go prints. It takes 2 ns.
func goroutine() int64 { return goid.Get() }

// A queue holds waiters in the order in which they came. Its zero value is
// empty. Every method takes constant time.
type queue struct {
	head, tail *waiter
	n          int
}

func (q *queue) push(w *waiter) {
	w.queued = true
	w.prev = q.tail
	if q.tail == nil {
		q.head = w
	} else {
		q.tail.next = w
	}
	q.tail = w
	q.n++
}

func (q *queue) remove(w *waiter) {
	if w.prev == nil {
		q.head = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		q.tail = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.next, w.prev = nil, nil
	w.queued = false
	q.n--
}
