package main

import (
	"context"
	"errors"
	"maps"
	"testing"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/examples/goose"
	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/poolgatetest"
)

// reports is the class of callers that have one.
const reports = "reports"

// errUndone is what a transaction or a unit of work returns to be undone.
var errUndone = errors.New("undone")

// withLimit configures a gate of limit permits.
func withLimit(limit int) poolgate.Config {
	return poolgate.Config{Gate: gate.Config{Limit: limit, Classes: []gate.Class{{Name: reports}}}}
}

// forBoth runs a test with each driver, on a new database.
func forBoth(t *testing.T, config poolgate.Config, test func(t *testing.T, db *poolgate.DB)) {
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			dsn := pgserver.ForTest(t).CreateDatabase(t)
			ignored := goleak.IgnoreCurrent()
			db, err := driver.Open(dsn, config)
			if err != nil {
				t.Fatal(err)
			}
			// GORM's cache of statements has a goroutine that never ends.
			cache := goleak.IgnoreTopFunction("gorm.io/gorm/internal/lru.NewLRU[...].func1")
			t.Cleanup(func() { goleak.VerifyNone(t, ignored, cache) })
			t.Cleanup(func() {
				poolgatetest.AssertIdle(t, db)
				db.Close()
			})
			test(t, db)
		})
	}
}

// forAll runs a test for each library with each driver, on an empty table of
// accounts.
func forAll(t *testing.T, config poolgate.Config, test func(t *testing.T, db *poolgate.DB, l library, s store)) {
	forBoth(t, config, func(t *testing.T, db *poolgate.DB) {
		migrations, err := goose.NewProvider(db.DB)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := migrations.Up(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, l := range libraries {
			t.Run(l.name, func(t *testing.T) {
				empty(t, db)
				s, err := l.open(t.Context(), db.DB)
				if err != nil {
					t.Fatal(err)
				}
				test(t, db, l, s)
				if err := s.close(); err != nil {
					t.Error(err)
				}
				poolgatetest.AssertIdle(t, db)
			})
		}
	})
}

func empty(t *testing.T, db *poolgate.DB) {
	t.Helper()
	if _, err := db.ExecContext(t.Context(), "TRUNCATE accounts"); err != nil {
		t.Fatal(err)
	}
}

// balances are those of accounts, by their ids.
type balances = map[int64]int64

// wantAccounts reads all accounts by s.
func wantAccounts(ctx context.Context, t *testing.T, s store, want balances) {
	t.Helper()
	got, last := balances{}, int64(0)
	err := s.Each(ctx, func(id, balance int64) error {
		if id <= last {
			t.Errorf("account %d comes after %d", id, last)
		}
		got[id], last = balance, id
		return nil
	})
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("there are %v, %v, want %v", got, err, want)
	}
}
