package rows_test

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/network"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/rows"
)

// InsertMany takes one round trip with pgx once it knows the table, and stores and
// returns what it does with lib/pq, also if the table changes meanwhile.
func TestInsertManyAtOnce(t *testing.T) {
	server := pgserver.ForTest(t)
	type item struct {
		ID   int64
		Name string
	}
	var first []string
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			net, dsn := network.Between(t, server.CreateDatabase(t), 0)
			db, err := driver.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1, MaxWait: time.Minute}})
			must(t, err)
			exec(t, db, `CREATE TABLE parents (id int PRIMARY KEY);
				CREATE TABLE items (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text UNIQUE, parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)`)
			var said []string
			say := func(what string, args ...any) { said = append(said, fmt.Sprintf(what, args...)) }
			n := 0
			insert := func(names ...string) (trips int) {
				t.Helper()
				in := make([]struct{ Name string }, len(names))
				for i, name := range names {
					in[i].Name = name
				}
				before := net.RoundTrips()
				out, err := rows.InsertMany[item](t.Context(), db, "items", in)
				trips = net.RoundTrips() - before
				text := fmt.Sprint(err)
				if state := state(err); state != "" {
					text = state
				}
				say("%v %s", out, text)
				return trips
			}
			more := func() []string {
				n++
				return []string{fmt.Sprint("a", n), fmt.Sprint("b", n)}
			}
			steady := func() {
				t.Helper()
				insert(more()...)
				insert(more()...) // prepares on the only connection
				want := 1
				if driver.Name == "pq" { // which takes two for each statement
					want = 4
				}
				if got := insert(more()...); got != want {
					t.Errorf("%d round trips, want %d", got, want)
				}
			}
			steady()

			for _, change := range []string{
				"ALTER TABLE items ADD COLUMN more int DEFAULT 7",
				"ALTER TABLE items ALTER COLUMN name TYPE varchar(5)",
				"ALTER TABLE items DROP COLUMN more",
				"DROP TABLE items; CREATE TABLE items (name varchar(5) UNIQUE, id serial PRIMARY KEY, parent int REFERENCES parents DEFERRABLE INITIALLY DEFERRED)",
			} {
				exec(t, db, change)
				steady()
			}
			insert("longer than five")
			insert("x", "x") // a key that is there twice
			insert(more()...)

			// the error that COMMIT has
			type orphan struct {
				Name   string
				Parent int
			}
			for range 3 {
				_, err := rows.InsertMany[int64](t.Context(), db, "items", []orphan{{"o", 1}})
				say("%s", state(err))
			}
			exec(t, db, "INSERT INTO parents VALUES (1)")
			out, err := rows.InsertMany[int64](t.Context(), db, "items", []orphan{{"child", 1}})
			say("%v %v", len(out), err)

			// a column that there was, and is not
			exec(t, db, "ALTER TABLE items DROP COLUMN parent")
			_, err = rows.InsertMany[int64](t.Context(), db, "items", []orphan{{"lost", 1}})
			say("%v", err)

			// what cannot be read is stored all the same
			for range 2 {
				_, err := rows.InsertMany[struct {
					ID   int64
					Name int
				}](t.Context(), db, "items", []struct{ Name string }{{fmt.Sprint("n", n)}})
				say("%v", err != nil)
				n++
			}

			// a transaction that goes on
			tx, err := db.BeginTx(t.Context(), nil)
			must(t, err)
			ids, err := rows.InsertMany[int64](t.Context(), tx, "items", []string{"tx"}, "name")
			say("%d %v", len(ids), err)
			_, err = tx.ExecContext(t.Context(), "ALTER TABLE items ADD COLUMN again int")
			must(t, err)
			ids, err = rows.InsertMany[int64](t.Context(), tx, "items", []string{"tx 2"}, "name")
			say("%d %v", len(ids), err)
			say("%v", tx.Commit())
			insert(more()...)

			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			_, err = rows.InsertMany[int64](ctx, db, "items", []string{"late"}, "name")
			is(t, err, context.Canceled)
			exec(t, db, "DROP TABLE items")
			insert("gone")
			stored, err := rows.Collect[string](t.Context(), db, "SELECT id::text FROM parents")
			say("%v %v", stored, err)
			nothingHeld(t, db)
			must(t, db.Close())

			if first == nil {
				first = said
			} else if !slices.Equal(said, first) {
				for i := range min(len(said), len(first)) {
					if said[i] != first[i] {
						t.Errorf("step %d: %s, and with pgx %s", i, said[i], first[i])
					}
				}
			}
			for i, s := range said {
				t.Logf("%d: %s", i, s)
			}
		})
	}
}
