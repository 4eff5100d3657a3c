package gate

import "context"

// Pause stops admission until Resume, for a failover or a migration. Permits that
// are out stay valid. Callers wait as usual. One whose wait has to end during the
// pause, or that may not wait, is refused with ErrPaused. A second Pause does
// nothing.
func (g *Gate) Pause() {
	g.mu.Lock()
	defer g.unlock()
	g.paused, g.halted = true, true
	g.choosePath()
}

// Resume ends a pause and lets waiters in. If the gate is not paused it does
// nothing.
func (g *Gate) Resume() {
	g.mu.Lock()
	defer g.unlock()
	g.paused, g.halted = false, g.closed
	g.choosePath()
	now := g.now()
	for c := range g.everyClass {
		c.service.start(now) // the pause is no interval between two grants
	}
	g.serve(now)
}

// Close stops admission for good. It refuses all waiters and all later callers
// with ErrClosed. Permits that are out stay valid until they are released. Close
// does not wait for them; Drain does. It may be called again.
func (g *Gate) Close() {
	g.stopAdapting()
	g.mu.Lock()
	defer g.unlock()
	g.close()
}

// Drain closes the gate and waits until the last permit is released, for an
// orderly shutdown. If ctx ends before that, Drain returns ctx.Err(), and the gate
// stays closed. Drain may be called again, and by several goroutines at once.
func (g *Gate) Drain(ctx context.Context) error {
	g.stopAdapting()
	g.mu.Lock()
	g.close()
	if g.isEmpty() {
		g.unlock()
		return nil
	}
	if g.drained == nil {
		g.drained = make(chan struct{})
		g.choosePath()
	}
	drained := g.drained
	g.unlock()
	select {
	case <-drained:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// close is called with g.mu held.
func (g *Gate) close() {
	g.closed, g.halted = true, true
	g.choosePath()
	now := g.now()
	for q := range g.everyQueue {
		for w := q.head; w != nil; w = q.head {
			g.resolve(w, g.rejectWaiter(w, now, ErrClosed))
		}
	}
}

func (g *Gate) stopAdapting() {
	if g.adaptation != nil {
		g.adaptation.stop()
	}
}
