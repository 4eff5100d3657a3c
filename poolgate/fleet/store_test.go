package fleet_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate/fleet"
	"github.com/poolgate/poolgate/poolgate/fleet/fleettest"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

func TestMemory(t *testing.T) {
	fleettest.Test(t, fleettest.Subject{
		Open:    func(*testing.T) fleet.Store { return fleet.NewMemory() },
		Advance: func(_ *testing.T, s fleet.Store, seconds float64) { fleet.AdvanceMemory(s, seconds) },
		Empty:   func(_ *testing.T, s fleet.Store) { fleet.EmptyMemory(s) },
	})
}

func TestPostgreSQL(t *testing.T) {
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			connector, err := driver.Connector(dsn)
			if err != nil {
				t.Fatal(err)
			}
			db := sql.OpenDB(connector)
			defer db.Close()
			exec := func(t *testing.T, text string) {
				t.Helper()
				if _, err := db.Exec(text); err != nil {
					t.Fatal(err)
				}
			}
			var fleets atomic.Int64
			names := map[fleet.Store]string{}
			fleettest.Test(t, fleettest.Subject{
				Open: func(t *testing.T) fleet.Store {
					name := fmt.Sprintf(`%s's "fleet" \ %d`, driver.Name, fleets.Add(1))
					s, err := fleet.NewPostgreSQL(context.Background(), db, name, "")
					if err != nil {
						t.Fatal(err)
					}
					names[s] = name
					return s
				},
				Advance: func(t *testing.T, s fleet.Store, seconds float64) {
					exec(t, fmt.Sprintf("UPDATE poolgate_fleet.fleet_v1 SET tick = tick + %g WHERE fleet = %s", seconds, quote(names[s])))
				},
				Empty: func(t *testing.T, s fleet.Store) {
					exec(t, "DELETE FROM poolgate_fleet.fleet_v1 WHERE fleet = "+quote(names[s]))
					exec(t, "DELETE FROM poolgate_fleet.member_v1 WHERE fleet = "+quote(names[s]))
				},
			})
		})
	}
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", "''") + "'" }

func TestPostgreSQLWithoutRights(t *testing.T) {
	server := pgserver.ForTest(t)
	dsn := server.CreateDatabase(t)
	connector, err := bothdrivers.All[0].Connector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	defer db.Close()
	ctx := t.Context()
	exec := func(text string) {
		t.Helper()
		if _, err := db.ExecContext(ctx, text); err != nil {
			t.Fatal(err)
		}
	}
	exec("CREATE ROLE fleet_member")
	defer exec("RESET ROLE; DROP OWNED BY fleet_member; DROP ROLE fleet_member")
	exec("SET ROLE fleet_member")
	_, err = fleet.NewPostgreSQL(ctx, db, "f", "")
	if !errors.Is(err, fleet.ErrSetup) || !strings.Contains(err.Error(), "CREATE SCHEMA") {
		t.Fatalf("the error is %v", err)
	}
	exec("RESET ROLE")
	exec(fleet.Setup(fleet.DefaultSchema))
	exec("GRANT USAGE ON SCHEMA poolgate_fleet TO fleet_member")
	exec("SET ROLE fleet_member")
	s, err := fleet.NewPostgreSQL(ctx, db, "f", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Write(ctx, fleet.Heartbeat{Key: "00000000-0000-4000-8000-000000000001", Seq: 1, Budget: 1, Weight: 1, Seconds: 10}); err != nil {
		t.Error(err)
	}
	for _, schema := range []string{"Mine", "a b", "x; DROP TABLE y", "1a"} {
		if _, err := fleet.NewPostgreSQL(ctx, db, "f", schema); err == nil {
			t.Errorf("the schema %q is accepted", schema)
		}
	}
}

// A grant that was answered survives a crash of the server.
func TestPostgreSQLIsDurable(t *testing.T) {
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	connector, err := bothdrivers.All[0].Connector(dsn)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	defer db.Close()
	if _, err := fleet.NewPostgreSQL(t.Context(), db, "f", ""); err != nil {
		t.Fatal(err)
	}
	for before, want := range map[string]string{"off": "local", "on": "on", "remote_apply": "remote_apply"} {
		tx, err := db.BeginTx(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		got := ""
		_, err = tx.Exec("SET LOCAL synchronous_commit = " + before)
		if err == nil {
			_, err = tx.Exec(`SELECT poolgate_fleet.heartbeat_v1('f', '00000000-0000-4000-8000-000000000001', 1, 1, '1', 0, 0, 1, 1, 0, 1, 5, 10)`)
		}
		if err == nil {
			err = tx.QueryRow("SHOW synchronous_commit").Scan(&got)
		}
		if err != nil || got != want {
			t.Errorf("with synchronous_commit %s a heartbeat is committed with %q (%v), want %s", before, got, err, want)
		}
		if err := tx.Rollback(); err != nil {
			t.Error(err)
		}
	}
}
