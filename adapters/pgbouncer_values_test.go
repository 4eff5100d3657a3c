//go:build unix

package adapters_test

import (
	"database/sql"
	"fmt"
	"testing"
	"time"
)

// Values are stored and returned as without a PgBouncer, but for what
// docs/pgbouncer.md says.
func TestPgBouncerValues(t *testing.T) {
	berlin := time.FixedZone("", 2*3600)
	at := time.Date(2026, 7, 1, 12, 30, 0, 123456000, berlin)
	for _, w := range ways() {
		if !w.pgBouncer || w.bouncer.Mode != "transaction" || w.bouncer.Settings != nil {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			exec := w.settings != nil // or simple_protocol
			b := through(t, w, 1)
			for i, test := range []struct {
				name, column string
				value        any
				differs      bool // from what is stored without a PgBouncer
				fails        bool
			}{
				{"an int", "bigint", 1 << 40, false, false},
				{"an int in a smallint", "smallint", 7, false, false},
				{"an int in a numeric", "numeric(20,2)", 7, false, false},
				{"a float", "double precision", 0.1, false, false},
				{"a bool", "boolean", true, false, false},
				{"a nil", "text", nil, false, false},
				{"a string", "text", `it's \ "x"`, false, false},
				{"a string in a jsonb", "jsonb", `{"a": 1}`, false, false},
				{"a string in an interval", "interval", "1 day 02:03:04", false, false},
				{"a string in a uuid", "uuid", "00000000-0000-0000-0000-000000000007", false, false},
				{"bytes", "bytea", []byte{0, 1, 255}, false, false},
				{"bytes in a text", "text", []byte("ab"), exec, false},
				{"bytes in a jsonb", "jsonb", []byte(`{"a": 1}`), false, exec || w.driver.Name == "pq"},
				{"a time", "timestamptz", at, false, false},
				{"a time in a timestamp", "timestamp", at, exec, false},
				{"a time in a date", "date", at, false, false},
				{"an array", "bigint[]", []int64{1, 2}, false, false},
			} {
				table := fmt.Sprint("stored", i)
				_, err := b.direct.Exec("CREATE TABLE " + table + " (how text, v " + test.column + ")")
				must(t, err)
				insert := "INSERT INTO " + table + " VALUES ($1, $2)"
				_, err = b.direct.Exec(insert, "direct", test.value)
				must(t, err)
				_, err = b.ExecContext(t.Context(), insert, "bounced", test.value)
				if (err != nil) != test.fails {
					t.Errorf("%s: %v", test.name, err)
				}
				if err == nil {
					var same bool
					must(t, b.direct.QueryRow("SELECT count(DISTINCT coalesce(v::text, '')) = 1 FROM "+table).Scan(&same))
					if same == test.differs {
						t.Errorf("%s is stored otherwise: %v, want %v", test.name, !same, test.differs)
					}
				}
				want, got := scanAny(t, b.direct, table), scanAny(t, b.DB.DB, table)
				if got != want {
					t.Errorf("%s: got %s, want %s", test.name, got, want)
				}
			}
		})
	}
}

// scanAny returns what database/sql gets for the value that was stored directly.
func scanAny(t *testing.T, db *sql.DB, table string) string {
	t.Helper()
	var v any
	must(t, db.QueryRow("SELECT v FROM "+table+" WHERE how = $1", "direct").Scan(&v))
	if at, ok := v.(time.Time); ok {
		v = at.UTC()
	}
	return fmt.Sprintf("%T %v", v, v)
}
