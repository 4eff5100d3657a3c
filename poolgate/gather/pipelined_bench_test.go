package gather_test

import (
	"fmt"
	"net"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gather"
)

// BenchmarkPipelined looks up n rows by their key, each by a statement of its own,
// with eight permits: over loopback, and with a millisecond added to each round
// trip.
func BenchmarkPipelined(b *testing.B) {
	server := pgserver.ForTest(b)
	direct := server.CreateDatabase(b)
	for _, latency := range []time.Duration{0, time.Millisecond} {
		dsn := direct
		if latency > 0 {
			dsn = delayed(b, direct, latency/2)
		}
		db, err := bothdrivers.All[0].Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 8}})
		must(b, err)
		exec(b, db, "CREATE TABLE IF NOT EXISTS items (id int PRIMARY KEY, data text NOT NULL)")
		exec(b, db, "INSERT INTO items SELECT n, 'item ' || n FROM generate_series(1, 1000) n ON CONFLICT DO NOTHING")
		exec(b, db, "ANALYZE items")
		for _, n := range []int{1, 8, 30, 200} {
			statements := make([]gather.SQL, n)
			for i := range statements {
				statements[i] = gather.SQL{Query: "SELECT id, data, '' AS work FROM items WHERE id = $1", Args: []any{i + 1}}
			}
			for _, c := range []gather.Consistency{gather.Independent, gather.Snapshot, gather.Serial, gather.Pipelined} {
				b.Run(fmt.Sprintf("latency=%v/n=%d/way=%v", latency, n, c), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						results, err := gather.Collect[item](b.Context(), db, gather.Options{Consistency: c}, statements...)
						if err != nil || results[n-1].At(0).ID != n {
							b.Fatal(err)
						}
					}
				})
			}
		}
		nothingHeld(b, db)
		must(b, db.Close())
	}
}

// delayed returns the way to the server of dsn through a proxy, on which
// everything takes wait longer in each direction.
func delayed(t testing.TB, dsn string, wait time.Duration) string {
	u, err := url.Parse(dsn)
	must(t, err)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	var working sync.WaitGroup
	t.Cleanup(func() {
		listener.Close()
		working.Wait()
	})
	target := u.Host
	working.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", target)
			if err != nil {
				client.Close()
				return
			}
			working.Go(func() { forward(server, client, wait) })
			working.Go(func() { forward(client, server, wait) })
		}
	})
	u.Host = listener.Addr().String()
	return u.String()
}

// forward copies what from sends, each piece when its time has come, until either
// is closed.
func forward(to, from net.Conn, wait time.Duration) {
	type piece struct {
		data []byte
		due  time.Time
	}
	pieces := make(chan piece, 1024)
	go func() {
		defer close(pieces)
		for {
			data := make([]byte, 32<<10)
			n, err := from.Read(data)
			if n > 0 {
				pieces <- piece{data[:n], time.Now().Add(wait)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range pieces {
		time.Sleep(time.Until(p.due))
		if _, err := to.Write(p.data); err != nil {
			break
		}
	}
	to.Close()
	from.Close()
	for range pieces {
	}
}
