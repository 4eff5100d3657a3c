// Package gate is admission control for anything that gets slower when too
// many use it at once: a database first of all.
//
// A [Gate] hands out a limited number of permits. Whoever finds none free
// waits in a bounded queue, first in, first out, for no longer than its
// context and the gate's maximum wait allow. Everybody else is refused at
// once, with an error that says why and when to come back.
//
//	g, err := gate.New(gate.Config{Limit: 40})
//	...
//	permit, err := g.Acquire(ctx)
//	if err != nil {
//		return err // ctx.Err(), or a *gate.RejectedError
//	}
//	defer permit.Release()
//
// Callers of several kinds are told apart by their [Class]: what the web has
// reserved no nightly report can take away, and while it does not use it, it is
// lent.
//
// A gate knows nothing of SQL. Package poolgate puts one in front of a
// [database/sql.DB]; it serves as well in front of an HTTP client or a disk.
//
// # What is promised
//
//   - No more permits are out than the limit says, except for a while after
//     the limit was lowered: nobody is thrown out.
//   - A permit that is given back goes straight to the longest waiter of the
//     class whose turn it is. A newcomer never overtakes its queue, and nobody
//     starves; but for a queue that stands, where Config.Shed has it served from
//     its end.
//   - A context that is done beats a free permit, and a waiter whose context
//     ended or whose time is up is never served. A waiter that is cancelled
//     in the instant of its grant passes the permit on to the next one.
//   - Acquire and Release allocate nothing while nobody waits, and reuse
//     their waiters otherwise.
//   - A gate has no goroutine of its own, only a timer while somebody waits, or
//     while permits are out whose Config.LeakAfter is to be looked after.
package gate
