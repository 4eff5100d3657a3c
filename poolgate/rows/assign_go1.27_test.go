//go:build go1.27

package rows_test

import (
	"testing"
	"uuid"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/rows"
)

// TestUUID has a type that database/sql knows since Go 1.27, although it is an
// array.
func TestUUID(t *testing.T) {
	id := uuid.MustParse("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")
	onBoth(t, "CREATE TABLE u (id uuid PRIMARY KEY, t text)", func(run func(string, func(*testing.T, *poolgate.DB))) {
		run("is read, stored and a key", func(t *testing.T, db *poolgate.DB) {
			scalar(t, db, "'A0EEBC99-9c0b-4ef8-bb6d-6bb9bd380a11'::text", id)
			scalar(t, db, "'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid", &id)
			scalar(t, db, "NULL::uuid", (*uuid.UUID)(nil))
			reads(t, db, "'{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11}'::uuid[]", []uuid.UUID{id})
			_, err := rows.One[uuid.UUID](t.Context(), db, "SELECT NULL::uuid AS v")
			is(t, err, rows.ErrNull)
			_, err = rows.One[*uuid.UUID](t.Context(), db, "SELECT 'null'::json AS v")
			if err == nil {
				t.Error("JSON was read as a UUID")
			}

			type row struct {
				ID uuid.UUID
				T  *uuid.UUID
			}
			got, err := rows.InsertMany[row](t.Context(), db, "u", []row{{id, &id}})
			must(t, err)
			equal(t, got, []row{{id, &id}})
			children, err := rows.LoadMany(t.Context(), db, []uuid.UUID{id}, func(id uuid.UUID) uuid.UUID { return id }, func(r row) uuid.UUID { return r.ID },
				"SELECT id, t FROM u WHERE id = ANY($1)")
			must(t, err)
			equal(t, children, [][]row{{{id, &id}}})
		})
	})
}
