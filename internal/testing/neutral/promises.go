package neutral

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/poolgate/poolgate/internal/sqlstate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/rows"
	"github.com/poolgate/poolgate/poolgate/session"
)

// A promise is what poolgate promises of a pool, whatever its driver.
type promise struct {
	name    string
	several bool // it needs several connections to one database
	test    func(*testing.T, Database, way)
}

var promises = []promise{
	{"limit", true, testLimit},
	{"permits", false, testPermits},
	{"refusals", false, testRefusals},
	{"deadlocks", false, testDeadlocks},
	{"out of band", true, testOutOfBand},
	{"read only", true, testReadOnly},
	{"writers", true, testWriters},
	{"sessions", false, testSessions},
	{"gather", false, testGather},
	{"rows", false, testRows},
}

// testLimit has many callers read at once.
func testLimit(t *testing.T, d Database, w way) {
	const limit = 3
	db := d.open(t, w, gate.Config{Limit: limit})
	d.table(t, db)
	var inside, most atomic.Int64
	var all sync.WaitGroup
	for range 20 {
		all.Go(func() {
			for range 5 {
				tx, err := db.BeginTx(t.Context(), nil)
				if err != nil {
					t.Error(err)
					return
				}
				n := inside.Add(1)
				for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
				}
				count(t, tx)
				inside.Add(-1)
				if err := tx.Rollback(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := most.Load(); n > limit || n < 1 {
		t.Errorf("%d transactions were open at once, the limit is %d", n, limit)
	}
	if s := db.Gate().Stats(); s.Acquired < 100 || s.Refused() > 0 {
		t.Errorf("stats: %+v", s)
	}
	if n := db.Stats().OpenConnections; n > limit {
		t.Errorf("%d connections are open", n)
	}
}

// testPermits looks how long a permit is held.
func testPermits(t *testing.T, d Database, w way) {
	db := d.open(t, w, gate.Config{Limit: 2})
	d.table(t, db)
	ctx := t.Context()
	held := func(want int, when string) {
		t.Helper()
		if got := db.Gate().Stats().InFlight; got != want {
			t.Errorf("%s: %d permits are held, want %d", when, got, want)
		}
	}
	if _, err := db.ExecContext(ctx, "INSERT INTO n VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	held(0, "after Exec")
	rs, err := db.QueryContext(ctx, "SELECT i FROM n")
	if err != nil {
		t.Fatal(err)
	}
	held(1, "with rows open")
	rs.Close()
	held(0, "with rows closed")
	stmt, err := db.PrepareContext(ctx, d.sql("SELECT i FROM n WHERE i = ?"))
	if err != nil {
		t.Fatal(err)
	}
	defer stmt.Close()
	held(0, "with a statement")
	var i int
	if err := stmt.QueryRowContext(ctx, 1).Scan(&i); err != nil || i != 1 {
		t.Errorf("got %d, %v", i, err)
	}
	held(0, "after a statement")
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	held(1, "in a transaction")
	if err := tx.Commit(); err != nil {
		t.Error(err)
	}
	held(0, "after a transaction")
	conn, err := db.Conn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	held(1, "with a Conn")
	conn.Close()
	held(0, "after a Conn")
	cancelled, cancel := context.WithCancel(ctx)
	if _, err := db.BeginTx(cancelled, nil); err != nil {
		t.Fatal(err)
	}
	cancel()
	eventually(t, "the permit of a transaction comes back whose context has ended", func() bool { return db.Gate().Stats().InFlight == 0 })
}

// testRefusals has the gate refuse.
func testRefusals(t *testing.T, d Database, w way) {
	db := d.open(t, w, gate.Config{Limit: 1, MaxWaiting: gate.NoWaiting})
	d.table(t, db)
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	refused := make(chan error, 1)
	go func() { // another goroutine: this one would wait for itself
		_, err := db.ExecContext(t.Context(), "INSERT INTO n VALUES (1)")
		refused <- err
	}()
	if err := <-refused; !errors.Is(err, gate.ErrQueueFull) {
		t.Errorf("got %v", err)
	}
	if n := count(t, conn); n != 0 {
		t.Errorf("there are %d rows", n)
	}
}

// testDeadlocks has a caller wait for itself.
func testDeadlocks(t *testing.T, d Database, w way) {
	db := d.open(t, w, gate.Config{Limit: 1})
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	_, err = db.ExecContext(t.Context(), "SELECT 1")
	if !errors.Is(err, gate.ErrDeadlock) {
		t.Errorf("got %v", err)
	}
}

// testOutOfBand reads besides a transaction.
func testOutOfBand(t *testing.T, d Database, w way) {
	db := d.open(t, w, gate.Config{Limit: 1})
	d.table(t, db)
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer tx.Rollback()
	if _, err := tx.ExecContext(t.Context(), "INSERT INTO n VALUES (1)"); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db.OutOfBand()); n != 0 {
		t.Errorf("it sees %d rows of a transaction that is not committed", n)
	}
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}
	if n := count(t, db.OutOfBand()); n != 1 {
		t.Errorf("it sees %d rows", n)
	}
	if _, err := db.OutOfBand().BeginTx(t.Context(), nil); !errors.Is(err, poolgate.ErrOutOfBand) {
		t.Errorf("a transaction out of band: %v", err)
	}
}

// testReadOnly reads by a view that only PostgreSQL knows.
func testReadOnly(t *testing.T, d Database, w way) {
	db := d.open(t, w, gate.Config{Limit: 1})
	d.table(t, db)
	_, err := db.OutOfBandReadOnly().ExecContext(t.Context(), "INSERT INTO n VALUES (1)")
	if d.PostgreSQL {
		if sqlstate.Of(err) != "25006" {
			t.Errorf("got %v", err)
		}
	} else {
		needsPostgreSQL(t, "OutOfBandReadOnly", err)
	}
	if n := count(t, db); n != 0 {
		t.Errorf("there are %d rows", n)
	}
}

// needsPostgreSQL checks that err says that what needs PostgreSQL.
func needsPostgreSQL(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), what) || !strings.Contains(err.Error(), "PostgreSQL") {
		t.Errorf("%s: the error does not say that it needs PostgreSQL: %v", what, err)
	}
}

// testWriters has a class of one for those that write.
func testWriters(t *testing.T, d Database, w way) {
	db := d.open(t, w, gate.Config{Limit: 6, Classes: []gate.Class{{Name: "writers", Max: 1}}})
	d.table(t, db)
	writers := db.Class("writers")
	ctx := t.Context()

	tx, err := writers.BeginTx(ctx, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.ExecContext(ctx, "INSERT INTO n VALUES (-1)"); err != nil {
		t.Fatal(err)
	}
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			if n := count(t, db); n != 0 {
				t.Errorf("a reader sees %d rows of a transaction that is not committed", n)
			}
		})
	}
	readers.Wait()
	if err := tx.Commit(); err != nil {
		t.Fatal(err)
	}

	const callers = 30
	var inside atomic.Int64
	var all sync.WaitGroup
	for i := range callers {
		all.Go(func() {
			tx, err := writers.BeginTx(ctx, nil)
			if err != nil {
				t.Error(err)
				return
			}
			defer tx.Rollback()
			if n := inside.Add(1); n > 1 {
				t.Errorf("%d writers are inside", n)
			}
			n := count(t, tx) // then it writes: with SQLite two of these would fail
			_, err = tx.ExecContext(ctx, d.sql("INSERT INTO n VALUES (?)"), i)
			if err != nil || n < 1 {
				t.Errorf("writer %d: %d rows, %v", i, n, err)
			}
			inside.Add(-1)
			if err := tx.Commit(); err != nil {
				t.Error(err)
			}
			count(t, db) // as a reader
		})
	}
	all.Wait()
	if n := count(t, db); n != callers+1 {
		t.Errorf("there are %d rows, want %d", n, callers+1)
	}
}

