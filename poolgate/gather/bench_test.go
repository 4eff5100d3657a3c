package gather_test

import (
	"database/sql"
	"fmt"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/rows"
)

type item struct {
	ID   int
	Data string
	Work string
}

// BenchmarkGather reads n rows by their key, each of which gives the server
// some work: none but the look-up; so long a time on the processor; or so long
// a wait, as for a disk. It compares n statements, gathered, with one that has
// all keys.
func BenchmarkGather(b *testing.B) {
	server := pgserver.ForTest(b)
	for _, driver := range bothdrivers.All {
		b.Run("driver="+driver.Name, func(b *testing.B) {
			db, err := driver.Open(server.CreateDatabase(b), poolgate.Config{Gate: gate.Config{Limit: 16}})
			must(b, err)
			exec(b, db, "CREATE TABLE items (id int PRIMARY KEY, data text NOT NULL)")
			exec(b, db, "INSERT INTO items SELECT n, 'item ' || n FROM generate_series(1, 1000) n")
			exec(b, db, "ANALYZE items")
			perMs := calibrate(b, db)
			for _, work := range []struct{ name, sql string }{
				{"none", "i.data"},
				{"cpu-100µs", spin(perMs / 10)},
				{"cpu-1ms", spin(perMs)},
				{"cpu-5ms", spin(5 * perMs)},
				{"wait-1ms", "pg_sleep(0.001)::text"},
				{"wait-5ms", "pg_sleep(0.005)::text"},
			} {
				for _, n := range []int{1, 8, 30, 200} {
					if n == 200 && testing.Short() {
						continue
					}
					benchmarkWays(b, db, fmt.Sprintf("work=%s/n=%d", work.name, n), "SELECT i.id, i.data, "+work.sql+" AS work FROM items i WHERE i.id = ", n)
				}
			}
			nothingHeld(b, db)
			must(b, db.Close())
		})
	}
}

func benchmarkWays(b *testing.B, db *poolgate.DB, name, query string, n int) {
	statements := make([]gather.SQL, n)
	keys := make([]int, n)
	for i := range statements {
		keys[i] = i + 1
		statements[i] = gather.SQL{Query: query + "$1", Args: []any{keys[i]}}
	}
	for _, c := range consistencies {
		b.Run(fmt.Sprintf("%s/way=%v", name, c), func(b *testing.B) {
			for b.Loop() {
				results, err := gather.Collect[item](b.Context(), db, gather.Options{Consistency: c}, statements...)
				if err != nil || results[n-1].At(0).ID != n {
					b.Fatal(err)
				}
			}
		})
	}
	b.Run(name+"/way=any", func(b *testing.B) {
		self := func(key int) int { return key }
		for b.Loop() {
			results, err := rows.LoadMany(b.Context(), db, keys, self, func(i item) int { return i.ID }, query+"ANY($1)")
			if err != nil || results[n-1][0].ID != n {
				b.Fatal(err)
			}
		}
	})
}

// spin keeps the server's processor at work for each row.
func spin(rows int) string {
	return fmt.Sprintf("(SELECT count(*)::text FROM generate_series(1, %d + 0 * i.id))", rows)
}

// calibrate returns how many rows of spin take a millisecond where nothing else
// runs: the best of many.
func calibrate(b *testing.B, db *poolgate.DB) int {
	const many = 50_000
	conn, err := db.Conn(b.Context())
	must(b, err)
	defer conn.Close()
	best := time.Hour
	var s sql.NullString
	for range 30 {
		began := time.Now()
		must(b, conn.QueryRowContext(b.Context(), "SELECT "+spin(many)+" FROM items i WHERE i.id = 1").Scan(&s))
		best = min(best, time.Since(began))
	}
	return int(many * time.Millisecond / best)
}
