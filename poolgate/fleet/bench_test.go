//go:build unix

package fleet_test

import (
	"context"
	"database/sql/driver"
	"fmt"
	"syscall"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/fleet"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// nothing opens no connections.
type nothing struct{ driver.Connector }

func (nothing) Driver() driver.Driver { return nil }

// BenchmarkAcquire compares the gate of a member of a fleet with one that is not.
func BenchmarkAcquire(b *testing.B) {
	for _, joined := range []bool{false, true} {
		b.Run(fmt.Sprintf("joined=%t", joined), func(b *testing.B) {
			db, err := poolgate.OpenDB(nothing{}, poolgate.Config{Gate: gate.Config{Limit: 8}})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			if joined {
				store := fleet.NewMemory()
				if _, err := store.Write(b.Context(), fleet.Heartbeat{Key: "nobody", Seq: 1, Budget: 10, Weight: 1}); err != nil {
					b.Fatal(err)
				}
				fleet.AdvanceMemory(store, 31)
				f, err := fleet.Join(b.Context(), db, fleet.Config{Name: "f", Budget: 10, Min: 5, Store: store})
				if err != nil {
					b.Fatal(err)
				}
				for f.Stats().Permits == 0 {
					time.Sleep(time.Millisecond)
				}
			}
			g, ctx := db.Gate(), context.Background()
			for b.Loop() {
				p, err := g.Acquire(ctx)
				if err != nil {
					b.Fatal(err)
				}
				p.Release()
			}
		})
	}
}

// BenchmarkHeartbeat is the two statements of a heartbeat. It reports what they take of
// this process.
func BenchmarkHeartbeat(b *testing.B) {
	for _, d := range bothdrivers.All {
		b.Run(d.Name, func(b *testing.B) {
			db, err := d.Open(pgserver.ForTest(b).CreateDatabase(b), poolgate.Config{Gate: gate.Config{Limit: 1}})
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			store, err := fleet.NewPostgreSQL(b.Context(), db.Ungated(), "f", "")
			if err != nil {
				b.Fatal(err)
			}
			h := fleet.Heartbeat{Key: "00000000-0000-4000-8000-000000000001", Token: 1, Tokens: []int64{1}, Target: 10, Demand: 50, Weight: 1, Budget: 20, Seconds: 10}
			before := cpu(b)
			for b.Loop() {
				h.Seq++
				if _, err := store.Read(b.Context()); err != nil {
					b.Fatal(err)
				}
				if _, err := store.Write(b.Context(), h); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/float64(h.Seq), "cpu-µs/op")
		})
	}
}

// BenchmarkMember is a second of a process in which nothing happens but heartbeats, on
// PostgreSQL: of a member that needs nothing, and of one that needs four connections
// while another one lacks some. It reports what the process takes of a core, and how
// many statements it sends. Use it with -benchtime 20x or so.
func BenchmarkMember(b *testing.B) {
	for _, d := range bothdrivers.All {
		for _, needed := range []int{0, 4} {
			b.Run(fmt.Sprintf("%s/needed=%d", d.Name, needed), func(b *testing.B) {
				dsn := pgserver.ForTest(b).CreateDatabase(b)
				db, err := d.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 20, MaxWait: time.Hour}})
				if err != nil {
					b.Fatal(err)
				}
				defer db.Close()
				learnt(b, db.Ungated())
				store, err := fleet.NewPostgreSQL(b.Context(), db.Ungated(), "f", "")
				if err != nil {
					b.Fatal(err)
				}
				other := fleet.Heartbeat{Key: "00000000-0000-4000-8000-000000000001", Seq: 1, Target: 10, Demand: 50, Weight: 1, Budget: 20, Seconds: 1e6}
				if _, err := store.Write(b.Context(), other); err != nil {
					b.Fatal(err)
				}
				f, err := fleet.Join(b.Context(), db, fleet.Config{Name: "f", Budget: 20})
				if err != nil {
					b.Fatal(err)
				}
				for range needed {
					p, err := db.Gate().Acquire(b.Context())
					if err != nil {
						b.Fatal(err)
					}
					defer p.Release()
				}
				time.Sleep(5 * time.Second) // for the first heartbeats, which come faster
				before, at, heartbeats := cpu(b), time.Now(), f.Stats().Heartbeats
				b.ResetTimer()
				for range b.N {
					time.Sleep(time.Second)
				}
				b.StopTimer()
				seconds := time.Since(at).Seconds()
				b.ReportMetric(100*(cpu(b)-before).Seconds()/seconds, "%core")
				b.ReportMetric(2*float64(f.Stats().Heartbeats-heartbeats)/seconds, "statements/s")
			})
		}
	}
}

// cpu is what this process has used, without the server's processes.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