// testSessions has units of work.
func testSessions(t *testing.T, d Database, w way) {
	db := d.open(t, w, gate.Config{Limit: 2})
	d.table(t, db)
	ctx := t.Context()
	insert := func(ctx context.Context, i int) error {
		_, err := session.DB(ctx, db.DB).ExecContext(ctx, d.sql("INSERT INTO n VALUES (?)"), i)
		return err
	}
	failure := errors.New("undone")

	err := session.Run(ctx, func(ctx context.Context) error { return errors.Join(insert(ctx, 1), insert(ctx, 2)) })
	if err != nil || count(t, db) != 2 {
		t.Errorf("a unit: %v", err)
	}
	err = session.Run(ctx, func(ctx context.Context) error { return errors.Join(insert(ctx, 3), failure) })
	if !errors.Is(err, failure) || count(t, db) != 2 {
		t.Errorf("a unit that fails: %v", err)
	}
	err = session.Run(ctx, func(ctx context.Context) error {
		if err := insert(ctx, 3); err != nil {
			return err
		}
		err := session.Run(ctx, func(ctx context.Context) error { return errors.Join(insert(ctx, 4), failure) })
		if !errors.Is(err, failure) {
			t.Errorf("a nested Run: %v", err)
		}
		return session.Run(ctx, func(ctx context.Context) error { return insert(ctx, 5) })
	})
	if err != nil || count(t, db) != 4 {
		t.Errorf("nested Runs: %v", err)
	}
	attempts := 0
	err = session.Config{Attempts: 3}.Run(ctx, func(ctx context.Context) error {
		attempts++
		return insert(ctx, 1) // which is there
	})
	if err == nil || attempts != 1 {
		t.Errorf("a duplicate key: %v after %d attempts", err, attempts)
	}
	if n := count(t, db); n != 4 {
		t.Errorf("there are %d rows, want 4", n)
	}
}

