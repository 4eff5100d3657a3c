package pgxpoolgate_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/poolgate/poolgate/adapters/internal/conformance"
	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/adapters/pgxpoolgate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/fleet"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/rows"
	"github.com/poolgate/poolgate/poolgate/session"
)

// A Pool's DB is one of database/sql as the adapters have it.
func TestConformanceOfTheDB(t *testing.T) { conformance.RunShared(t, &suite{}) }

// suite is the DB of a Pool as the conformance suite wants to know it.
type suite struct{ pools sync.Map } // by their DB

func (*suite) Name() string { return "pgx" }

func (s *suite) Open(dsn string, config poolgate.Config) (*poolgate.DB, error) {
	pool, err := pgxpoolgate.Open(dsn, pgxpoolgate.Config{Gate: config.Gate})
	if err != nil {
		return nil, err
	}
	s.pools.Store(pool.DB(), pool)
	return pool.DB(), nil
}

func (s *suite) Close(db *poolgate.DB) error {
	pool, ok := s.pools.Load(db)
	if !ok { // the suite has opened it
		return db.Close()
	}
	pool.(*pgxpoolgate.Pool).Close()
	return nil
}

func (*suite) Connector(dsn string) (conformance.Connector, error) { return pgxgate.NewConnector(dsn) }

var types = pgtype.NewMap()

func (*suite) Array(dest any) any { return types.SQLScanner(dest) }

func (*suite) Copy(ctx context.Context, db *poolgate.DB, table string, columns []string, rows [][]any) (n int64, err error) {
	conn, err := db.Conn(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	err = poolgate.Raw(conn, func(c *stdlib.Conn) error {
		n, err = c.Conn().CopyFrom(ctx, pgx.Identifier{table}, columns, pgx.CopyFromRows(rows))
		return err
	})
	return n, err
}

func (*suite) Raw(conn *sql.Conn, f func(pid int) error) error {
	return poolgate.Raw(conn, func(c *stdlib.Conn) error { return f(int(c.Conn().PgConn().PID())) })
}

// What takes a permit by one way is in the way of the other.
func TestOneLimitForThePoolAndItsDB(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		ctx, db := t.Context(), f.DB()
		tx, err := f.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan error, 1)
		go func() {
			var n int
			done <- db.QueryRowContext(ctx, "select 1").Scan(&n)
		}()
		eventually(t, "it waits", func() bool { return f.Gate().Stats().Waiting == 1 })
		native := pid(t, tx)
		if err := tx.Commit(ctx); err != nil {
			t.Error(err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		conn, err := db.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		f.held(t, 1, "a Conn of the DB")
		if s := db.Stats(); s.InUse != 1 || s.OpenConnections != 1 || s.Idle != 0 {
			t.Errorf("the DB's statistics are %+v", s)
		}
		var other int
		if err := conn.QueryRowContext(ctx, "select pg_backend_pid()").Scan(&other); err != nil || other != native {
			t.Errorf("the DB works on process %d, the Pool on %d: %v", other, native, err)
		}
		if _, err := f.Exec(ctx, "select 1"); !errors.Is(err, gate.ErrDeadlock) {
			t.Errorf("got %v", err)
		} else if n := strings.Count(err.Error(), "shared_test.go:"); n != 1 {
			t.Errorf("%d lines of the program in: %v", n, err)
		}
		conn.Close()
		f.usable(t)
		if n := f.Stat().TotalConns(); n != 1 {
			t.Errorf("%d connections are open", n)
		}
	})
}

// Each holds a connection by one way, and waits for one by the other.
func TestDeadlockOfThePoolAndItsDB(t *testing.T) {
	both(t, gate.Config{Limit: 2}, func(t *testing.T, f *fixture) {
		ctx, db := t.Context(), f.DB()
		var ready sync.WaitGroup
		ready.Add(2)
		errs := make(chan error, 2)
		go func() {
			errs <- pgx.BeginFunc(ctx, f, func(pgx.Tx) error {
				ready.Done()
				ready.Wait()
				_, err := db.ExecContext(ctx, "select 1")
				return err
			})
		}()
		go func() {
			errs <- func() error {
				tx, err := db.BeginTx(ctx, nil)
				if err != nil {
					return err
				}
				defer tx.Rollback()
				ready.Done()
				ready.Wait()
				_, err = f.Exec(ctx, "select 1")
				return err
			}()
		}()
		refused := 0
		for range 2 {
			err := <-errs
			if err == nil {
				continue
			}
			refused++
			if !errors.Is(err, gate.ErrDeadlock) || strings.Count(err.Error(), "shared_test.go:") != 2 {
				t.Errorf("got %v", err)
			}
		}
		if refused != 1 {
			t.Errorf("%d were refused", refused)
		}
		f.usable(t)
	})
}

