package pgxpoolgate_test

import (
	"context"
	"errors"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/adapters/pgxpoolgate"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestMain(m *testing.M) { pgserver.MainWithExamples(m) }

// patience is how long a test waits for what happens at once.
const patience = 30 * time.Second

// A fixture is a gated pool on a database of its own, and a connection to look at
// it from the side.
type fixture struct {
	*pgxpoolgate.Pool
	side *pgx.Conn
}

// ways are the two ways to get a Pool.
var ways = map[string]func(t *testing.T, dsn string, config gate.Config) *pgxpoolgate.Pool{
	"Open": func(t *testing.T, dsn string, config gate.Config) *pgxpoolgate.Pool {
		pool, err := pgxpoolgate.Open(dsn, pgxpoolgate.Config{Gate: config})
		if err != nil {
			t.Fatal(err)
		}
		return pool
	},
	"Wrap": func(t *testing.T, dsn string, config gate.Config) *pgxpoolgate.Pool {
		c, err := pgxpool.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		c.MaxConns = 100
		inner, err := pgxpool.NewWithConfig(t.Context(), c)
		if err != nil {
			t.Fatal(err)
		}
		pool, err := pgxpoolgate.Wrap(inner, pgxpoolgate.Config{Gate: config, CloseInner: true})
		if err != nil {
			t.Fatal(err)
		}
		return pool
	},
}

// both runs test over a pool of Open and one of Wrap.
func both(t *testing.T, config gate.Config, test func(t *testing.T, f *fixture)) {
	for way, open := range ways {
		t.Run(way, func(t *testing.T) { test(t, watch(t, open, config)) })
	}
}

func watch(t *testing.T, open func(*testing.T, string, gate.Config) *pgxpoolgate.Pool, config gate.Config) *fixture {
	t.Helper()
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	return watchThrough(t, dsn, dsn, open, config)
}

// watchThrough is watch for a database that exists, which through leads to.
func watchThrough(t *testing.T, dsn, through string, open func(*testing.T, string, gate.Config) *pgxpoolgate.Pool, config gate.Config) *fixture {
	t.Helper()
	ignored := goleak.IgnoreCurrent()
	side, err := pgx.Connect(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	f := &fixture{open(t, named(t, through), config), side}
	t.Cleanup(func() {
		f.settled(t)
		f.Close()
		side.Close(context.Background())
		goleak.VerifyNone(t, ignored)
	})
	return f
}

// named gives the connections of dsn the name "gated".
func named(t *testing.T, dsn string) string {
	t.Helper()
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme == "" {
		return dsn + " application_name=gated"
	}
	q := u.Query()
	q.Set("application_name", "gated")
	u.RawQuery = q.Encode()
	return u.String()
}

// settled checks that nothing is held, sooner or later.
func (f *fixture) settled(t *testing.T) {
	t.Helper()
	eventually(t, "nothing is held", func() bool {
		s := f.Gate().Stats()
		return s.InFlight == 0 && s.Waiting == 0 && s.OutOfBand.InFlight == 0 && f.Stat().AcquiredConns() == 0
	})
}

// held checks how many permits are held, and that as many connections are.
func (f *fixture) held(t *testing.T, want int, when string) {
	t.Helper()
	if got := f.Gate().Stats().InFlight; got != want {
		t.Errorf("%s: %d permits are held, want %d", when, got, want)
	}
	if got := int(f.Stat().AcquiredConns()); got != want {
		t.Errorf("%s: %d connections are held, want %d", when, got, want)
	}
}

// usable checks that all permits can be taken, and that each connection works.
func (f *fixture) usable(t *testing.T) {
	t.Helper()
	f.settled(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for range f.Gate().Limit() {
		conn, err := f.Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Release()
		var n int
		if err := conn.QueryRow(ctx, "select 7").Scan(&n); err != nil || n != 7 {
			t.Errorf("got %d, %v", n, err)
		}
	}
}

// sleeping is how many of the pool's backends execute pg_sleep.
func (f *fixture) sleeping(t *testing.T) (n int) {
	t.Helper()
	err := f.side.QueryRow(context.Background(), "select count(*) from pg_stat_activity "+
		"where datname = current_database() and application_name = 'gated' and state = 'active' and wait_event = 'PgSleep'").Scan(&n)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func pid(t *testing.T, q interface {
	QueryRow(context.Context, string, ...any) pgx.Row
}) (n int) {
	t.Helper()
	if err := q.QueryRow(context.Background(), "select pg_backend_pid()").Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for start := time.Now(); !holds(); time.Sleep(time.Millisecond) {
		if time.Since(start) > patience {
			t.Fatalf("not: %s", what)
		}
	}
}

func panics(f func()) (v any) {
	defer func() { v = recover() }()
	f()
	return nil
}

var errOwn = errors.New("an error of the caller's own")
