package debugpage_test

import (
	"context"
	"database/sql"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A shop is a program in trouble, on a real PostgreSQL: one of its functions
// forgets to close its rows, and another calls a payment provider, which does
// not answer, inside of a transaction.
type shop struct {
	db       *poolgate.DB
	provider *httptest.Server
	client   *http.Client
	answer   chan struct{} // closed when the provider answers, at last
	stop     context.CancelFunc
	running  sync.WaitGroup
	paying   sync.WaitGroup
	lost     *sql.Rows // for the test, to end in good order
}

const shopSchema = `
	CREATE TABLE customers (id int PRIMARY KEY, name text, token text);
	CREATE TABLE accounts (id int PRIMARY KEY, balance int);
	INSERT INTO customers SELECT i, 'name ' || i, 'hunter2' FROM generate_series(1, 1000) i;
	INSERT INTO accounts SELECT i, 100 FROM generate_series(1, 1000) i;
	CREATE FUNCTION turnover(year int, seconds float8) RETURNS void LANGUAGE sql AS 'SELECT pg_sleep(seconds)'`

// openShop opens a shop of four permits, which is closed when the test ends.
func openShop(t *testing.T, leakAfter time.Duration) *shop {
	t.Helper()
	server := pgserver.ForTest(t)
	db, err := pgxgate.Open(server.CreateDatabase(t), poolgate.Config{Gate: gate.Config{
		Limit:      4,
		MaxWait:    time.Hour,
		LeakAfter:  leakAfter,
		StackEvery: 1,
		Classes: []gate.Class{
			{Name: "web", Reserved: 2},
			{Name: "reports", Max: 2, MaxWaiting: 1, Priority: -1},
		},
	}})
	must(t, err)
	_, err = db.ExecContext(t.Context(), shopSchema)
	must(t, err)
	s := &shop{db: db, client: &http.Client{Transport: new(http.Transport)}, answer: make(chan struct{})}
	s.provider = httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-s.answer }))
	ctx, stop := context.WithCancel(context.Background())
	s.stop = stop
	for range 6 {
		s.every(ctx, 5*time.Millisecond, "web", func(ctx context.Context) error { return s.name(ctx, 7) })
	}
	for range 3 {
		s.every(ctx, 200*time.Millisecond, "reports", func(ctx context.Context) error { return s.turnover(ctx, 0.1) })
	}
	t.Cleanup(func() { s.close(t) })
	return s
}

// every has f called again and again, in a class.
func (s *shop) every(ctx context.Context, pause time.Duration, class string, f func(context.Context) error) {
	ctx = gate.WithClass(ctx, class)
	s.running.Go(func() {
		for ctx.Err() == nil {
			f(ctx) // the gate counts what it refuses
			time.Sleep(pause)
		}
	})
}

func (s *shop) name(ctx context.Context, id int) error {
	var name string
	return s.db.QueryRowContext(ctx, "SELECT name FROM customers, pg_sleep(0.004) WHERE id = $1", id).Scan(&name)
}

func (s *shop) turnover(ctx context.Context, seconds float64) error {
	_, err := s.db.ExecContext(ctx, "SELECT turnover(2026, $1)", seconds)
	return err
}

// isKnown leaks: it returns without closing its rows.
func (s *shop) isKnown(token string) (bool, error) {
	rows, err := s.db.QueryContext(gate.WithClass(context.Background(), "web"), "SELECT id FROM customers WHERE token = '"+token+"'")
	if err != nil {
		return false, err
	}
	s.lost = rows
	return rows.Next(), nil
}

// pay is stuck: the payment provider does not answer.
func (s *shop) pay(ctx context.Context, id, amount int) error {
	tx, err := s.db.BeginTx(gate.WithClass(ctx, "web"), nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(ctx, "UPDATE accounts SET balance = balance - $2 WHERE id = $1", id, amount); err != nil {
		return err
	}
	response, err := s.client.Get(s.provider.URL)
	if err != nil {
		return err
	}
	response.Body.Close()
	return tx.Commit()
}

// trouble has all go wrong at once, and returns when nothing moves any more.
func (s *shop) trouble(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	s.running.Go(func() {
		if known, err := s.isKnown("hunter2"); err != nil || !known {
			t.Errorf("isKnown: %v, %v", known, err)
		}
	})
	s.paying.Go(func() {
		if err := s.pay(ctx, 7, 20); err != nil {
			t.Errorf("pay: %v", err)
		}
	})
	stop := s.stop
	s.stop = func() { stop(); cancel() }
	for range 2 {
		s.every(ctx, time.Millisecond, "reports", func(ctx context.Context) error { return s.turnover(ctx, 3600) })
	}
	until(t, "a transaction is idle", func() bool {
		var n int
		must(t, s.db.OutOfBand().QueryRow("SELECT count(*) FROM pg_stat_activity "+
			"WHERE datname = current_database() AND state = 'idle in transaction'").Scan(&n))
		return n == 1
	})
	until(t, "all permits are held for too long, and the others wait", func() bool {
		stats := s.db.Gate().Stats()
		leaked := 0
		for _, h := range s.db.Gate().Holders() {
			if h.Leaked {
				leaked++
			}
		}
		return leaked == 4 && stats.Waiting == 7 && stats.Classes[2].QueueFull > 0
	})
}

func (s *shop) close(t *testing.T) {
	close(s.answer)
	s.paying.Wait()
	s.stop()
	s.running.Wait()
	if s.lost != nil {
		s.lost.Close()
	}
	s.provider.Close()
	s.client.CloseIdleConnections()
	nothingHeld(t, s.db.Gate())
	if n := s.db.Stats().InUse; n != 0 {
		t.Errorf("%d connections in use", n)
	}
	must(t, s.db.Close())
}

// until waits for what is about to be.
func until(t *testing.T, what string, reached func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !reached(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
