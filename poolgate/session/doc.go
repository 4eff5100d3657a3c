// Package session provides units of work that a context carries: what is done in
// a unit is committed together, or not at all.
//
//	err := session.Run(ctx, func(ctx context.Context) error {
//		if err := debit(ctx, from, amount); err != nil { // each uses session.DB(ctx, db)
//			return err
//		}
//		return credit(ctx, to, amount)
//	})
//
// A callee asks for its database by [DB], which returns the unit's transaction
// inside a unit and the pool outside one. sqlc takes it as it is:
//
//	queries.New(session.DB(ctx, db.DB)).Debit(ctx, …)
//
// The context carries a [Session], which has no transaction at first. The first
// statement on each database begins one there, in any callee. So a unit that
// makes no statement costs no connection. The package works on any *sql.DB. On a
// poolgate.DB, a transaction holds one permit from its first statement to its
// end.
//
// # Which to use
//
//   - [NewHandler] opens a unit for each HTTP request.
//   - [Run] opens one, or becomes a part of the one that is open, which can be
//     undone by itself. [Config] has other ways, and repetition.
//   - [RunNew] opens another unit while one is open: for goroutines that work
//     side by side, and for what must stay when the unit is undone.
//   - [Atomic] and [New] open a unit that no context carries.
//   - [Session] can commit, roll back and close before its end, and has hooks.
//
// # Several databases
//
// They are committed one after the other, in the order in which they were first
// used. This is no two-phase commit: if a later COMMIT fails, those before it
// remain, and a [*CommitError] says which. Whatever the server can say before
// the first COMMIT is asked for: if a statement has failed on one database, even
// if its error was ignored or came while rows were read, all of them are rolled
// back. This costs a round trip for each database on which the last statement
// was no Exec. Two *sql.DB are two databases here, also on one server.
//
// # One goroutine at a time
//
// A transaction is one connection, and can do one thing at a time. A session
// refuses the following with a [*BusyError], which names both goroutines, and
// sends nothing to the server:
//
//   - a call on a database while another call on the same one has not
//     returned: a statement, Commit, Rollback, the end of a nested Run. The
//     wait for a permit, and the BEGIN, are part of the first statement;
//   - a call while the rows of the last QueryContext are open, whichever
//     goroutine reads them: they are open until they are closed, or read to the
//     end. Only Rollback and Close end them;
//   - a statement or a Run, in a goroutine other than that of the innermost
//     nested Run that is open, with a context from outside of it;
//   - the end of a nested Run while another is open inside it.
//
// The end of a unit or of a nested Run follows the same rules: with a call under
// way, a nested Run or rows open, it returns the BusyError and undoes the work.
// Rows that nobody has read to the end may hide the failure of their statement,
// so nothing is committed while they are open: Commit refuses, Run rolls back,
// and [NewHandler] answers with status 500.
//
// Each of these is a mistake whenever it happens: there are no false alarms, and
// goroutines may hand a session to one another. A session does not see the uses
// of an *sql.Stmt that PrepareContext has returned, nor an *sql.Row between
// QueryRowContext and its Scan: the driver then does what it does without this
// package.
//
// # When a context ends
//
// The context that a unit was opened with bounds it. Its end rolls the unit back
// and gives its connections back, at once, or when the statement under way has
// returned. The connections can be used again. The context of a statement bounds
// that statement, and its wait for a connection. The class of the gate, and
// other values, are taken from the unit's context. A ROLLBACK that takes longer
// than five seconds is cut off, if the driver can do that. A COMMIT is cut off five
// seconds after the end of the unit's context.
//
// # Round trips
//
// A transaction takes two round trips more than its statements, for BEGIN and
// COMMIT, and a nested Run two, for SAVEPOINT and RELEASE. With pgxgate, BEGIN,
// SAVEPOINT and RELEASE travel with the statement that follows. So a unit takes
// one round trip more than its statements and those of its hooks, and a nested Run
// none. There are two exceptions: an Exec without arguments takes nothing along,
// because its text may be several statements; and RELEASE travels alone if a
// statement of the nested Run may have failed unnoticed, as one whose rows are read
// may.
//
// If BEGIN or SAVEPOINT fails, the server skips the statement, which returns the
// error. Statements, hooks and COMMIT are not sent together: each may depend on
// what the one before has returned.
//
// # Libraries
//
// The code that sqlc generates, and bun's queries, take what [DB] returns. For
// GORM, sqlx, ent and squirrel, the pages in docs have some lines that connect
// them.
package session
