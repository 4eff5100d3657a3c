package fleet_test

import (
	"database/sql"
	"fmt"
	"strings"
	"testing"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/fleet"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A budget of 0 is what the server allows, without the margin.
func TestBudgetOfTheServer(t *testing.T) {
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			dsn := pgserver.ForTest(t).CreateDatabase(t)
			connector, err := driver.Connector(dsn)
			if err != nil {
				t.Fatal(err)
			}
			admin := sql.OpenDB(connector)
			defer admin.Close()
			name, allowed := "", 0
			err = admin.QueryRow(`SELECT current_database(), sum(CASE name WHEN 'max_connections' THEN setting::int ELSE -setting::int END)
				FROM pg_settings WHERE name IN ('max_connections', 'superuser_reserved_connections', 'reserved_connections')`).Scan(&name, &allowed)
			if err != nil {
				t.Fatal(err)
			}
			joins := func(margin, want int) {
				t.Helper()
				db, err := driver.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 2}})
				if err != nil {
					t.Fatal(err)
				}
				defer db.Close()
				f, err := fleet.Join(t.Context(), db, fleet.Config{Name: "f", Margin: margin})
				if want == 0 {
					if err == nil || !strings.Contains(err.Error(), "Config.Margin") {
						t.Errorf("with a margin of %d the error is %v", margin, err)
					}
					return
				}
				if err != nil {
					t.Fatal(err)
				}
				eventually(t, "a heartbeat is answered", func() bool { return f.Stats().Heartbeats > 0 })
				if got := f.Stats().Budget; got != want {
					t.Errorf("with a margin of %d the budget is %d, want %d", margin, got, want)
				}
				if err := f.Leave(t.Context()); err != nil {
					t.Error(err)
				}
			}
			joins(10, allowed-10)
			joins(allowed, 0)
			if _, err := admin.Exec(fmt.Sprintf(`ALTER DATABASE %q CONNECTION LIMIT 9`, name)); err != nil {
				t.Fatal(err)
			}
			joins(4, 5)
		})
	}
}
