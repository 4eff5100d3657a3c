package pgxgate_test

import (
	"database/sql/driver"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/poolgate/poolgate/internal/operation"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
)

// A statement while the rows of another are open fails for that, and changes
// neither those rows nor what comes later.
func TestDeferredWhileBusy(t *testing.T) {
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	for i, mode := range append(pipelineModes, pipelineModes...) {
		begun := i >= len(pipelineModes)
		t.Run(fmt.Sprintf("%s, begun: %v", mode, begun), func(t *testing.T) {
			const n = 100_000 // more than the buffers on the way have room for
			conn := connect(t, dsn+"&default_query_exec_mode="+mode)
			tx, err := conn.BeginTx(operation.Deferred(t.Context(), operation.Begin), driver.TxOptions{})
			if err != nil {
				t.Fatal(err)
			}
			defer tx.Rollback()
			if begun {
				if _, err := conn.ExecContext(t.Context(), "SELECT 1", nil); err != nil {
					t.Fatal(err)
				}
			}
			open, err := conn.QueryContext(t.Context(), "SELECT g, repeat('x', 100) FROM generate_series(1, $1::int) g", named(n))
			if err != nil {
				t.Fatal(err)
			}
			busy := func() {
				t.Helper()
				if _, err := conn.QueryContext(t.Context(), "SELECT $1::int", named(1)); err == nil || !strings.Contains(err.Error(), "busy") {
					t.Fatalf("a query while rows are open: got error %v, want one that says busy", err)
				}
			}
			busy()
			const savepoint = "SAVEPOINT one"
			if _, err := conn.ExecContext(operation.Deferred(t.Context(), savepoint), savepoint, nil); err != nil {
				t.Fatal(err)
			}
			got, row := 0, make([]driver.Value, 2)
			for err = open.Next(row); err == nil; err = open.Next(row) {
				if got++; got%10_000 == 0 {
					busy()
				}
			}
			if err != io.EOF || got != n {
				t.Errorf("got %d rows and %v, want %d and io.EOF", got, err, n)
			}
			if err := open.Close(); err != nil {
				t.Error(err)
			}
			for want := range 3 {
				rows, err := conn.QueryContext(t.Context(), "SELECT $1::int", named(want))
				if err != nil {
					t.Fatal(err)
				}
				if got := readAll(t, rows); fmt.Sprint(got) != fmt.Sprint([]any{want}) {
					t.Errorf("got %v afterwards, want %d", got, want)
				}
			}
			if _, err := conn.ExecContext(t.Context(), "ROLLBACK TO "+savepoint[len("SAVEPOINT "):], nil); err != nil {
				t.Errorf("the savepoint was not set: %v", err)
			}
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
		})
	}
}
