package neutral_test

import (
	"database/sql"
	"database/sql/driver"
	"fmt"
	"testing"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/neutral"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

// The suite holds on PostgreSQL too, with the drivers that the adapters have.
func TestPostgreSQL(t *testing.T) {
	for _, d := range bothdrivers.All {
		t.Run(d.Name, func(t *testing.T) {
			dsn := pgserver.ForTest(t).CreateDatabase(t)
			admin, err := d.Connector(dsn)
			if err != nil {
				t.Fatal(err)
			}
			schemas := 0
			neutral.Run(t, neutral.Database{
				Open: func(t testing.TB) driver.Connector { // a schema takes less time than a database
					schemas++
					schema := fmt.Sprint("empty_", schemas)
					db := sql.OpenDB(admin)
					defer db.Close()
					if _, err := db.Exec("CREATE SCHEMA " + schema); err != nil {
						t.Fatal(err)
					}
					c, err := d.Connector(dsn + "&search_path=" + schema)
					if err != nil {
						t.Fatal(err)
					}
					return c
				},
				PostgreSQL: true,
				Key:        "BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY",
				Double:     "DOUBLE PRECISION",
				Bytes:      "BYTEA",
				Time:       "TIMESTAMP",
				Bool:       "BOOLEAN",
			})
		})
	}
}
