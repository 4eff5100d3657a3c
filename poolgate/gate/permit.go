package gate

import (
	"runtime"
	"sync/atomic"
	"time"
)

// A Permit is the right to be in flight, from [Gate.Acquire] until Release.
// It is a small value that may be copied and passed to another goroutine; all
// copies are the same permit. The zero Permit, as returned with an error, is no
// permit.
type Permit struct {
	hold *hold
	turn uint64
}

// Release gives the permit back, and the gate gives it to the next waiter. Release
// never blocks, and any goroutine may call it. Release of the zero Permit does
// nothing, so it may be deferred before the error is checked.
//
// Release panics if the permit was released before, since the permit could be
// another caller's now.
func (p Permit) Release() {
	if p.hold != nil {
		p.hold.gate.release(p)
	}
}

// Class returns the name of the class that the permit was taken in:
// OutOfBandClass for one of the lane, and "" for the zero Permit. It must not be
// called after Release.
func (p Permit) Class() string {
	if p.hold == nil {
		return ""
	}
	return p.hold.class.Name
}

// SetOwner says that the calling goroutine works under the permit. So the gate
// knows a goroutine that acquires another permit while it holds this one: it goes
// before all callers that hold none, and is part of a search for a deadlock, see
// [ErrDeadlock]. After a permit was handed to another goroutine, that one should
// call SetOwner.
//
// SetOwner takes 4 ns if the goroutine is the owner already, and otherwise about
// 60 ns together with what it adds to Release, see BenchmarkSetOwner. It must not
// be called after Release.
func (p Permit) SetOwner() {
	if p.hold == nil {
		return
	}
	if id := goroutine(); p.hold.owner.Load() != id {
		p.hold.gate.owners.set(p.hold, id)
	}
}

// A hold is the gate's record of one permit, or of several that were taken
// together. Records are reused: turn tells the present permit from earlier ones
// on the same record, which is how a permit that is released twice is told from
// its successor.
type hold struct {
	gate  *Gate
	owner atomic.Int64              // the goroutine that works under it; 0 if not known; see owners
	stack atomic.Pointer[callStack] // of who took it, where it was captured

	nextOwned *hold // in a list of owners, and guarded by its lock

	// guarded by Gate.mu
	next     *hold // in the gate's list of free records
	out      bool  // it is that of a permit
	turn     uint64
	class    *class
	weight   int           // 1 while it is not out
	since    time.Duration // since when it is held, on the gate's clock
	stamped  bool          // since is known
	deadline time.Duration // when the context of the waiter that got it ends; 0 if never, or not known
	reported bool          // as a leak
	holder   Holder
}

func (h *hold) stamp(now time.Duration) { h.since, h.stamped = now, true }

// isPlain reports whether h was taken the short way and has no owner, so that
// there is nothing that reset would have to undo.
func (h *hold) isPlain() bool { return !h.stamped && h.owner.Load() == 0 }

// reset makes h that of no permit.
func (h *hold) reset() {
	h.turn++
	h.out, h.weight = false, 1
	h.since, h.deadline, h.stamped, h.reported, h.holder = 0, 0, false, false, nil
	h.gate.owners.set(h, 0)
	if h.stack.Load() != nil {
		h.stack.Store(nil)
	}
}

// callStack is who called Acquire.
type callStack [32]uintptr

// keepStack captures the stack of the caller of Acquire, of one in every so
// many.
func (h *hold) keepStack(every int) {
	if every == 0 || h.turn%uint64(every) != 0 {
		return
	}
	stack := new(callStack)
	runtime.Callers(3, stack[:])
	h.stack.Store(stack)
}
