package fleet_test

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"runtime"
	"testing"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/fleet"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// isBeating reports whether a goroutine of a member is there.
func isBeating() bool {
	stacks := make([]byte, 1<<20)
	return bytes.Contains(stacks[:runtime.Stack(stacks, true)], []byte("fleet.(*member).run"))
}

// A DB that is closed without Leave leaves nothing behind: neither a goroutine, also
// where the member sleeps, nor a row, unless a connection is in use.
func TestCloseLeaves(t *testing.T) {
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			dsn := pgserver.ForTest(t).CreateDatabase(t)
			connector, err := driver.Connector(dsn)
			if err != nil {
				t.Fatal(err)
			}
			inner := sql.OpenDB(connector)
			defer inner.Close()
			learnt(t, inner)
			config := poolgate.Config{Gate: gate.Config{Limit: 2, OutOfBand: gate.NoOutOfBand, MaxWait: patience}}
			for _, test := range []struct {
				name string
				wrap bool
				use  func(t *testing.T, db *poolgate.DB) (end func() error)
				rows int // that are left
			}{
				{"asleep", false, nil, 0},
				{"asleep, wrapped", true, nil, 0},
				{"idle", false, func(t *testing.T, db *poolgate.DB) func() error {
					if _, err := db.ExecContext(t.Context(), "SELECT 1"); err != nil {
						t.Fatal(err)
					}
					return nil
				}, 0},
				{"in use", false, func(t *testing.T, db *poolgate.DB) func() error {
					tx, err := db.BeginTx(t.Context(), nil)
					if err != nil {
						t.Fatal(err)
					}
					return tx.Rollback
				}, 1},
			} {
				t.Run(test.name, func(t *testing.T) {
					var db *poolgate.DB
					if test.wrap {
						db, err = poolgate.Wrap(inner, config)
					} else {
						db, err = driver.Open(dsn, config)
					}
					if err != nil {
						t.Fatal(err)
					}
					f, err := fleet.Join(t.Context(), db, fleet.Config{Name: "f", Budget: 10})
					if err != nil {
						t.Fatal(err)
					}
					var end func() error
					if test.use != nil {
						end = test.use(t, db)
						// What the first statement sees, before another heartbeat.
						if s := f.Stats(); s.Members != 1 || s.Active != 1 || s.Budget != 10 || s.Heartbeats == 0 || s.Permits == 0 {
							t.Errorf("after the first statement the statistics are %+v", s)
						}
					} else {
						eventually(t, "the first heartbeat is answered", func() bool { return f.Stats().Heartbeats > 0 })
					}
					if err := db.Close(); err != nil {
						t.Error(err)
					}
					if isBeating() {
						t.Error("the member still sends heartbeats")
					}
					if end != nil {
						end() // the driver may find its connection closed
					} else if err := f.Leave(t.Context()); err != nil {
						t.Errorf("Leave after Close: %v", err)
					}
					var rows int
					if err := inner.QueryRow("SELECT count(*) FROM poolgate_fleet.member_v1").Scan(&rows); err != nil || rows != test.rows {
						t.Errorf("%d rows are left (%v), want %d", rows, err, test.rows)
					}
					if _, err := fleet.Join(t.Context(), db, fleet.Config{Name: "f", Budget: 10, Store: fleet.NewMemory()}); !errors.Is(err, gate.ErrClosed) {
						t.Errorf("Join after Close returns %v", err)
					}
				})
			}
		})
	}
}

// Leave ends with its context, says so, and can be left to Close.
func TestLeaveEndsWithItsContext(t *testing.T) {
	driver := bothdrivers.All[0]
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	db, err := driver.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 2, MaxWait: patience}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	learnt(t, db.Ungated())
	f, err := fleet.Join(t.Context(), db, fleet.Config{Name: "f", Budget: 10})
	if err != nil {
		t.Fatal(err)
	}
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := f.Leave(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Leave returns %v", err)
	}
}
