package zz

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sort"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolgate/poolgate/adapters/internal/faultproxy"
	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestMain(m *testing.M) { pgserver.Main(m) }

func drivers() []bothdrivers.Driver { return bothdrivers.All }

func TestRecovery(t *testing.T) {
	for _, d := range drivers() {
		t.Run(d.Name, func(t *testing.T) {
			dsn := pgserver.ForTest(t).CreateDatabase(t)
			p, through := faultproxy.Start(t, dsn)
			db, err := d.Open(through, poolgate.Config{Gate: gate.Config{Limit: 8}})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			var ok, failed atomic.Int64
			var mu sync.Mutex
			var late []float64
			stop := make(chan struct{})
			var wg sync.WaitGroup
			for range 8 {
				wg.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						ctx, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
						end, _ := ctx.Deadline()
						_, err := db.ExecContext(ctx, "select pg_sleep(0.005)")
						over := time.Since(end)
						cancel()
						if err == nil {
							ok.Add(1)
						} else {
							failed.Add(1)
							if errors.Is(err, context.DeadlineExceeded) && over > 0 {
								mu.Lock()
								late = append(late, over.Seconds()*1000)
								mu.Unlock()
							}
						}
					}
				})
			}
			rate := func(d time.Duration) float64 {
				a := ok.Load()
				time.Sleep(d)
				return float64(ok.Load()-a) / d.Seconds()
			}
			rate(time.Second)
			before := rate(2 * time.Second)
			p.Stop()
			in := rate(3 * time.Second)
			p.Resume()
			var after []string
			for range 8 {
				after = append(after, fmt.Sprintf("%.0f%%", 100*rate(500*time.Millisecond)/before))
			}
			close(stop)
			wg.Wait()
			sort.Float64s(late)
			t.Logf("before %.0f/s, in the hole %.0f/s, after by half seconds %v; %d failed; late by ms: n=%d median %.0f max %.0f", before, in, after, failed.Load(), len(late), late[len(late)/2], late[len(late)-1])
		})
	}
}

const trap = `do $$ begin
	loop
		begin perform pg_sleep(60);
		exception when query_canceled then null;
		end;
	end loop;
end $$`

func TestCancels(t *testing.T) {
	for _, d := range drivers() {
		for _, limit := range []int{4, 8} {
			for name, q := range map[string]string{"pg_sleep": "select pg_sleep(60)", "trap": trap} {
				n := 1000
				if name == "trap" {
					n = 60
				}
				t.Run(fmt.Sprintf("%s/limit=%d/%s", d.Name, limit, name), func(t *testing.T) {
					dsn := pgserver.ForTest(t).CreateDatabase(t)
					obs, _ := sql.Open("pgx", dsn)
					defer obs.Close()
					db, err := d.Open(dsn+"&application_name=gated", poolgate.Config{Gate: gate.Config{Limit: limit}})
					if err != nil {
						t.Fatal(err)
					}
					defer db.Close()
					var left atomic.Int64
					left.Store(int64(n))
					var mu sync.Mutex
					var late []float64
					var wg sync.WaitGroup
					pids := map[int]bool{}
					start := time.Now()
					for range 2 * limit {
						wg.Go(func() {
							for left.Add(-1) >= 0 {
								c, err := db.Conn(context.Background())
								if err != nil {
									t.Error(err)
									return
								}
								var pid int
								if err := c.QueryRowContext(context.Background(), "select pg_backend_pid()").Scan(&pid); err != nil {
									t.Error(err)
								}
								ctx, cancel := context.WithCancel(context.Background())
								var at time.Time
								time.AfterFunc(10*time.Millisecond, func() { at = time.Now(); cancel() })
								_, err = c.ExecContext(ctx, q)
								over := time.Since(at)
								if !errors.Is(err, context.Canceled) {
									t.Error(err)
								}
								mu.Lock()
								late = append(late, over.Seconds()*1000)
								pids[pid] = true
								mu.Unlock()
								c.Close()
							}
						})
					}
					done := make(chan struct{})
					go func() { wg.Wait(); close(done) }()
					most, samples := 0, 0
					for w := true; w; {
						select {
						case <-done:
							w = false
						default:
						}
						var k int
						if err := obs.QueryRow("select count(*) from pg_stat_activity where datname=current_database() and application_name='gated' and state='active'").Scan(&k); err != nil {
							t.Fatal(err)
						}
						samples++
						most = max(most, k)
					}
					sort.Float64s(late)
					t.Logf("%d in %v; most active %d of %d (%d samples); backends %d (%.2f each); returned after ms: median %.0f 99%% %.0f max %.0f", n, time.Since(start).Round(time.Millisecond), most, limit, samples, len(pids), float64(len(pids)-limit)/float64(n), late[len(late)/2], late[len(late)*99/100], late[len(late)-1])
				})
			}
		}
	}
	_ = os.Args
}
