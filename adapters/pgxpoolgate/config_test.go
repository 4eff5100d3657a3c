package pgxpoolgate_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/adapters/pgxpoolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// inner is a pool that does not connect.
func inner(t *testing.T, settings string) *pgxpool.Pool {
	t.Helper()
	pool, err := pgxpool.New(context.Background(), "host=/nowhere dbname=x user=x "+settings)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(pool.Close)
	return pool
}

func TestMaxConnsIsCheckedAgainstTheLimit(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	t.Run("", func(t *testing.T) {
		for name, test := range map[string]struct {
			config gate.Config
			want   string // in the error
			lane   int
		}{
			"fits":           {config: gate.Config{Limit: 4}, lane: 1},
			"leaves no lane": {config: gate.Config{Limit: 5}},
			"is too high":    {config: gate.Config{Limit: 6}, want: "Config.Gate.Limit is 6, but MaxConns of the pgxpool is 5"},
			"with a lane": {config: gate.Config{Limit: 4, OutOfBand: 2},
				want: "Config.Gate.Limit is 4 and Config.Gate.OutOfBand 2, but MaxConns of the pgxpool is 5"},
			"adaptive": {config: gate.Config{Limit: 2, Adaptive: &gate.Adaptive{}}, lane: 1},
			"adaptive, too high": {config: gate.Config{Limit: 2, Adaptive: &gate.Adaptive{Max: 6}},
				want: "Config.Gate.Adaptive.Max is 6, but MaxConns"},
			"is missing":  {want: "Config.Gate: "},
			"is negative": {config: gate.Config{Limit: -1}, want: "Config.Gate: "},
		} {
			for way, open := range map[string]func(c pgxpoolgate.Config) (*pgxpoolgate.Pool, error){
				"Wrap": func(c pgxpoolgate.Config) (*pgxpoolgate.Pool, error) {
					c.CloseInner = true
					return pgxpoolgate.Wrap(inner(t, "pool_max_conns=5"), c)
				},
				"Open": func(c pgxpoolgate.Config) (*pgxpoolgate.Pool, error) {
					return pgxpoolgate.Open("host=/nowhere pool_max_conns=5", c)
				},
			} {
				pool, err := open(pgxpoolgate.Config{Gate: test.config})
				switch {
				case test.want != "":
					if err == nil || !strings.Contains(err.Error(), test.want) {
						t.Errorf("%s %s: got %v", way, name, err)
					}
				case err != nil:
					t.Errorf("%s %s: got %v", way, name, err)
				default:
					if n := pool.Gate().Stats().OutOfBand.Max; n != test.lane {
						t.Errorf("%s %s: the lane has %d permits", way, name, n)
					}
					if n := pool.Gate().MostPermits(); n > 5 {
						t.Errorf("%s %s: %d permits may be out", way, name, n)
					}
					if err := pool.SetLimit(6); err == nil {
						t.Errorf("%s %s: SetLimit takes a limit above MaxConns", way, name)
					}
					if err := pool.SetLimit(3); err != nil {
						t.Errorf("%s %s: %v", way, name, err)
					}
					pool.Close()
				}
			}
		}
	})
}

func TestMaxConnsOfOpen(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	for settings, want := range map[string]int32{"": 50, "pool_max_conns=80": 80} {
		pool, err := pgxpoolgate.Open("host=/nowhere "+settings, pgxpoolgate.Config{Gate: gate.Config{Limit: 40}})
		if err != nil {
			t.Fatal(err)
		}
		if n := pool.Config().MaxConns; n != want {
			t.Errorf("%q: MaxConns is %d, want %d", settings, n, want)
		}
		pool.Close()
	}
	config, err := pgxpool.ParseConfig("host=/nowhere")
	if err != nil {
		t.Fatal(err)
	}
	config.MaxConns = 45
	pool, err := pgxpoolgate.OpenConfig(config, pgxpoolgate.Config{Gate: gate.Config{Limit: 40}})
	if err != nil {
		t.Fatal(err)
	}
	if n := pool.Config().MaxConns; n != 45 || pool.Gate().MostPermits() != 45 {
		t.Errorf("MaxConns is %d, and %d permits may be out", n, pool.Gate().MostPermits())
	}
	pool.Close()
}

