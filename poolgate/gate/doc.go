// Package gate is admission control for anything that gets slower when too many
// callers use it at once, such as a database.
//
// A [Gate] gives out a limited number of permits. A caller that finds none free
// waits in a bounded queue, first in, first out, as long as its context and the
// gate's maximum wait allow. The gate refuses the others at once, with an error that
// says why and when to try again.
//
//	g, err := gate.New(gate.Config{Limit: 40})
//	...
//	permit, err := g.Acquire(ctx)
//	if err != nil {
//		return err // a *gate.RejectedError, or ctx.Err() if ctx was done before
//	}
//	defer permit.Release()
//
// A [Class] distinguishes callers of several kinds. What the web has reserved, no
// nightly report can take away. While the web does not use it, it is lent.
//
// A gate knows nothing of SQL. Package poolgate puts one in front of a
// [database/sql.DB]. A gate also serves in front of an HTTP client or a disk.
//
// # What a gate guarantees
//
//   - No more permits are out than the limit, except for a while after the limit
//     was lowered: nobody loses a permit.
//   - A permit that is released goes at once to the next waiter: first to one whose
//     goroutine holds a permit already, then to the longest waiter of the class
//     whose turn it is. A newcomer never overtakes its queue, unless Config.Shed
//     serves a standing queue from its end. No class starves.
//   - A caller whose context is done gets no permit, even if one is free. A waiter
//     whose context has ended or whose time is up is never served. If its context
//     ends at the moment of the grant, the permit goes to the next waiter.
//   - Acquire and Release allocate nothing if nobody waits, and reuse their waiters
//     otherwise.
//   - A gate has no goroutine of its own. It has a timer while callers wait, and
//     while permits are out if Config.LeakAfter is set.
package gate
