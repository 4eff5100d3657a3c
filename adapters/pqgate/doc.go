// Package pqgate opens PostgreSQL through lib/pq, behind a gate:
//
//	db, err := pqgate.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 40}})
//
// What comes back is a *poolgate.DB, whose db.DB is the *sql.DB that the rest
// of the program uses. COPY is a statement that is prepared in a transaction,
// and holds the transaction's permit:
//
//	stmt, err := tx.PrepareContext(ctx, pq.CopyIn("t", columns...))
//	...
//	_, err = stmt.ExecContext(ctx, row...) // for each row
//	_, err = stmt.ExecContext(ctx)         // at the end, with no arguments
//
// A pq.Listener has a connection of its own, which passes no gate.
//
// # What lib/pq does in its own way
//
// The errors of the server arrive as *pq.Error, which has the SQLSTATE. The
// package documentation of adapters/pgxgate has the same list for pgx.
//
//   - A statement whose context ends is cancelled on the server, and returns
//     what that answers: SQLSTATE 57014, and not the context's error. The
//     permit comes back when the server has stopped.
//   - A statement outside a transaction whose connection breaks is run again by
//     database/sql, on another one, since lib/pq says driver.ErrBadConn also
//     after it has sent the statement. So it can be done twice, if the
//     connection broke between the deed and the answer. In a transaction it is
//     an error.
//   - Exec and Query may both have several statements separated by semicolons
//     if they have no arguments; Rows.NextResultSet goes through the results.
//   - An array is scanned by pq.Array, and sent as a slice.
//   - sql.LevelSnapshot is refused.
//   - A transaction that is not read only is made READ WRITE, whatever
//     default_transaction_read_only says.
//   - sslmode is "require" unless the DSN says otherwise.
//
// # What is mended
//
//   - A connection inside a transaction that somebody has begun by hand, by a
//     BEGIN as a statement, is closed when it comes back. lib/pq would hand it
//     on, and what the next borrower writes would be lost with it.
//   - A connection that the server closed while it was idle is found out before
//     it is used, on Unix systems. lib/pq by itself may find out too late to try
//     another one.
//   - An attempt to connect ends with its context, and after
//     [DefaultConnectTimeout]. lib/pq by itself waits for ever for a server that
//     accepts the connection and says nothing.
//   - A transaction whose context ends within a COPY is rolled back in order.
//
// # What is not
//
//   - lib/pq does not heed the context of a statement while a server, or the
//     network, says nothing at all: the statement waits, with its connection
//     and its permit, until the system gives the connection up.
//   - What a SET changes stays changed for the next borrower of the connection.
//     Use SET LOCAL in a transaction, or the DSN.
package pqgate
