// Package session has units of work that a context carries: what is done in
// one is committed together, or not at all.
//
//	err := session.Run(ctx, func(ctx context.Context) error {
//		if err := debit(ctx, from, amount); err != nil { // each uses session.DB(ctx, db)
//			return err
//		}
//		return credit(ctx, to, amount)
//	})
//
// A callee asks for its database by [DB], which is the unit's transaction
// inside of a unit and the pool outside of one, and is what sqlc wants:
//
//	queries.New(session.DB(ctx, db.DB)).Debit(ctx, …)
//
// What the context carries is a [Session], which has no transaction yet. The
// first statement on each database begins one there, whoever makes it, so that
// a unit that a callee begins is the caller's too, and a unit that makes no
// statement costs no connection. The package works on any *sql.DB. On a
// poolgate.DB, a transaction holds one permit from its first statement to its
// end.
//
// # Which to use
//
//   - [NewHandler] opens a unit for each HTTP request.
//   - [Run] opens one, or becomes a part of the one that is open, which can be
//     undone by itself. [Config] has other ways, and repetition.
//   - [RunNew] opens another beside the one that is open: for goroutines side
//     by side, and for what must stay when the unit is undone.
//   - [Atomic] and [New] open one that no context carries.
//   - [Session] can commit, roll back and close before its end, and has hooks.
//
// # Several databases
//
// They are committed one after the other, in the order in which they were
// first used. This is no two-phase commit: if a later COMMIT fails, those
// before it remain, and a [*CommitError] says which. What can be known before
// the first COMMIT is: a statement that failed on one, even if its error was
// swallowed, has all of them rolled back. Views of one database, such as two
// *sql.DB on one server, are two databases here.
//
// # One goroutine at a time
//
// A transaction is one connection, and can do one thing at a time. A session
// refuses with a [*BusyError], which names both goroutines, and sends nothing,
//
//   - a call on a database while another call on the same one has not
//     returned: a statement, Commit, Rollback, the end of a nested Run. The
//     wait for a permit, and the BEGIN, are a part of the first statement;
//   - a call while the rows of the last QueryContext are open, by whichever
//     goroutine: they are until they are closed, or read to the end;
//   - a statement or a Run, in another goroutine than that of the innermost
//     nested Run that is open, with a context from outside of it;
//   - the end of a nested Run while another is open inside of it, or of a unit
//     with one open or a call under way. Then the unit is rolled back.
//
// Each of these is a mistake whenever it happens: there are no false alarms,
// and goroutines may hand a session to one another. Not seen are the uses of
// an *sql.Stmt that PrepareContext has returned, and an *sql.Row between
// QueryRowContext and its Scan: what the driver then does is as without this
// package.
//
// # When a context ends
//
// The context that a unit was opened with bounds it: its end rolls the unit
// back and gives its connections back, at once, or when the statement that is
// under way has returned. The connections can be used again. The context of a
// statement bounds that statement, and its wait for a connection; a class of
// the gate, and what else travels as a value, is looked for in the unit's.
// A ROLLBACK that takes longer than five seconds is broken off, where the
// driver can.
package session
