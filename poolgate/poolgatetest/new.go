package poolgatetest

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/connstring"
	"github.com/poolgate/poolgate/poolgate"
)

// EnvKeep names the environment variable that, set to 1, keeps the databases of
// tests that fail.
const EnvKeep = "POOLGATE_KEEP_DATABASE"

// endTimeout bounds the work at the end of a test.
const endTimeout = 30 * time.Second

// New creates a database with the schema of config's migrations and returns a
// gated pool on it, opened by config.Open.
//
// When t ends, New's cleanup calls [AssertIdle], closes the pool, and drops the
// database with all connections that are still open on it. It keeps the
// database if t has failed and the environment has POOLGATE_KEEP_DATABASE=1.
//
// New fails t at once if config is invalid, the server cannot be reached, or a
// migration fails. It is safe for concurrent use, by parallel tests and by
// other test binaries on the same server.
func New(t testing.TB, config Config) *poolgate.DB {
	t.Helper()
	dsn := CreateDatabase(t, config)
	db, err := config.open(dsn)
	if err != nil {
		t.Fatalf("poolgatetest: %v", err)
	}
	t.Cleanup(func() {
		AssertIdle(t, db)
		if err := db.Close(); err != nil {
			t.Errorf("poolgatetest: closing the pool: %v", err)
		}
	})
	return db
}

// CreateDatabase does what [New] does, but returns the DSN of the database and
// opens no pool on it. It is for code under test that opens its own.
func CreateDatabase(t testing.TB, config Config) (dsn string) {
	t.Helper()
	if err := config.validate(); err != nil {
		t.Fatalf("poolgatetest: %v", err)
	}
	a, err := connect(t.Context(), config)
	if err != nil {
		t.Fatalf("poolgatetest: connecting to Config.DSN: %v", err)
	}
	t.Cleanup(func() {
		if err := a.close(); err != nil {
			t.Errorf("poolgatetest: closing the connection to Config.DSN: %v", err)
		}
	})
	if err := a.sweepOnce(t.Context()); err != nil {
		t.Logf("poolgatetest: dropping databases left by test binaries that were killed: %v", err)
	}
	clone, err := a.clone(t.Context())
	if err != nil {
		t.Fatalf("poolgatetest: %v", err)
	}
	t.Cleanup(func() { a.end(t, clone) })
	if dsn, err = connstring.WithDatabase(config.DSN, clone); err != nil {
		t.Fatalf("poolgatetest: Config.DSN: %v", err)
	}
	return dsn
}

// end drops the test's database, or keeps it.
func (a *admin) end(t testing.TB, clone string) {
	ctx, cancel := context.WithTimeout(context.Background(), endTimeout)
	defer cancel()
	if t.Failed() && os.Getenv(EnvKeep) == "1" {
		if err := a.keep(ctx, clone, t.Name()); err != nil {
			t.Errorf("poolgatetest: keeping database %s: %v", clone, err)
		}
		t.Logf("poolgatetest: database %s is kept until you drop it", clone)
		return
	}
	if err := a.drop(ctx, clone); err != nil {
		t.Errorf("poolgatetest: %v", err)
	}
}
