package gate

// A Permit is the right to be in flight, from [Gate.Acquire] until Release.
// It is a small value, free to be copied and to be handed to another
// goroutine; all copies are the same permit. The zero Permit, as returned
// with an error, stands for none.
type Permit struct {
	hold *hold
	turn uint64
}

// A hold is the gate's record of one permit that is out. Records are reused:
// turn tells the present permit from earlier ones on the same record, which
// is how a permit that is released twice is told from its successor.
type hold struct {
	gate *Gate

	// guarded by Gate.mu
	next  *hold // in the gate's list of free records
	class *class
	turn  uint64
}

// Release gives the permit back, to the longest waiter if there is one. It
// never blocks, and may be called from any goroutine. Release of the zero
// Permit does nothing, so it may be deferred before the error is looked at.
//
// Release panics if the permit was released before: it would be somebody
// else's that is taken away.
func (p Permit) Release() {
	if p.hold != nil {
		p.hold.gate.release(p)
	}
}
