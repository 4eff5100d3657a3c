// Package poolgatetest gives each test a PostgreSQL database of its own and a
// gated pool on it, and fails the test if it ends with a permit held.
//
//	//go:embed migrations/*.sql
//	var migrations embed.FS
//
//	var config = poolgatetest.Config{
//		DSN:        "postgres://localhost/postgres",
//		Open:       store.Open, // func(dsn string) (*poolgate.DB, error), as in production
//		Migrations: migrations,
//	}
//
//	func TestOrder(t *testing.T) {
//		t.Parallel()
//		db := poolgatetest.New(t, config)
//		…
//	}
//
// The database is real: transactions commit, isolation levels and locks work,
// gathers use several connections, and tests that run in parallel do not see
// each other's data.
//
// # How it works
//
// The migrations run once, in a template database whose name holds a hash of
// them. Each test gets a clone of the template, made by CREATE DATABASE …
// TEMPLATE, which takes 15 to 30 ms for a small schema, however many migrations
// there are; see BenchmarkNew. An advisory lock keeps test binaries that run at
// the same time from making the same template twice.
//
// The clone is dropped when the test ends. It is kept if the test failed and
// the environment has POOLGATE_KEEP_DATABASE=1; the test's log then says its
// name. While a test runs, one connection holds an advisory lock that marks the
// clone as in use. Clones of test binaries that were killed carry no such mark,
// and the next test binary drops them. It also drops templates more than a week
// old.
//
// # What it needs
//
// PostgreSQL 13 or later, a role with the CREATEDB privilege, and a direct
// connection: PgBouncer in transaction mode does not keep advisory locks. Each
// running test takes one connection in addition to those of its own pool, so
// max_connections limits how many tests can run in parallel.
//
// A clone has what is in the template, not what belongs to the template as a
// database: settings made by ALTER DATABASE … SET and grants on the database
// itself are missing. Roles and tablespaces belong to the server, so all tests
// share them.
package poolgatetest
