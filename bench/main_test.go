package bench

import (
	"context"
	"database/sql"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

// openTest returns a Bench on a database of its own. When the test is over it
// checks that no connection and no goroutine is left.
func openTest(t *testing.T, config Config) *Bench {
	t.Helper()
	server := pgserver.ForTest(t)
	before := goleak.IgnoreCurrent()
	config.DSN = server.CreateDatabase(t)
	b, err := Open(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := awaitNoConnections(context.Background(), b.observer); err != nil {
			t.Error(err)
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
		goleak.VerifyNone(t, before)
	})
	return b
}

// openPlain returns a pool without a gate, whose connections find the tables.
func openPlain(t *testing.T, d Driver, dsn string) *sql.DB {
	t.Helper()
	dsn, err := d.connectionString(dsn, DefaultSchema, Faithful)
	if err != nil {
		t.Fatal(err)
	}
	db, err := d.openBare(dsn)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for begin := time.Now(); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Since(begin) > 20*time.Second {
			t.Fatalf("still not so: %s", what)
		}
	}
}