// testGather gathers in every mode.
func testGather(t *testing.T, d Database, w way) {
	db := d.open(t, w, gate.Config{Limit: 3})
	d.table(t, db)
	ctx := t.Context()
	if _, err := db.ExecContext(ctx, "INSERT INTO n VALUES (10), (11), (12)"); err != nil {
		t.Fatal(err)
	}
	statements := make([]gather.SQL, 12)
	for i := range statements {
		statements[i] = gather.SQL{Query: d.sql("SELECT i FROM n WHERE i >= ? ORDER BY i"), Args: []any{10 + i%3}}
	}
	for _, options := range []gather.Options{
		{},
		{Consistency: gather.Serial},
		{Consistency: gather.Snapshot},
		{Consistency: gather.Pipelined, OrSerial: true},
	} {
		frozen, err := gather.Collect[int](ctx, db.DB, options, statements...)
		if options.Consistency != gather.Independent && !d.PostgreSQL {
			needsPostgreSQL(t, "gather: ", err)
			continue
		}
		if err != nil {
			t.Errorf("%v: %v", options.Consistency, err)
			continue
		}
		for i := range statements {
			if got, want := frozen[i], []int{10, 11, 12}[i%3:]; !slices.Equal(got.Rows(), want) {
				t.Errorf("%v: statement %d: %v, want %v", options.Consistency, i, got, want)
			}
		}
	}
	_, err := gather.Collect[int](ctx, db.DB, gather.Options{Consistency: gather.Pipelined}, statements...)
	if !d.PostgreSQL && !errors.Is(err, poolgate.ErrNoPipeline) {
		t.Errorf("pipelined: %v", err)
	}
	if n := count(t, db); n != 3 { // a database in memory goes with its connection
		t.Errorf("there are %d rows", n)
	}
}

// testRows reads and writes by package rows.
func testRows(t *testing.T, d Database, w way) {
	db := d.open(t, w, gate.Config{Limit: 2})
	ctx := t.Context()
	create := "CREATE TABLE p (id " + d.Key + ", name VARCHAR(20), score " + d.Double + ")"
	if _, err := db.ExecContext(ctx, create); err != nil {
		t.Fatal(err)
	}
	type person struct {
		ID    int64
		Name  string
		Score sql.Null[float64]
	}
	for _, name := range []string{"Ada", "Alan"} {
		if _, err := db.ExecContext(ctx, d.sql("INSERT INTO p (name, score) VALUES (?, ?)"), name, len(name)); err != nil {
			t.Fatal(err)
		}
	}
	people, err := rows.Collect[person](ctx, db, "SELECT * FROM p ORDER BY id")
	if err != nil || len(people) != 2 || people[0].Name != "Ada" || people[1].Score.V != 4 {
		t.Errorf("Collect: %v, %v", people, err)
	}
	name, err := rows.One[string](ctx, db, d.sql("SELECT name FROM p WHERE score = ?"), 3)
	if err != nil || name != "Ada" {
		t.Errorf("One: %q, %v", name, err)
	}
	var names []string
	for p, err := range rows.Stream[*person](ctx, db, "SELECT id, name FROM p ORDER BY id") {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, p.Name)
	}
	if !slices.Equal(names, []string{"Ada", "Alan"}) {
		t.Errorf("Stream: %v", names)
	}
	if _, err := rows.Collect[person](ctx, db, "SELECT *, 1 AS more FROM p"); !errors.Is(err, rows.ErrUnknownColumn) {
		t.Errorf("a column too many: %v", err)
	}

	type newPerson struct{ Name string }
	stored, err := rows.InsertMany[person](ctx, db, "p", []newPerson{{"Grace"}, {"Edsger"}})
	if d.PostgreSQL {
		if err != nil || len(stored) != 2 || stored[1].Name != "Edsger" {
			t.Errorf("InsertMany: %v, %v", stored, err)
		}
	} else {
		needsPostgreSQL(t, "InsertMany", err)
	}
	_, err = rows.LoadMany(ctx, db, people, func(p person) int64 { return p.ID }, func(p person) int64 { return p.ID },
		d.sql("SELECT * FROM p WHERE id = ANY(?)"))
	if d.PostgreSQL {
		if err != nil {
			t.Errorf("LoadMany: %v", err)
		}
	} else {
		needsPostgreSQL(t, "LoadMany", err)
	}
}
