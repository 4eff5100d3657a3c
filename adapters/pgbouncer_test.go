//go:build unix

package adapters_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/adapters/pgxpoolgate"
	"github.com/poolgate/poolgate/internal/connstring"
	"github.com/poolgate/poolgate/internal/testing/bothdrivers"
	"github.com/poolgate/poolgate/internal/testing/pgbouncer"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// patience is how long tests wait for what should happen soon.
const patience = 30 * time.Second

// A way is one to go through a PgBouncer.
type way struct {
	name      string
	driver    bothdrivers.Driver
	bouncer   pgbouncer.Config
	settings  map[string]string // of the data source name
	pgBouncer bool
	describes bool // the connection remembers what a statement looks like
}

// pgxpool is pgxpoolgate as an adapter for database/sql.
var pgxpool = bothdrivers.Driver{
	Name: "pgx",
	Open: func(dsn string, config poolgate.Config) (*poolgate.DB, error) {
		pool, err := pgxpoolgate.Open(dsn, pgxpoolgate.Config{Gate: config.Gate, PgBouncer: config.PgBouncer})
		if err != nil {
			return nil, err
		}
		db := pool.DB()
		db.OnClose(pool.Inner().Close)
		return db, nil
	},
	Connector: bothdrivers.All[0].Connector,
}

// ways returns those that docs/pgbouncer.md names.
func ways() []way {
	pgx, pq := bothdrivers.All[0], bothdrivers.All[1]
	exec := map[string]string{"default_query_exec_mode": "exec"}
	simple := map[string]string{"default_query_exec_mode": "simple_protocol"}
	transaction, session := pgbouncer.Config{Mode: "transaction"}, pgbouncer.Config{Mode: "session"}
	all := []way{
		{name: "pgx in transaction mode", driver: pgx, bouncer: transaction, pgBouncer: true, describes: true},
		{name: "pgx with exec in transaction mode", driver: pgx, bouncer: transaction, settings: exec, pgBouncer: true},
		{name: "pgx with simple_protocol in transaction mode", driver: pgx, bouncer: transaction, settings: simple, pgBouncer: true},
		{name: "pq in transaction mode", driver: pq, bouncer: transaction, pgBouncer: true},
		{name: "pgxpool in transaction mode", driver: pgxpool, bouncer: transaction, pgBouncer: true, describes: true},
		{name: "pgx in session mode", driver: pgx, bouncer: session, describes: true},
		{name: "pq in session mode", driver: pq, bouncer: session},
		{name: "pgx in session mode with PgBouncer", driver: pgx, bouncer: session, pgBouncer: true, describes: true},
		{name: "pq in session mode with PgBouncer", driver: pq, bouncer: session, pgBouncer: true},
	}
	if pgbouncer.KeepsStatements() {
		keeps := pgbouncer.Config{Mode: "transaction", Settings: map[string]string{"max_prepared_statements": "100"}}
		all = append(all,
			way{name: "pgx in transaction mode with max_prepared_statements", driver: pgx, bouncer: keeps, describes: true},
			way{name: "pq in transaction mode with max_prepared_statements", driver: pq, bouncer: keeps, pgBouncer: true})
	}
	if testing.Short() { // with the ways that can go wrong most easily
		all = slices.DeleteFunc(all, func(w way) bool {
			return w.bouncer.Mode == "session" || w.settings["default_query_exec_mode"] == "simple_protocol"
		})
	}
	return all
}

// A bounced is a gated pool behind a PgBouncer, on a database of its own.
type bounced struct {
	*poolgate.DB
	way     way
	bouncer *pgbouncer.Bouncer
	direct  *sql.DB // one to look from outside
}

// through opens a pool behind a PgBouncer, and at the end of the test makes sure
// that nothing is left of it: no permit, no connection in use and no goroutine.
func through(t *testing.T, w way, limit int) *bounced {
	t.Helper()
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	ignored := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignored) })
	c, err := w.driver.Connector(dsn)
	must(t, err)
	b := &bounced{way: w, direct: sql.OpenDB(c)}
	t.Cleanup(func() { b.direct.Close() })
	// As docs/pgbouncer.md says: through a PgBouncer the adapters cannot set it.
	_, err = b.direct.Exec(`DO $$ BEGIN
		EXECUTE 'ALTER DATABASE ' || current_database() || ' SET client_connection_check_interval = 500';
	END $$`)
	must(t, err)
	b.bouncer = pgbouncer.ForTest(t, dsn, w.bouncer)
	name, err := connstring.With(b.bouncer.DSN(), w.settings)
	must(t, err)
	b.DB, err = w.driver.Open(name, poolgate.Config{Gate: gate.Config{Limit: limit}, PgBouncer: w.pgBouncer})
	must(t, err)
	t.Cleanup(func() {
		b.settled(t)
		if err := b.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return b
}

// settled waits until nobody holds or waits for anything.
func (b *bounced) settled(t *testing.T) {
	t.Helper()
	eventually(t, "no permit is held and no connection is in use", func() bool {
		s := b.Gate().Stats()
		return s.InFlight == 0 && s.Waiting == 0 && b.Stats().InUse == 0
	})
}

// count returns how many processes of the server for the database are as where
// says.
func (b *bounced) count(t *testing.T, where string) (n int) {
	t.Helper()
	query := "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid() AND " + where
	must(t, b.direct.QueryRow(query).Scan(&n))
	return n
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// eventually waits until done says so.
func eventually(t *testing.T, what string, done func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !done(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// A querier is a pool, a connection or a transaction.
type querier interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// wrong is the error of a statement that has returned what belongs to another.
type wrong string

func (w wrong) Error() string { return "wrong rows: " + string(w) }

// texts are statements whose results say which one was executed, with which
// arguments.
var texts = func() []string {
	all := make([]string, 16)
	for i := range all {
		all[i] = fmt.Sprintf("SELECT n, $2::text || '-%d', %d FROM generate_series($1::bigint, $1::bigint + %d) n", i, i, i%4*5)
	}
	return all
}()

// An answer is a row of one of texts.
type answer struct {
	n    int64
	text string
	i    int
}

// ask executes one of texts with arguments made of n, and checks the answer.
func ask(ctx context.Context, q querier, n int) error {
	return check(n, func(text string, args ...any) (*sql.Rows, error) { return q.QueryContext(ctx, text, args...) })
}

// check has query execute one of texts with arguments made of n, and checks the
// answer.
func check(n int, query func(text string, args ...any) (*sql.Rows, error)) error {
	rows, err := query(texts[n%len(texts)], n, fmt.Sprint("t", n))
	if err != nil {
		return err
	}
	defer rows.Close()
	var got []answer
	for rows.Next() {
		var a answer
		if err := rows.Scan(&a.n, &a.text, &a.i); err != nil {
			return errors.Join(wrong(err.Error()), err)
		}
		got = append(got, a)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	return checkAnswers(n, got)
}

func checkAnswers(n int, got []answer) error {
	i := n % len(texts)
	if len(got) != i%4*5+1 {
		return wrong(fmt.Sprintf("%d of them for %d", len(got), n))
	}
	for k, a := range got {
		if want := (answer{int64(n + k), fmt.Sprintf("t%d-%d", n, i), i}); a != want {
			return wrong(fmt.Sprintf("%v instead of %v", a, want))
		}
	}
	return nil
}
