package conformance

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// testFailover has a standby take over from its primary while a pool of both is
// in use.
func testFailover(t *testing.T, d Driver) {
	t.Run("a server that says nothing when it is asked what it is", func(t *testing.T) { testSilentRole(t, d) })
	if testing.Short() {
		t.Skip("each test starts two servers")
	}
	t.Run("a primary that stops", func(t *testing.T) { testStoppedPrimary(t, d) })
	t.Run("a primary that becomes read only", func(t *testing.T) { testReadOnlyPrimary(t, d) })
}

// testStoppedPrimary stops the primary under load.
func testStoppedPrimary(t *testing.T, d Driver) {
	p := newPair(t)
	db := p.open(t, d, poolgate.Config{Gate: gate.Config{Limit: 4}, PrepareQueries: true})
	w := newWriter(t, db)

	const callers, rounds = 8, 10
	promoted := make(chan struct{})
	var working, all sync.WaitGroup
	working.Add(callers)
	for c := range callers {
		all.Go(func() {
			way := w.ways[c%len(w.ways)]
			errs := 0
			try := func() {
				if err := w.write(way); err != nil {
					if errs++; errs > 1 {
						t.Errorf("%s: error %d: %v", way.name, errs, err)
					}
					<-promoted
				}
			}
			for range rounds {
				try()
			}
			working.Done()
			for over := false; !over; try() {
				select {
				case <-promoted:
					over = true
				default:
				}
			}
			for range rounds {
				try()
			}
		})
	}
	working.Wait()
	if err := p.primary.Close(); err != nil {
		t.Error(err)
	}
	if err := p.standby.Promote(t.Context()); err != nil {
		t.Error(err)
	}
	close(promoted)
	all.Wait()
	w.check(t, p.onStandby)
	p.settled(t, db)
}

// testReadOnlyPrimary has the primary refuse writes, as before a planned
// switchover. Its connections stay open.
func testReadOnlyPrimary(t *testing.T, d Driver) {
	const limit = 4
	p := newPair(t)
	db := p.open(t, d, poolgate.Config{Gate: gate.Config{Limit: limit}})
	testRoles(t, d, p)
	w := newWriter(t, db)
	for range 3 {
		for _, way := range w.ways {
			if err := w.write(way); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := w.acknowledged()

	var conns []*sql.Conn
	for range limit {
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	for _, s := range []string{"alter system set default_transaction_read_only = on", "select pg_reload_conf()"} {
		if _, err := p.onPrimary.Exec(s); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range conns {
		eventually(t, "the connection has become read only", func() bool {
			return scalar[string](t, c, "show default_transaction_read_only") == "on"
		})
		c.Close()
	}
	if err := p.standby.Received(t.Context(), p.primary); err != nil {
		t.Fatal(err)
	}
	if err := p.standby.Promote(t.Context()); err != nil {
		t.Fatal(err)
	}

	var all sync.WaitGroup
	for _, way := range w.ways {
		if way.begins && differencesOf(t, d).BeginsReadWrite {
			continue
		}
		for range 2 {
			all.Go(func() {
				for tries := 0; ; tries++ {
					err := w.write(way)
					if err == nil {
						break
					}
					if tries > 0 || state(err) != "25006" {
						t.Errorf("%s: error %d: %v", way.name, tries+1, err)
						break
					}
				}
			})
		}
	}
	all.Wait()
	for range limit {
		for _, way := range w.ways {
			if err := w.write(way); err != nil {
				t.Errorf("%s: %v", way.name, err)
			}
		}
	}
	w.check(t, p.onStandby)
	if n := scalar[int](t, p.onPrimary, "select count(*) from t"); n != before {
		t.Errorf("the old primary has %d rows, want %d", n, before)
	}
	p.settled(t, db)
	conns = conns[:0]
	for range limit { // so that each is looked at
		c, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, c)
	}
	for _, c := range conns {
		c.Close()
	}
	eventually(t, "no connection to the old primary is open", func() bool {
		return scalar[int](t, p.onPrimary, "select count(*) from pg_stat_activity where application_name = 'gated'") == 0
	})
}

// testRoles opens pools of both servers for each role.
func testRoles(t *testing.T, d Driver, p *pair) {
	for role, standby := range map[string]bool{
		"read-write":     false,
		"primary":        false,
		"standby":        true,
		"prefer-standby": true,
		"any":            false,
		"read-only":      true,
	} {
		t.Run(role+" finds its server", func(t *testing.T) {
			db, err := d.Open(withOption(p.dsn, "target_session_attrs", role), poolgate.Config{Gate: gate.Config{Limit: 1}})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			var got bool
			err = db.QueryRow("select pg_is_in_recovery()").Scan(&got)
			if role == "read-only" && !differencesOf(t, d).ReadOnlyIsStandby {
				if err == nil {
					t.Error("a standby counts as read-only")
				}
				return
			}
			if err != nil || got != standby {
				t.Errorf("the server is a standby: %v, want %v (%v)", got, standby, err)
			}
		})
	}
}

// testSilentRole connects to a server that lets everybody in and then says
// nothing.
func testSilentRole(t *testing.T, d Driver) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer client.Close()
				io.ReadFull(client, make([]byte, 8)) // the length and the version of the first message
				client.Write([]byte("R\x00\x00\x00\x08\x00\x00\x00\x00" + "Z\x00\x00\x00\x05I"))
				io.Copy(io.Discard, client)
			})
		}
	})
	t.Cleanup(func() { listener.Close(); serving.Wait() })
	dsn := "postgres://me@" + listener.Addr().String() + "/db?sslmode=disable&target_session_attrs=read-write"

	t.Run("is given up after connect_timeout", func(t *testing.T) {
		db, err := d.Open(dsn+"&connect_timeout=1", poolgate.Config{Gate: gate.Config{Limit: 1}})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		if _, err := db.ExecContext(ctx, "select 1"); err == nil || ctx.Err() != nil {
			t.Errorf("got %v", err)
		}
	})
	t.Run("is given up with the context", func(t *testing.T) {
		db, err := d.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1}})
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		if _, err := db.ExecContext(ctx, "select 1"); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
	})
}

