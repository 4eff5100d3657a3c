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
//   - A statement whose context ends returns the context's error. pgx gives the
//     connection up and has the server cancel the statement in the background:
//     for a moment more statements can be at work than the limit says, and the
//     next caller needs a new connection.
//   - Statements are prepared, described and remembered by their text, for each
//     connection. After an ALTER TABLE a SELECT * fails once on each connection
//     (0A000), and arguments may be sent as the type that a column had before;
//     so does a temporary table that takes another one's name. Where that
//     happens, add default_query_exec_mode=describe_exec to the DSN, which
//     costs each statement with arguments a second round trip.
//   - Exec may have several statements separated by semicolons if it has no
//     arguments, Query may not (42601).
//   - An array is scanned by pgtype.Map.SQLScanner, and sent as a slice.
//   - sql.LevelSnapshot is repeatable read.
//   - sslmode is "prefer" unless the DSN says otherwise: without encryption if
//     the server has none.
//
// # What is mended
//
//   - A connection that the server closed while it was idle is found out before
//     it is used, on Unix systems at any time, elsewhere if it was idle for a
//     second; pgx by itself has only the latter. Without that, a restart of the
//     server would fail one statement on each connection.
//   - An attempt to connect ends after [DefaultConnectTimeout].
//
// # What is not
//
//   - What a SET changes stays changed for the next borrower of the connection.
//     Use SET LOCAL in a transaction, or the DSN.
package pgxgate
