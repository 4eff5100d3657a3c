package main

import (
	"context"
	"database/sql"
	"errors"
	"testing"

	pressly "github.com/pressly/goose/v3"

	"github.com/poolgate/poolgate/examples/goose"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/session"
)

// goose takes a pool, so its class is that of a view.
func TestGoose(t *testing.T) {
	forBoth(t, withLimit(1), func(t *testing.T, db *poolgate.DB) {
		before := acquired(db)
		migrations, err := goose.NewProvider(db.Class(reports))
		if err != nil {
			t.Fatal(err)
		}
		wantVersion := func(want int64) {
			t.Helper()
			if got, err := migrations.GetDBVersion(t.Context()); err != nil || got != want {
				t.Errorf("version %d, %v, want %d", got, err, want)
			}
			var locks int
			err := db.Class(reports).QueryRow("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND database = (SELECT oid FROM pg_database WHERE datname = current_database())").Scan(&locks)
			if err != nil || locks != 0 {
				t.Errorf("%d locks are left, %v", locks, err)
			}
		}
		if done, err := migrations.Up(t.Context()); err != nil || len(done) != 2 {
			t.Fatalf("up: %v, %v", done, err)
		}
		wantVersion(2)
		if done, err := migrations.Up(t.Context()); err != nil || len(done) != 0 {
			t.Errorf("up again: %v, %v", done, err)
		}
		if _, err := migrations.Down(t.Context()); err != nil {
			t.Errorf("down: %v", err)
		}
		wantVersion(1)
		if _, err := migrations.DownTo(t.Context(), 0); err != nil {
			t.Errorf("all the way down: %v", err)
		}
		wantVersion(0)
		after := acquired(db)
		if after[gate.DefaultClass] != before[gate.DefaultClass] || after[reports] == before[reports] {
			t.Errorf("classes were given %v, after %v", after, before)
		}
	})
}

// goose runs a migration that is a Go function without a transaction on the pool,
// while it holds the connection that has its lock.
func TestAMigrationThatAsksThePoolForMore(t *testing.T) {
	function := pressly.WithGoMigrations(pressly.NewGoMigration(3, &pressly.GoFunc{
		RunDB: func(ctx context.Context, db *sql.DB) error {
			_, err := db.ExecContext(ctx, "INSERT INTO accounts VALUES (1, 10)")
			return err
		},
	}, nil))
	for name, limit := range map[string]int{"refused": 1, "done": 2} {
		t.Run(name, func(t *testing.T) {
			forBoth(t, withLimit(limit), func(t *testing.T, db *poolgate.DB) {
				migrations, err := goose.NewProvider(db.DB, function)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := migrations.Up(t.Context()); errors.Is(err, gate.ErrDeadlock) != (limit == 1) || err != nil && limit > 1 {
					t.Errorf("with %d permits: %v", limit, err)
				}
				if version, err := migrations.GetDBVersion(t.Context()); err != nil || version != int64(limit+1) {
					t.Errorf("version %d, %v", version, err)
				}
			})
		})
	}
}

// The libraries that can create the table themselves. What ent asks the server
// about itself has no context, so the class is that of a view.
func TestLibrariesMigrate(t *testing.T) {
	forBoth(t, withLimit(1), func(t *testing.T, db *poolgate.DB) {
		for _, l := range libraries {
			if l.name == "sqlc-prepared" {
				continue // it needs the table
			}
			s, err := l.open(t.Context(), db.Class(reports))
			if err != nil {
				t.Fatal(err)
			}
			m, ok := s.accounts.(interface{ Migrate(context.Context) error })
			if !ok {
				continue
			}
			works := func(ctx context.Context, t *testing.T) {
				if err := m.Migrate(ctx); err != nil {
					t.Fatal(err)
				}
				if err := m.Migrate(ctx); err != nil {
					t.Errorf("again: %v", err)
				}
				if err := s.Create(ctx, 1, 10); err != nil {
					t.Error(err)
				}
				wantAccounts(ctx, t, s, balances{1: 10})
			}
			drop := func(t *testing.T) {
				if _, err := db.ExecContext(t.Context(), "DROP SCHEMA public CASCADE; CREATE SCHEMA public"); err != nil {
					t.Fatal(err)
				}
			}
			t.Run(l.name+"/class", func(t *testing.T) {
				drop(t)
				before := acquired(db)
				works(t.Context(), t)
				if after := acquired(db); after[gate.DefaultClass] != before[gate.DefaultClass] {
					t.Errorf("classes were given %v, after %v", after, before)
				}
			})
			t.Run(l.name+"/unit", func(t *testing.T) {
				if !l.inUnit {
					t.Skip("its migrations take the pool")
				}
				drop(t)
				err := session.Run(t.Context(), func(ctx context.Context) error {
					works(ctx, t)
					return nil
				})
				if err != nil {
					t.Error(err)
				}
				wantAccounts(t.Context(), t, s, balances{1: 10})
			})
			if err := s.close(); err != nil {
				t.Error(err)
			}
		}
	})
}
