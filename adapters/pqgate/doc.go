// Package pqgate opens PostgreSQL through lib/pq, behind a gate:
//
//	db, err := pqgate.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 40}})
//
// What comes back is a *poolgate.DB, whose db.DB is the *sql.DB that the rest
// of the program uses. COPY is a statement that is prepared in a transaction,
// and holds the transaction's permit:
//
//	stmt, err := tx.PrepareContext(ctx, "COPY t (a, b) FROM STDIN")
//	...
//	_, err = stmt.ExecContext(ctx, a, b) // for each row
//	_, err = stmt.ExecContext(ctx)       // at the end, with no arguments
//
// A pq.Listener has a connection of its own, which passes no gate.
//
// # What lib/pq does in its own way
//
// The errors of the server arrive as *pq.Error, which has the SQLSTATE. The
// package documentation of adapters/pgxgate has the same list for pgx.
//
//   - Exec and Query may both have several statements separated by semicolons
//     if they have no arguments; Rows.NextResultSet goes through the results.
//   - An array is scanned by pq.Array, and sent as a slice.
//   - sql.LevelSnapshot is refused.
//   - A transaction that is not read only is made READ WRITE, whatever
//     default_transaction_read_only says.
//   - target_session_attrs=read-only refuses a standby of PostgreSQL 14 or later.
//     Use standby.
//   - sslmode is "require" unless the DSN says otherwise.
//
// # What pqgate changes
//
//   - A statement whose context ends is canceled on the server, and returns the
//     context's error. lib/pq by itself returns the server's, SQLSTATE 57014. The
//     connection is closed afterwards, unless it was a prepared statement's.
//   - A call returns within a quarter of a second of its context's end, even if
//     the server or the network says nothing at all. That holds for every call: Query and
//     its rows, Exec, Prepare, BEGIN, COMMIT, ROLLBACK, COPY, Ping, and
//     connecting. lib/pq by itself waits until the system gives the connection
//     up, for hours maybe.
//   - A connection that was lost, or given up in the middle of a statement, is
//     closed in the background, and its permit comes back only when the server
//     has ended the process for it. Connections are opened with
//     client_connection_check_interval=500ms, where the server accepts that and
//     the DSN does not set it, so that the server notices even in the middle of
//     a statement that cannot be canceled. The wait takes ten seconds at most,
//     and about a second if the server cannot be reached.
//   - A statement whose connection is lost after it was sent, and a COMMIT, is
//     not sent again, and returns [poolgate.ErrOutcomeUnknown]. lib/pq by itself
//     returns driver.ErrBadConn, upon which database/sql executes the statement
//     once more. Here driver.ErrBadConn means that nothing was sent, and another
//     connection is tried.
//   - An idle connection that the server has closed is found before it is used,
//     on Unix systems without a round trip. One that was in use 5 µs before is
//     taken to be good. One whose peer has vanished without a word is found by
//     a ping, which is sent if it was idle for a second ([Connector].PingAfter)
//     and takes half a second at most (PingTimeout). Those that have been idle
//     for as long are then dropped without a ping.
//   - Where the DSN says target_session_attrs, a server that was what it asks for
//     and is so no longer is found: after an error of a read-only server, SQLSTATE
//     25006, and after a connection to another server was opened, each older
//     connection asks its server again before it is used again. lib/pq by itself
//     asks only when it connects.
//   - A URL may have several hosts with a port each, as in
//     postgres://a:5432,b:5433/orders, which lib/pq by itself takes for the names
//     of hosts.
//   - A connection that comes back inside a transaction, after a BEGIN as a
//     statement, is closed at once. lib/pq would hand it on, and what the next
//     borrower writes would be lost with it.
//   - A transaction whose context ends within a COPY is rolled back in order.
//   - An attempt to connect ends with its context, and after
//     [DefaultConnectTimeout].
//
// Behind a PgBouncer in transaction mode, lib/pq by itself returns the rows of other
// callers. poolgate.Config.PgBouncer has it send each statement together with its
// arguments, as binary_parameters=yes does, and prepare none but a COPY. A permit
// comes back when PgBouncer has closed the connection. PgBouncer itself limits how
// many of the server's processes are at work.
//
// # What remains
//
//   - What a SET changes stays changed for the next borrower of the connection.
//     Use SET LOCAL in a transaction, or the DSN.
package pqgate