func TestGatherOnAPool(t *testing.T) {
	both(t, gate.Config{Limit: 4}, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		if _, err := f.Exec(ctx, "create table accounts (id int primary key, amount int not null); insert into accounts select i, 10 from generate_series(1, 8) i"); err != nil {
			t.Fatal(err)
		}
		for _, o := range []gather.Options{
			{Consistency: gather.Independent},
			{Consistency: gather.Independent, Chunked: true, Limit: 2},
			{Consistency: gather.Snapshot},
			{Consistency: gather.Serial},
			{Consistency: gather.Pipelined},
			{Consistency: gather.Pipelined, ReadWrite: true},
		} {
			t.Run(fmt.Sprintf("%v %v", o.Consistency, o.ReadWrite), func(t *testing.T) {
				for range 3 { // with statements that are prepared already
					before := f.Gate().Stats().Acquired
					amounts := make([]int, 8)
					var ids []int
					statements := []gather.Statement{gather.Query(&ids, "select id from accounts order by id")}
					for i := range amounts {
						statements = append(statements, gather.One(&amounts[i], "select amount from accounts where id = $1", i+1))
					}
					if o.ReadWrite {
						statements = append(statements, gather.Exec(nil, "update accounts set amount = amount where id = $1", 1))
					}
					if err := gather.Run(ctx, f.DB(), o, statements...); err != nil {
						t.Fatal(err)
					}
					if len(ids) != 8 || slices.ContainsFunc(amounts, func(n int) bool { return n != 10 }) {
						t.Errorf("got %v, %v", ids, amounts)
					}
					if n := f.Gate().Stats().Acquired - before; o.Consistency >= gather.Serial && n != 1 {
						t.Errorf("%d permits", n)
					}
				}
				wrong := gather.Discard("select 1 / (amount - 10) from accounts")
				if err := gather.Run(ctx, f.DB(), o, wrong, gather.Discard("select 1")); err == nil {
					t.Error("no error")
				}
				f.usable(t)
			})
		}
	})
}

func TestSessionAndRowsOnAPool(t *testing.T) {
	both(t, gate.Config{Limit: 2}, func(t *testing.T, f *fixture) {
		ctx, db := t.Context(), f.DB().DB
		if _, err := f.Exec(ctx, "create table items (id int primary key, name text)"); err != nil {
			t.Fatal(err)
		}
		type item struct {
			ID   int
			Name string
		}
		items := []item{{1, "one"}, {2, "two"}, {3, "three"}}
		insert := func(fail error) error {
			return session.Run(ctx, func(ctx context.Context) error {
				if _, err := session.DB(ctx, db).ExecContext(ctx, "insert into items values (0, 'zero')"); err != nil {
					return err
				}
				f.held(t, 1, "a unit of work")
				if _, err := rows.InsertMany[item](ctx, session.DB(ctx, db), "items", items); err != nil {
					return err
				}
				return fail
			})
		}
		if err := insert(errOwn); err != errOwn {
			t.Errorf("got %v", err)
		}
		if err := insert(nil); err != nil {
			t.Fatal(err)
		}
		all, err := rows.Collect[item](ctx, db, "select id, name from items where id > $1 order by id", 0)
		if err != nil || !slices.Equal(all, items) {
			t.Errorf("got %v, %v", all, err)
		}
		var n int
		if err := f.QueryRow(ctx, "select count(*) from items").Scan(&n); err != nil || n != 4 {
			t.Errorf("%d rows, %v", n, err)
		}
		f.usable(t)
	})
}

// A fleet bounds the connections of both, and closes what is over.
func TestFleetOfPools(t *testing.T) {
	both(t, gate.Config{Limit: 6, OutOfBand: gate.NoOutOfBand}, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		f.usable(t)
		if n := f.Stat().TotalConns(); n != 6 {
			t.Fatalf("%d connections are open", n)
		}
		member, err := fleet.Join(ctx, f.DB(), fleet.Config{Name: "pools", Budget: 2})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "no more connections than the budget are open", func() bool { return f.Stat().TotalConns() <= 2 })
		eventually(t, "the store is asked", func() bool { return member.Stats().Heartbeats > 0 })
		if err := member.Leave(ctx); err != nil {
			t.Error(err)
		}
	})
}

// What becomes idle later is closed, too, by whatever way it was taken.
func TestShareThatShrinksClosesWhatIsGivenBack(t *testing.T) {
	both(t, gate.Config{Limit: 4, OutOfBand: gate.NoOutOfBand}, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		tx, err := f.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := f.DB().Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		rest, err := f.Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		f.DB().SetShare(1, time.Now().Add(time.Hour))
		if err := tx.Commit(ctx); err != nil {
			t.Error(err)
		}
		conn.Close()
		eventually(t, "two of three are closed", func() bool { return f.Stat().TotalConns() == 1 })
		rest.Release()
		f.usable(t)
		f.DB().SetShare(4, time.Time{})
		f.usable(t)
		if n := f.Stat().TotalConns(); n != 4 {
			t.Errorf("%d connections are open", n)
		}
	})
}

func TestUngatedIsNoConnectionOfThePool(t *testing.T) {
	both(t, gate.Config{Limit: 1, OutOfBand: gate.NoOutOfBand}, func(t *testing.T, f *fixture) {
		tx, err := f.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range 3 {
			var n int
			if err := f.DB().Ungated().QueryRow("select $1::int", i).Scan(&n); err != nil || n != i {
				t.Errorf("%d, %v", n, err)
			}
		}
		f.held(t, 1, "a transaction, and a call of Ungated")
		if err := tx.Rollback(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
