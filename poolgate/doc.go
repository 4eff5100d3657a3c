// Package poolgate is the admission control that [database/sql] never had.
//
// [Wrap] puts a gate in front of an existing *sql.DB and hands back one that
// works everywhere the old one did:
//
//	db, err := poolgate.Wrap(existing, poolgate.Config{Gate: gate.Config{Limit: 40}})
//	...
//	rows, err := db.QueryContext(ctx, "SELECT …") // waits for a permit, then takes a connection
//
// A [DB] embeds the gated *sql.DB, so that db.DB goes wherever a *sql.DB is
// wanted: sqlc, sqlx, GORM, bun and ent work on it unchanged.
//
// # How long a permit is held
//
// Exactly as long as database/sql holds the connection: Exec for the call, a
// Rows until it is closed, a Tx until Commit or Rollback, a Conn until Close.
// A goroutine waits for its permit before it occupies a connection, in the
// order in which it came, for no longer than its context and
// gate.Config.MaxWait allow. What the gate refuses, the call returns: a
// *gate.RejectedError, or the context's own error.
//
// A goroutine that holds a transaction, or open rows, and queries the pool
// again needs a second permit. Where all permits are held by such
// goroutines, they wait for one another until MaxWait ends it.
//
// # Classes
//
// Where gate.Config has classes, a checkout is of the class that its context
// carries by gate.WithClass, or of the view on which it is made: [DB.Class]
// gives a *sql.DB for code that knows nothing of classes.
//
// # What goes through untouched
//
// Statements, rows, results, arguments, contexts and errors are the driver's
// own: only its connection is wrapped, so that no optional interface is lost.
// Code that reaches for the driver's connection by sql.Conn.Raw finds the
// wrapper there, and a plain dc.(*stdlib.Conn) panics, as it does behind any
// wrapper: use [Raw].
//
// # What cannot be guarded
//
// A panic in a connection's or a transaction's methods gives connection and
// permit back. What database/sql itself does not survive remains, gated or not:
//
//   - a panic out of the driver's Stmt or Rows, or out of the Value method of an
//     argument, leaves the connection checked out for ever, and its permit too;
//   - a panic as a connection is made, reset or closed gives the permit back,
//     but the inner pool counts that connection as in use from then on;
//   - after a panic in the Query of an sql.Conn or an sql.Tx, the permit is back,
//     but Close or Rollback of it hangs.
package poolgate
