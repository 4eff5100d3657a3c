// Package poolgate is the admission control that [database/sql] never had.
//
// [OpenDB] opens a gated *sql.DB, and [Wrap] puts a gate in front of one that
// exists. Both return one that works everywhere the ordinary one does:
//
//	db, err := poolgate.Wrap(existing, poolgate.Config{Gate: gate.Config{Limit: 40}})
//	...
//	rows, err := db.QueryContext(ctx, "SELECT …") // waits for a permit, then takes a connection
//
// A [DB] embeds the gated *sql.DB, so that db.DB goes wherever a *sql.DB is
// wanted: sqlc, sqlx, GORM, bun, ent, squirrel and goose work on it unchanged.
//
// # How long a permit is held
//
// Exactly as long as database/sql holds the connection: Exec for the call, a
// Rows until it is closed, a Tx until Commit or Rollback, a Conn until Close.
// A goroutine waits for its permit before it occupies a connection, in the
// order in which it came, for no longer than its context and
// gate.Config.MaxWait allow. If the gate refuses, the call returns the gate's
// error as it is.
//
// A connection that turns out to be bad is closed, and its permit comes back
// once it is: until then the server may still work for it. The caller does not
// wait for that longer than a moment.
//
// A goroutine that holds a transaction, or open rows, and queries the DB again
// needs a second permit. If all permits are held by such goroutines they wait
// for one another; the gate finds that out and refuses one of them with
// gate.ErrDeadlock.
//
// # Classes
//
// If gate.Config has classes, a checkout is of the class that its context
// carries by gate.WithClass, or of the view on which it is made: [DB.Class]
// returns a *sql.DB for code that knows nothing of classes.
//
// # Prepared statements
//
// A *sql.Stmt is prepared once on each connection that it is used on, and the
// connection keeps it for all that prepare the same text, in transactions too.
// See Config.StatementsPerConn, and Config.PrepareQueries for statements that
// nobody prepares. A statement that the server has lost, by DISCARD ALL for
// instance, or whose result has another type after an ALTER TABLE, is prepared
// again. Within a transaction that is too late, and the call fails. After a
// statement of the DB that begins with ALTER, all are prepared again, for the
// types of their arguments.
//
// # Retries
//
// database/sql tries a call again if its connection was bad, at most twice.
// Behind the gate that is the same: no statement is sent more often than it
// would be without the gate. A second try waits for a permit like any other
// call. The adapters go further: they return driver.ErrBadConn only if nothing
// was sent, and [ErrOutcomeUnknown] otherwise, so that no statement is sent
// twice.
//
// # What goes through untouched
//
// Rows, results, arguments, contexts and errors are the driver's own. Code that
// reaches for the driver's connection by sql.Conn.Raw finds a wrapper there, and
// a plain dc.(*stdlib.Conn) panics, as it does behind any wrapper: use [Raw].
//
// # What cannot be guarded
//
// A panic in a call to the driver gives connection and permit back. What
// database/sql itself does not survive remains, gated or not:
//
//   - a panic out of the driver's Rows, or out of the Value method of an
//     argument, leaves the connection checked out, and its permit too;
//   - a panic out of the Scan method of a destination, inside of sql.Rows.Scan or
//     sql.Row.Scan, leaves the rows locked: Close and the end of the context wait
//     for good. Package rows calls such methods outside of sql.Rows.Scan;
//   - a panic as a connection is made, reset or closed gives the permit back,
//     but the inner pool of Wrap counts that connection as in use from then on;
//   - after a panic in the Query of an sql.Conn or an sql.Tx, the permit is back,
//     but Close or Rollback of it hangs.
package poolgate
