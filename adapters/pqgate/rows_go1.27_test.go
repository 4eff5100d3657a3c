//go:build go1.27

package pqgate

import (
	"context"
	"database/sql/driver"
	"testing"

	"github.com/lib/pq"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

// TestColumnScanner fails when lib/pq begins to scan columns itself, as pgx
// does. Then rows must pass driver.RowsColumnScanner on.
func TestColumnScanner(t *testing.T) {
	connector, err := pq.NewConnector(pgserver.ForTest(t).CreateDatabase(t))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := connector.Connect(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	rows, err := conn.(driver.QueryerContext).QueryContext(t.Context(), "SELECT 1", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	if _, ok := rows.(driver.RowsColumnScanner); ok {
		t.Errorf("a %T is a driver.RowsColumnScanner, which the rows of this package hide", rows)
	}
}
