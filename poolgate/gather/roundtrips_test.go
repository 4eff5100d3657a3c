package gather_test

import (
	"context"
	"fmt"
	"slices"
	"testing"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/network"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/rows"
	"github.com/poolgate/poolgate/poolgate/session"
)

// The round trips of a pipelined gather, which is serial with lib/pq, for the same
// results. lib/pq takes two round trips for a statement with arguments.
func TestRoundTrips(t *testing.T) {
	server := pgserver.ForTest(t)
	type child struct{ ID, Parent int }
	type named struct{ Name string }
	parents := []int{1, 2, 3}
	self := func(n int) int { return n }
	parent := func(c child) int { return c.Parent }
	reads := gather.Options{Consistency: gather.Pipelined, OrSerial: true}
	writes := reads
	writes.ReadWrite = true
	for _, driver := range bothdrivers.All {
		t.Run(driver.Name, func(t *testing.T) {
			net, dsn := network.Between(t, server.CreateDatabase(t), 0)
			db, err := driver.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1}})
			must(t, err)
			for _, name := range []string{"books", "prizes", "houses"} {
				exec(t, db, fmt.Sprintf("CREATE TABLE %s (id int PRIMARY KEY, parent int)", name))
				exec(t, db, fmt.Sprintf("INSERT INTO %s SELECT n, n %% 3 + 1 FROM generate_series(1, 9) n", name))
				exec(t, db, fmt.Sprintf("CREATE TABLE new_%s (id int GENERATED ALWAYS AS IDENTITY PRIMARY KEY, name text)", name))
			}
			load := func(into *[][]child, table string) gather.Statement {
				return gather.LoadMany(into, parents, self, parent, "SELECT id, parent FROM "+table+" WHERE parent = ANY($1) ORDER BY id")
			}
			store := func(table string) gather.Statement {
				return func(ctx context.Context, db session.DBTX) error {
					ids, err := rows.InsertMany[int](ctx, db, table, []named{{"a"}, {"b"}})
					if err == nil && (len(ids) != 2 || ids[1] != ids[0]+1) {
						err = fmt.Errorf("keys %v", ids)
					}
					return err
				}
			}
			var books, prizes, houses [][]child
			for _, c := range []struct {
				name    string
				pgx, pq int
				run     func() error
			}{
				{"30 statements", 1, 63, func() error {
					results, err := gather.Collect[int](patiently(t), db, reads, ones(30)...)
					if err == nil && results[29].At(0) != 29 {
						err = fmt.Errorf("the last is %d", results[29].At(0))
					}
					return err
				}},
				{"the children of three relations", 1, 9, func() error {
					books, prizes, houses = nil, nil, nil
					return gather.Run(patiently(t), db, reads, load(&books, "books"), load(&prizes, "prizes"), load(&houses, "houses"))
				}},
				{"30 writes", 2, 63, func() error {
					insert := gather.Exec(nil, "INSERT INTO new_books (name) VALUES ($1)", "x")
					return gather.Run(patiently(t), db, writes, slices.Repeat([]gather.Statement{insert}, 30)...)
				}},
				{"InsertMany into three tables", 3, 15, func() error {
					return gather.Run(patiently(t), db, writes, store("new_books"), store("new_prizes"), store("new_houses"))
				}},
			} {
				must(t, c.run()) // connects and prepares
				before := net.RoundTrips()
				must(t, c.run())
				want := c.pgx
				if driver.Name == "pq" {
					want = c.pq
				}
				if got := net.RoundTrips() - before; got != want {
					t.Errorf("%s: %d round trips, want %d", c.name, got, want)
				}
			}
			for _, children := range [][][]child{books, prizes, houses} {
				equal(t, children, [][]child{{{3, 1}, {6, 1}, {9, 1}}, {{1, 2}, {4, 2}, {7, 2}}, {{2, 3}, {5, 3}, {8, 3}}})
			}
			nothingHeld(t, db)
			must(t, db.Close())
		})
	}
}
