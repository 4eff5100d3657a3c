package gather_test

import (
	"database/sql"
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/network"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/rows"
)

var printMatrix = flag.Bool("matrix", false, "have BenchmarkGather print the tables of docs/gather.md")

type item struct {
	ID   int
	Data string
	Work string
}

// BenchmarkGather reads n rows by their key, each of which gives the server
// some work: none but the look-up; so long a time on the processor; or so long
// a wait, as for a disk. The look-up alone is also made over a network that adds
// a millisecond to each round trip. It compares n statements, gathered on eight
// permits, with one that has all keys.
func BenchmarkGather(b *testing.B) {
	server := pgserver.ForTest(b)
	for _, driver := range bothdrivers.All {
		b.Run("driver="+driver.Name, func(b *testing.B) {
			dsn := server.CreateDatabase(b)
			open := func(dsn string) *poolgate.DB {
				db, err := driver.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 8}})
				must(b, err)
				return db
			}
			db := open(dsn)
			exec(b, db, "CREATE TABLE items (id int PRIMARY KEY, data text NOT NULL)")
			exec(b, db, "INSERT INTO items SELECT n, 'item ' || n FROM generate_series(1, 1000) n")
			exec(b, db, "VACUUM ANALYZE items")
			_, through := network.Between(b, dsn, time.Millisecond)
			away := open(through)
			ways := consistencies
			if driver.Name == "pgx" {
				ways = append(slices.Clone(ways), gather.Pipelined)
			}
			perMs := calibrate(b, db)
			var m matrix
			for _, work := range []struct {
				name, sql string
				db        *poolgate.DB
			}{
				{"none", "i.data", db},
				{"none, 1 ms away", "i.data", away},
				{"cpu-100µs", spin(perMs / 10), db},
				{"cpu-1ms", spin(perMs), db},
				{"cpu-5ms", spin(5 * perMs), db},
				{"wait-1ms", "pg_sleep(0.001)::text", db},
				{"wait-5ms", "pg_sleep(0.005)::text", db},
			} {
				for _, n := range []int{1, 8, 30, 200} {
					if n == 200 && testing.Short() {
						continue
					}
					m.begin(work.name, n)
					benchmarkWays(b, &m, work.db, ways, fmt.Sprintf("work=%s/n=%d", work.name, n), "SELECT i.id, i.data, "+work.sql+" AS work FROM items i WHERE i.id = ", n)
				}
			}
			if *printMatrix {
				fmt.Printf("\n**%s**\n\n%s\n", map[string]string{"pgx": "pgx", "pq": "lib/pq"}[driver.Name], m.table(ways))
			}
			for _, db := range []*poolgate.DB{db, away} {
				nothingHeld(b, db)
				must(b, db.Close())
			}
		})
	}
}

func benchmarkWays(b *testing.B, m *matrix, db *poolgate.DB, ways []gather.Consistency, name, query string, n int) {
	statements := make([]gather.SQL, n)
	keys := make([]int, n)
	for i := range statements {
		keys[i] = i + 1
		statements[i] = gather.SQL{Query: query + "$1", Args: []any{keys[i]}}
	}
	for at, c := range ways {
		gathered := func(b *testing.B) {
			results, err := gather.Collect[item](b.Context(), db, gather.Options{Consistency: c}, statements...)
			if err != nil || results[n-1].At(0).ID != n {
				b.Fatal(err)
			}
		}
		b.Run(fmt.Sprintf("%s/way=%v", name, c), func(b *testing.B) {
			gathered(b) // connects and prepares
			for b.Loop() {
				gathered(b)
			}
			m.add(at, b)
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
		m.add(len(ways), b)
	})
}

// A matrix has the times of gathers, in milliseconds.
type matrix struct{ lines []line }

type line struct {
	work  string
	n     int
	times [][]float64 // of each way, one for each -count
}

func (m *matrix) begin(work string, n int) { m.lines = append(m.lines, line{work: work, n: n}) }

// add adds what b has measured of a way to the last line.
func (m *matrix) add(way int, b *testing.B) {
	l := &m.lines[len(m.lines)-1]
	for len(l.times) <= way {
		l.times = append(l.times, nil)
	}
	l.times[way] = append(l.times[way], b.Elapsed().Seconds()*1000/float64(b.N))
}

// table returns the medians as a table, the best gather of each line bold.
func (m *matrix) table(ways []gather.Consistency) string {
	var s strings.Builder
	s.WriteString("| work | statements |")
	for _, c := range ways {
		fmt.Fprintf(&s, " %v |", c)
	}
	s.WriteString(" one with = ANY |\n|---|" + strings.Repeat("---:|", len(ways)+2) + "\n")
	for _, l := range m.lines {
		if len(l.times) <= len(ways) { // -bench leaves some out
			continue
		}
		var medians []float64
		for _, times := range l.times {
			slices.Sort(times)
			medians = append(medians, times[len(times)/2])
		}
		fmt.Fprintf(&s, "| %s | %d |", l.work, l.n)
		for way, ms := range medians {
			text := milliseconds(ms)
			if way < len(ways) && ms == slices.Min(medians[:len(ways)]) {
				text = "**" + text + "**"
			}
			fmt.Fprintf(&s, " %s |", text)
		}
		s.WriteString("\n")
	}
	return s.String()
}

// milliseconds returns ms with the digits that mean something.
func milliseconds(ms float64) string {
	switch {
	case ms < 1:
		return fmt.Sprintf("%.2f", ms)
	case ms < 100:
		return fmt.Sprintf("%.1f", ms)
	}
	return fmt.Sprintf("%.0f", ms)
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
