// Package poolgatetest is for the tests of programs that use poolgate: each test
// works in a transaction that is rolled back at its end, so that tests need no
// cleaning up, do not see one another, and can run in parallel on one database.
//
//	func TestOrder(t *testing.T) {
//		db := poolgatetest.Begin(t, pool, config) // a *poolgate.DB for the code under test
//		…
//	}
//
// The code under test is as it is in production: it begins and commits
// transactions, opens units of package session, gathers, and goes out of band.
// All of that takes place, one statement at a time, on the test's one
// connection; a transaction is a savepoint there, and each statement costs four
// round trips instead of one. When the test ends, it fails
// if anything is still held, see [NothingHeld].
//
// # What differs from a database of one's own
//
//   - Everybody sees what everybody has written, committed or not, and nobody
//     waits for anybody's lock. An isolation level is ignored; a snapshot is the
//     connection itself. now() stands still, and sequences are not rolled back.
//   - A rollback undoes all that was written since the transaction first wrote.
//     If others have written in between, as a unit of session.RunNew does inside
//     of another, that is gone too, and the test fails and says so. What has to
//     stay when something around it is undone can only be tested on a database
//     of its own.
//   - COMMIT checks deferred constraints, unless another transaction is open.
//   - Rows are read to the end before the first is handed out.
//   - A statement whose context ends is cancelled by another connection, since
//     drivers would close the test's.
//   - What SET LOCAL sets stays until the test ends, unless it is rolled back.
//   - What PostgreSQL does not do in a transaction fails, such as CREATE
//     DATABASE; so does lib/pq's COPY. LISTEN hears nothing.
//
// It works with drivers of PostgreSQL.
package poolgatetest