// A pair is a primary and its standby, for one test.
type pair struct {
	primary, standby     *pgserver.Server
	onPrimary, onStandby *sql.DB // which pass no gate
	dsn                  string  // of whichever can be written to
}

func newPair(t *testing.T) *pair {
	t.Helper()
	primary := pgserver.OwnForTest(t)
	standby := primary.StandbyForTest(t)
	ignored := goleak.IgnoreCurrent()
	t.Cleanup(func() { goleak.VerifyNone(t, ignored) })
	first, err := url.Parse(primary.DSN())
	if err != nil {
		t.Fatal(err)
	}
	second, err := url.Parse(standby.DSN())
	if err != nil {
		t.Fatal(err)
	}
	first.Host += "," + second.Host
	p := &pair{primary: primary, standby: standby}
	p.dsn = withOption(withOption(first.String(), "application_name", "gated"), "target_session_attrs", "read-write")
	return p
}

func (p *pair) open(t *testing.T, d Driver, config poolgate.Config) *poolgate.DB {
	t.Helper()
	observer := func(s *pgserver.Server) *sql.DB {
		connector, err := d.Connector(s.DSN())
		if err != nil {
			t.Fatal(err)
		}
		db := sql.OpenDB(connector)
		t.Cleanup(func() { db.Close() })
		return db
	}
	p.onPrimary, p.onStandby = observer(p.primary), observer(p.standby)
	db, err := d.Open(p.dsn, config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func (p *pair) settled(t *testing.T, db *poolgate.DB) {
	t.Helper()
	eventually(t, "no permit is held, nobody waits and no connection is in use", func() bool {
		s := db.Gate().Stats()
		return s.InFlight == 0 && s.Waiting == 0 && db.Stats().InUse == 0
	})
}

// A writer writes rows and reads them, and knows which the server has
// acknowledged.
type writer struct {
	db     *poolgate.DB
	ways   []way
	last   atomic.Int64
	mu     sync.Mutex // guards what follows
	stored []int64
}

// A way is how a row gets into the table.
type way struct {
	name   string
	begins bool // it is a transaction
	write  func(ctx context.Context, id int64, text string) error
}

func newWriter(t *testing.T, db *poolgate.DB) *writer {
	t.Helper()
	const insert, sel = "insert into t values ($1, $2)", "select v, id from t where id = $1"
	if _, err := db.ExecContext(t.Context(), "create table t (id int8 primary key, v text)"); err != nil {
		t.Fatal(err)
	}
	prepare := func(query string) *sql.Stmt {
		stmt, err := db.PrepareContext(t.Context(), query)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { stmt.Close() })
		return stmt
	}
	inserts, selects := prepare(insert), prepare(sel)
	read := func(row *sql.Row, id int64, text string) error {
		var gotText string
		var gotID int64
		if err := row.Scan(&gotText, &gotID); err != nil {
			return err
		}
		if gotText != text || gotID != id {
			t.Errorf("row %d: got %d, %q", id, gotID, gotText)
		}
		return nil
	}
	w := &writer{db: db}
	w.ways = []way{
		{"Exec", false, func(ctx context.Context, id int64, text string) error {
			if _, err := db.ExecContext(ctx, insert, id, text); err != nil {
				return err
			}
			return read(db.QueryRowContext(ctx, sel, id), id, text)
		}},
		{"a Stmt", false, func(ctx context.Context, id int64, text string) error {
			if _, err := inserts.ExecContext(ctx, id, text); err != nil {
				return err
			}
			return read(selects.QueryRowContext(ctx, id), id, text)
		}},
		{"Query", false, func(ctx context.Context, id int64, text string) error {
			return read(db.QueryRowContext(ctx, insert+" returning v, id", id, text), id, text)
		}},
		{"a transaction", true, func(ctx context.Context, id int64, text string) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			if _, err := tx.StmtContext(ctx, inserts).ExecContext(ctx, id, text); err != nil {
				return err
			}
			if err := read(tx.QueryRowContext(ctx, sel, id), id, text); err != nil {
				return err
			}
			return tx.Commit()
		}},
	}
	return w
}

// write stores a row, and reads it back.
func (w *writer) write(way way) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	id := w.last.Add(1)
	err := way.write(ctx, id, fmt.Sprint("row ", id))
	if err == nil {
		w.mu.Lock()
		w.stored = append(w.stored, id)
		w.mu.Unlock()
	}
	return err
}

func (w *writer) acknowledged() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.stored)
}

// check looks whether the server of db has what was acknowledged.
func (w *writer) check(t *testing.T, db *sql.DB) {
	t.Helper()
	rows, err := db.QueryContext(t.Context(), "select id from t")
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	there := map[int64]bool{}
	for rows.Next() {
		var id int64
		if err := rows.Scan(&id); err != nil {
			t.Fatal(err)
		}
		there[id] = true
	}
	if err := rows.Err(); err != nil {
		t.Fatal(err)
	}
	for _, id := range w.stored {
		if !there[id] {
			t.Errorf("row %d was acknowledged and is lost", id)
		}
	}
	if len(w.stored) == 0 {
		t.Error("nothing was stored")
	}
}
