package gate

import "context"

// Pause lets nobody in until Resume, for a failover or a migration. Permits
// that are out stay good. Whoever comes waits as at any time; if its wait has to
// end meanwhile, or if it may not wait at all, it is refused with ErrPaused.
// Pausing twice is pausing once.
func (g *Gate) Pause() {
	g.mu.Lock()
	defer g.unlock()
	g.paused, g.halted = true, true
	g.choosePath()
}

// Resume ends a Pause, and lets in those who waited for it. Without one it does
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

// Close stops admission for good: it refuses everybody who waits, and whoever
// comes later, with ErrClosed. Permits that are out stay good until they are
// released. Close does not wait for them, as Drain does, and may be called
// again.
func (g *Gate) Close() {
	g.stopAdapting()
	g.mu.Lock()
	defer g.unlock()
	g.close()
}

// Drain closes the gate and waits until the last permit has come back, for a
// shutdown in good order. It returns ctx.Err() if ctx ends before that, with the
// gate closed nevertheless; it may then be called again, also by several at
// once.
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
