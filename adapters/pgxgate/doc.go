// Package pgxgate opens PostgreSQL through pgx/v5's database/sql driver, behind
// a gate:
//
//	db, err := pgxgate.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 40}})
//
// What comes back is a *poolgate.DB, whose db.DB is the *sql.DB that the rest
// of the program uses. What only pgx can do is done on its own connection, which
// [poolgate.Raw] finds behind the gate, and under the permit of the Conn. So is
// COPY:
//
//	conn, err := db.Conn(ctx)
//	if err != nil {
//		return err
//	}
//	defer conn.Close()
//	return poolgate.Raw(conn, func(c *stdlib.Conn) error {
//		_, err := c.Conn().CopyFrom(ctx, pgx.Identifier{"t"}, columns, rows)
//		return err
//	})
//
// # What pgx does in its own way
//
// The errors of the server arrive as *pgconn.PgError, which has the SQLSTATE.
// The package documentation of adapters/pqgate has the same list for lib/pq.
//
//   - Statements are prepared, described and remembered by their text, for each
//     connection. After an ALTER TABLE a SELECT * fails once on each connection
//     (0A000), and arguments may be sent as the type that a column had before;
//     so does a temporary table that takes another one's name. Where that
//     happens, add default_query_exec_mode=describe_exec to the DSN, which
//     costs each statement with arguments a second round trip. Never do that
//     behind PgBouncer in transaction mode, where it can return the rows of
//     another caller: poolgate.Config.PgBouncer is for there, and refuses it.
//   - Exec may have several statements separated by semicolons if it has no
//     arguments, Query may not (42601).
//   - An array is scanned by pgtype.Map.SQLScanner, and sent as a slice.
//   - sql.LevelSnapshot is repeatable read.
//   - sslmode is "prefer" unless the DSN says otherwise: without encryption if
//     the server has none.
//
// # What pgxgate changes
//
//   - A statement whose context ends is canceled on the server. If the server
//     answers within 150 ms, the connection is kept; pgx by itself closes it, and
//     leaves the statement running for a moment. The error is the context's in
//     either case. Calls of pgx's own connection inside [poolgate.Raw] end as
//     with pgx alone.
//   - Otherwise the call returns within a quarter of a second of its context's
//     end, even if the server or the network says nothing at all. That holds for
//     every call: Query and its rows, Exec, Prepare, BEGIN, COMMIT, ROLLBACK,
//     Ping, and connecting.
//   - A connection that was lost, or given up in the middle of a statement, is
//     closed in the background, and its permit comes back only when the server
//     has ended the process for it. Connections are opened with
//     client_connection_check_interval=500ms, where the server accepts that and
//     the DSN does not set it, so that the server notices even in the middle of
//     a statement that cannot be canceled. The wait takes ten seconds at most,
//     and about a second if the server cannot be reached.
//   - A statement whose connection is lost after it was sent, and a COMMIT, is
//     not sent again, and returns [poolgate.ErrOutcomeUnknown].
//     driver.ErrBadConn means that nothing was sent, and another connection is
//     tried.
//   - An idle connection that the server has closed is found before it is used,
//     on Unix systems without a round trip. One that was in use 5 µs before is
//     taken to be good. One whose peer has vanished without a word is found by
//     a ping, which is sent if it was idle for a second ([Connector].PingAfter)
//     and takes half a second at most (PingTimeout). Those that have been idle
//     for as long are then dropped without a ping.
//   - Where the DSN says target_session_attrs, a server that was what it asks for
//     and is so no longer is found: after an error of a read-only server, SQLSTATE
//     25006, and after a connection to another server was opened, each older
//     connection asks its server again before it is used again. pgx by itself
//     asks only when it connects.
//   - A transaction whose context ends is rolled back, and its connection kept.
//   - BEGIN of a unit of package session is sent with its first statement.
//   - A connection that comes back inside a transaction is closed at once.
//   - An attempt to connect ends after [DefaultConnectTimeout].
//
// Behind a PgBouncer in transaction mode, poolgate.Config.PgBouncer has pgx send
// each statement together with its arguments, with default_query_exec_mode set to
// cache_describe unless the DSN says exec or simple_protocol. A permit comes back when
// PgBouncer has closed the connection. PgBouncer itself limits how many of the
// server's processes are at work.
//
// # What remains
//
//   - What a SET changes stays changed for the next borrower of the connection.
//     Use SET LOCAL in a transaction, or the DSN.
package pgxgate