func TestNilIsRefused(t *testing.T) {
	if _, err := pgxpoolgate.OpenConfig(new(pgxpool.Config), pgxpoolgate.Config{Gate: gate.Config{Limit: 1}}); err == nil {
		t.Error("OpenConfig of a config that is not from ParseConfig")
	}
	if _, err := pgxpoolgate.Wrap(nil, pgxpoolgate.Config{Gate: gate.Config{Limit: 1}}); err == nil {
		t.Error("Wrap")
	}
	if _, err := pgxpoolgate.OpenConfig(nil, pgxpoolgate.Config{Gate: gate.Config{Limit: 1}}); err == nil {
		t.Error("OpenConfig")
	}
}

func TestNameThatIsWrongIsRefusedWithoutItsPassword(t *testing.T) {
	for _, name := range []string{
		"postgres://user:secr/et@host/db",
		"postgres://user:secr@et@host/db",
		"postgres://user:secret@host:port/db",
		"postgress://user:secret@host/db?sslmode=disable",
		"user=u password=secret pool_max_conns=many",
		"host=h user=u password=secret sslmode=what",
	} {
		_, err := pgxpoolgate.Open(name, pgxpoolgate.Config{Gate: gate.Config{Limit: 1}})
		if err == nil || strings.Contains(err.Error(), "secr") {
			t.Errorf("%s: got %v", name, err)
		}
	}
}

// The hooks of the program are called as well.
func TestOpenConfigKeepsHooks(t *testing.T) {
	var called []string
	f := watch(t, func(t *testing.T, dsn string, config gate.Config) *pgxpoolgate.Pool {
		c, err := pgxpool.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		c.BeforeConnect = func(context.Context, *pgx.ConnConfig) error { called = append(called, "before"); return nil }
		c.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
			called = append(called, "after")
			_, err := conn.Exec(ctx, "select 1")
			return err
		}
		pool, err := pgxpoolgate.OpenConfig(c, pgxpoolgate.Config{Gate: config})
		if err != nil {
			t.Fatal(err)
		}
		return pool
	}, gate.Config{Limit: 1})
	var interval string
	if err := f.QueryRow(t.Context(), "show client_connection_check_interval").Scan(&interval); err != nil || interval != "500ms" {
		t.Errorf("%s, %v", interval, err)
	}
	if strings.Join(called, " ") != "before after" {
		t.Errorf("got %v", called)
	}
	if c := f.Config(); c.ConnConfig.ConnectTimeout != pgxpoolgate.DefaultConnectTimeout || c.PingTimeout != pgxpoolgate.DefaultPingTimeout {
		t.Errorf("%v, %v", c.ConnConfig.ConnectTimeout, c.PingTimeout)
	}
}

// An adaptive gate knows how long the server works.
func TestAdaptiveGateIsFed(t *testing.T) {
	works := &works{done: make(chan gate.Work, 100)}
	config := gate.Config{Limit: 1, Adaptive: &gate.Adaptive{Max: 2, Finder: func(gate.Adaptive, int) gate.Finder { return works }}}
	f := watch(t, ways["Open"], config)
	ctx := t.Context()
	for name, run := range map[string]func(){
		"Exec":      func() { f.Exec(ctx, "select pg_sleep(0.01)") },
		"QueryRow":  func() { f.QueryRow(ctx, "select pg_sleep(0.01)").Scan(nil) },
		"Query":     func() { rows, _ := f.Query(ctx, "select pg_sleep(0.01)"); rows.Next(); rows.Next() },
		"SendBatch": func() { f.SendBatch(ctx, batch("select pg_sleep(0.01)")).Close() },
	} {
		run()
		select {
		case w := <-works.done:
			if w.Took < 10*time.Millisecond || w.Failed {
				t.Errorf("%s: got %+v", name, w)
			}
		default:
			t.Errorf("%s: the gate is not told", name)
		}
	}
	f.Exec(ctx, "select nothing")
	if w := <-works.done; !w.Failed {
		t.Errorf("got %+v", w)
	}
}

// works is a finder that keeps what it is told.
type works struct{ done chan gate.Work }

func (w *works) Done(work gate.Work) { w.done <- work }
func (w *works) Decide(time.Time, int, int) gate.Decision {
	return gate.Decision{Limit: 1, Center: 1}
}
