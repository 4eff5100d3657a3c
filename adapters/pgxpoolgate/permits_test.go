package pgxpoolgate_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/georgysavva/scany/v2/pgxscan"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/poolgate/poolgate/adapters/pgxpoolgate"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// What sqlc generates for pgx/v5, and what pgx's own functions and scany take.
var (
	_ interface {
		Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
		Query(context.Context, string, ...any) (pgx.Rows, error)
		QueryRow(context.Context, string, ...any) pgx.Row
		CopyFrom(context.Context, pgx.Identifier, []string, pgx.CopyFromSource) (int64, error)
		SendBatch(context.Context, *pgx.Batch) pgx.BatchResults
	} = (*pgxpoolgate.Pool)(nil)
	_ pgxscan.Querier = (*pgxpoolgate.Pool)(nil)
	_ pgxscan.Querier = (*pgxpoolgate.Conn)(nil)

	// What River's driver for pgx executes its statements on.
	_ interface {
		Begin(context.Context) (pgx.Tx, error)
		CopyFrom(context.Context, pgx.Identifier, []string, pgx.CopyFromSource) (int64, error)
		Exec(context.Context, string, ...any) (pgconn.CommandTag, error)
		Query(context.Context, string, ...any) (pgx.Rows, error)
		QueryRow(context.Context, string, ...any) pgx.Row
	} = (*pgxpoolgate.Pool)(nil)
)

func TestRowsHoldThePermitUntilTheyAreClosed(t *testing.T) {
	both(t, gate.Config{Limit: 3}, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		const three = "select n from generate_series(1, 3) n"
		query := func() pgx.Rows {
			t.Helper()
			rows, err := f.Query(ctx, three)
			if err != nil {
				t.Fatal(err)
			}
			f.held(t, 1, "rows that are open")
			return rows
		}
		rows := query()
		rows.Next()
		f.held(t, 1, "rows that are read")
		rows.Close()
		f.held(t, 0, "rows that are closed")
		rows.Close()
		if rows.Next() {
			t.Error("a row of rows that are closed")
		}

		rows = query()
		for rows.Next() {
			f.held(t, 1, "rows that are read")
		}
		f.held(t, 0, "rows that were read to their end")
		if err := rows.Err(); err != nil || rows.CommandTag().RowsAffected() != 3 {
			t.Errorf("%v, %v", err, rows.CommandTag())
		}

		rows = query()
		rows.Next()
		var wrong time.Time
		if err := rows.Scan(&wrong); err == nil {
			t.Error("a number is scanned as a time")
		}
		f.held(t, 0, "rows whose Scan failed")

		all, err := pgx.CollectRows(query(), pgx.RowTo[int])
		if err != nil || len(all) != 3 {
			t.Errorf("%v, %v", all, err)
		}
		f.held(t, 0, "rows that were collected")

		if v := panics(func() {
			pgx.CollectRows(query(), func(pgx.CollectableRow) (int, error) { panic("own") })
		}); v != "own" {
			t.Errorf("got %v", v)
		}
		f.usable(t)
		if err := pgxscan.Select(ctx, f, &all, three); err != nil || len(all) != 3 {
			t.Errorf("scany: %v, %v", all, err)
		}
		f.held(t, 0, "after scany")
	})
}

func TestQueryThatFailsHoldsNoPermit(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		rows, err := f.Query(ctx, "select nothing")
		said, ok := errors.AsType[*pgconn.PgError](err)
		if !ok || said.Code != "42703" || rows == nil || rows.Next() || !errors.Is(rows.Err(), said) {
			t.Errorf("got %v", err)
		}
		f.held(t, 0, "after Query")
		if err := f.QueryRow(ctx, "select nothing").Scan(new(int)); err == nil {
			t.Error("no error")
		}
		f.held(t, 0, "after QueryRow")
		if _, err := f.Exec(ctx, "select nothing"); err == nil {
			t.Error("no error")
		}
		f.held(t, 0, "after Exec")
		if _, err := f.Query(ctx, "select $1", 1, 2); err == nil {
			t.Error("no error of two arguments for one")
		}
		f.held(t, 0, "after Query with a wrong number of arguments")
		if _, err := f.BeginTx(ctx, pgx.TxOptions{BeginQuery: "begin nonsense"}); err == nil {
			t.Error("no error")
		}
		f.settled(t)
		if err := f.QueryRow(ctx, "select 1 where false").Scan(new(int)); err != pgx.ErrNoRows {
			t.Errorf("got %v", err)
		}
		// The error comes with the second row.
		rows, err = f.Query(ctx, "select 1 / (2 - n) from generate_series(1, 3) n")
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
		}
		f.held(t, 0, "after rows that failed")
		if rows.Err() == nil {
			t.Error("no error")
		}
		f.usable(t)
	})
}

func TestRowHoldsThePermitUntilScan(t *testing.T) {
	both(t, gate.Config{Limit: 1, LeakAfter: time.Millisecond}, func(t *testing.T, f *fixture) {
		leaks := make(chan gate.Leak, 10)
		defer f.Gate().Observe(gate.Observer{Leak: func(l gate.Leak) { leaks <- l }})()
		row := f.QueryRow(t.Context(), "select 41 + 1")
		f.held(t, 1, "a row before Scan")
		select {
		case <-leaks: // which is how a row that is never scanned is found
		case <-time.After(patience):
			t.Error("it is not reported as a leak")
		}
		if all := f.Gate().Holders(); len(all) != 1 || all[0].Statement != "select ? + ?" || !all[0].Running {
			t.Errorf("the holders are %+v", all)
		}
		var n int
		if err := row.Scan(&n); err != nil || n != 42 {
			t.Errorf("%d, %v", n, err)
		}
		f.held(t, 0, "a row after Scan")
		if err := row.Scan(&n); err != pgx.ErrNoRows {
			t.Errorf("a second Scan: %v", err)
		}
		f.held(t, 0, "after a second Scan")

		if v := panics(func() { f.QueryRow(t.Context(), "select 1").Scan(panicking{}) }); v != "own" {
			t.Errorf("got %v", v)
		}
		f.usable(t)
	})
}

// panicking is a destination that panics.
type panicking struct{}

func (panicking) ScanRow(pgx.Rows) error { panic("own") }

func TestTransactionHoldsThePermitUntilItsEnd(t *testing.T) {
	both(t, gate.Config{Limit: 2}, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		if _, err := f.Exec(ctx, "create table t (n int unique deferrable initially deferred)"); err != nil {
			t.Fatal(err)
		}
		tx, err := f.BeginTx(ctx, pgx.TxOptions{IsoLevel: pgx.RepeatableRead})
		if err != nil {
			t.Fatal(err)
		}
		f.held(t, 1, "a transaction")
		if _, err := tx.Exec(ctx, "insert into t values (1)"); err != nil {
			t.Error(err)
		}
		nested, err := tx.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := nested.Exec(ctx, "insert into t values (2)"); err != nil {
			t.Error(err)
		}
		if err := nested.Rollback(ctx); err != nil {
			t.Error(err)
		}
		f.held(t, 1, "a savepoint's end")
		rows, err := tx.Query(ctx, "select n from t")
		if err != nil {
			t.Fatal(err)
		}
		if all, err := pgx.CollectRows(rows, pgx.RowTo[int]); err != nil || len(all) != 1 {
			t.Errorf("%v, %v", all, err)
		}
		f.held(t, 1, "rows of a transaction that are closed")
		if err := tx.Commit(ctx); err != nil {
			t.Error(err)
		}
		f.held(t, 0, "a commit")
		if err := tx.Rollback(ctx); err != pgx.ErrTxClosed {
			t.Errorf("got %v", err)
		}
		if err := tx.Commit(ctx); err != pgx.ErrTxClosed {
			t.Errorf("got %v", err)
		}
		if _, err := tx.Exec(ctx, "select 1"); err != pgx.ErrTxClosed {
			t.Errorf("got %v", err)
		}
		f.held(t, 0, "calls after the end")

		// A commit that fails.
		tx, err = f.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(ctx, "insert into t values (1)"); err != nil {
			t.Error(err)
		}
		if err := tx.Commit(ctx); err == nil {
			t.Error("a duplicate is committed")
		}
		f.settled(t)

		for name, end := range map[string]func(pgx.Tx) error{
			"nil":      func(pgx.Tx) error { return nil },
			"an error": func(pgx.Tx) error { return errOwn },
			"a failed statement": func(tx pgx.Tx) error {
				_, err := tx.Exec(ctx, "select nothing")
				return err
			},
			"rows that are left open": func(tx pgx.Tx) error {
				_, err := tx.Query(ctx, "select generate_series(1, 100000)")
				return errors.Join(err, errOwn)
			},
		} {
			err := pgx.BeginFunc(ctx, f, func(tx pgx.Tx) error {
				f.held(t, 1, "BeginFunc")
				return end(tx)
			})
			if (err == nil) != (name == "nil") {
				t.Errorf("%s: %v", name, err)
			}
			f.settled(t)
		}
		if v := panics(func() { pgx.BeginFunc(ctx, f, func(pgx.Tx) error { panic("own") }) }); v != "own" {
			t.Errorf("got %v", v)
		}
		f.usable(t)
	})
}

func TestConnHoldsThePermitUntilRelease(t *testing.T) {
	both(t, gate.Config{Limit: 2}, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		conn, err := f.Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		f.held(t, 1, "a Conn")
		first := pid(t, conn)
		tx, err := conn.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if pid(t, tx) != first {
			t.Error("the transaction is on another connection")
		}
		if err := tx.Commit(ctx); err != nil {
			t.Error(err)
		}
		if err := conn.Ping(ctx); err != nil {
			t.Error(err)
		}
		if err := conn.SendBatch(ctx, batch("select 1", "select 2")).Close(); err != nil {
			t.Error(err)
		}
		f.held(t, 1, "a Conn that was used")
		conn.Release()
		f.held(t, 0, "a Conn that was released")
		conn.Release()
		f.held(t, 0, "a Conn that was released twice")
		if pid(t, f) != first {
			t.Error("the connection was not kept")
		}

		// An open transaction, or open rows, do not outlast the Conn.
		for _, leave := range []string{"begin", "select generate_series(1, 100000)"} {
			conn, err := f.Acquire(ctx)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := conn.Query(ctx, leave); err != nil {
				t.Error(err)
			}
			conn.Release()
			f.usable(t)
		}

		if err := f.AcquireFunc(ctx, func(c *pgxpoolgate.Conn) error {
			f.held(t, 1, "AcquireFunc")
			return errOwn
		}); err != errOwn {
			t.Errorf("got %v", err)
		}
		f.held(t, 0, "after AcquireFunc")
		if v := panics(func() { f.AcquireFunc(ctx, func(*pgxpoolgate.Conn) error { panic("own") }) }); v != "own" {
			t.Errorf("got %v", v)
		}
		f.held(t, 0, "after a panic")

		conn, err = f.Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		own := conn.Hijack()
		f.held(t, 0, "a connection that was hijacked")
		if v := panics(func() { conn.Hijack() }); v == nil {
			t.Error("Hijack a second time does not panic")
		}
		conn.Release()
		if _, err := own.Exec(ctx, "select 1"); err != nil {
			t.Error(err)
		}
		if err := own.Close(ctx); err != nil {
			t.Error(err)
		}
		f.usable(t)
	})
}

func TestAcquireAllIdleTakesAPermitForEach(t *testing.T) {
	both(t, gate.Config{Limit: 2}, func(t *testing.T, f *fixture) {
		f.usable(t) // opens two
		all := f.AcquireAllIdle(t.Context())
		if len(all) != 2 {
			t.Errorf("got %d", len(all))
		}
		f.held(t, 2, "all that were idle")
		for _, conn := range all {
			conn.Release()
		}
		// One permit and one connection are taken, and both idle connections are
		// not to be had with the other permit.
		permit, err := f.Gate().Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		all = f.AcquireAllIdle(t.Context())
		if len(all) != 1 {
			t.Errorf("got %d with one permit", len(all))
		}
		for _, conn := range all {
			conn.Release()
		}
		permit.Release()
		f.usable(t)
	})
}

func batch(statements ...string) *pgx.Batch {
	b := new(pgx.Batch)
	for _, s := range statements {
		b.Queue(s)
	}
	return b
}

func TestBatchHoldsThePermitUntilClose(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		br := f.SendBatch(ctx, batch("select 1", "select 2", "select 3"))
		f.held(t, 1, "a batch")
		var n int
		if err := br.QueryRow().Scan(&n); err != nil || n != 1 {
			t.Errorf("%d, %v", n, err)
		}
		if _, err := br.Exec(); err != nil {
			t.Error(err)
		}
		rows, err := br.Query()
		if err != nil {
			t.Error(err)
		}
		rows.Close()
		f.held(t, 1, "a batch whose results were read")
		if err := br.Close(); err != nil {
			t.Error(err)
		}
		f.held(t, 0, "a batch that is closed")
		if err := br.Close(); err != nil {
			t.Error(err)
		}

		br = f.SendBatch(ctx, batch("select 1", "select nothing"))
		if err := br.Close(); err == nil {
			t.Error("no error")
		} else if again := br.Close(); again != err {
			t.Errorf("first %v, then %v", err, again)
		}
		f.held(t, 0, "a batch that failed")

		br = f.SendBatch(ctx, new(pgx.Batch))
		f.held(t, 1, "an empty batch")
		br.Close()
		f.held(t, 0, "an empty batch that is closed")

		b := new(pgx.Batch)
		b.Queue("select 1").QueryRow(func(pgx.Row) error { panic("own") })
		if v := panics(func() { f.SendBatch(ctx, b).Close() }); v != "own" {
			t.Errorf("got %v", v)
		}
		f.usable(t)
	})
}

func TestBatchThatBeginsATransactionHoldsThePermitUntilItsEnd(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		b := new(pgx.Batch)
		b.BeginTx(pgx.TxOptions{})
		b.Queue("select 1")
		br := f.SendBatch(ctx, b)
		tx := br.Tx()
		if err := br.Close(); err != nil {
			t.Error(err)
		}
		f.held(t, 1, "the transaction of a batch")
		if _, err := tx.Exec(ctx, "select 1"); err != nil {
			t.Error(err)
		}
		if err := tx.Commit(ctx); err != nil {
			t.Error(err)
		}
		f.held(t, 0, "after its end")

		b = new(pgx.Batch)
		b.BeginTx(pgx.TxOptions{BeginQuery: "nonsense"})
		br = f.SendBatch(ctx, b)
		tx = br.Tx()
		if err := br.Close(); err == nil {
			t.Error("no error")
		}
		f.settled(t)
		if err := tx.Rollback(ctx); err != pgx.ErrTxClosed {
			t.Errorf("got %v", err)
		}
		if tx := f.SendBatch(ctx, batch("select 1")); tx.Tx() != nil {
			t.Error("a transaction of a batch that began none")
		} else {
			tx.Close()
		}
		f.usable(t)
	})
}

func TestCopyFromHoldsThePermitWhileItRuns(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		if _, err := f.Exec(ctx, "create table copied (n int)"); err != nil {
			t.Fatal(err)
		}
		copyFrom := func(source pgx.CopyFromSource) (int64, error) {
			return f.CopyFrom(ctx, pgx.Identifier{"copied"}, []string{"n"}, source)
		}
		n, err := copyFrom(pgx.CopyFromSlice(100, func(i int) ([]any, error) {
			if i == 50 {
				f.held(t, 1, "CopyFrom")
				if all := f.Gate().Holders(); len(all) != 1 || all[0].Statement != `copy "copied" from stdin` || !all[0].Running {
					t.Errorf("the holders are %+v", all)
				}
			}
			return []any{i}, nil
		}))
		if err != nil || n != 100 {
			t.Errorf("%d, %v", n, err)
		}
		f.held(t, 0, "after CopyFrom")
		if _, err := copyFrom(pgx.CopyFromSlice(100, func(i int) ([]any, error) { return nil, errOwn })); err == nil || !strings.Contains(err.Error(), errOwn.Error()) {
			t.Errorf("got %v", err)
		}
		f.usable(t)
	})
}

func TestRefusalArrivesAsItIs(t *testing.T) {
	both(t, gate.Config{Limit: 1, MaxWaiting: gate.NoWaiting, OutOfBand: gate.NoOutOfBand}, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		permit, err := f.Gate().Acquire(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for name, run := range map[string]func() error{
			"Acquire":     func() error { _, err := f.Acquire(ctx); return err },
			"AcquireFunc": func() error { return f.AcquireFunc(ctx, nil) },
			"Begin":       func() error { _, err := f.Begin(ctx); return err },
			"Exec":        func() error { _, err := f.Exec(ctx, "select 1"); return err },
			"Query":       func() error { _, err := f.Query(ctx, "select 1"); return err },
			"Rows":        func() error { rows, _ := f.Query(ctx, "select 1"); rows.Close(); return rows.Err() },
			"QueryRow":    func() error { return f.QueryRow(ctx, "select 1").Scan(nil) },
			"SendBatch":   func() error { return f.SendBatch(ctx, batch("select 1")).Close() },
			"CopyFrom":    func() error { _, err := f.CopyFrom(ctx, pgx.Identifier{"t"}, nil, nil); return err },
			"Ping":        func() error { return f.Ping(ctx) },
		} {
			err := run()
			if refused, ok := errors.AsType[*gate.RejectedError](err); !ok || !errors.Is(err, gate.ErrQueueFull) || refused.Limit != 1 {
				t.Errorf("%s: got %v", name, err)
			}
		}
		if all := f.AcquireAllIdle(ctx); len(all) != 0 {
			t.Errorf("AcquireAllIdle: got %d", len(all))
		}
		permit.Release()
		if v := panics(func() { f.OutOfBand() }); v == nil {
			t.Error("OutOfBand without a lane does not panic")
		}
	})
}

func TestClasses(t *testing.T) {
	config := gate.Config{Limit: 3, Classes: []gate.Class{{Name: "reports", Max: 1}}}
	both(t, config, func(t *testing.T, f *fixture) {
		inFlight := func() int { return f.Gate().Stats().Classes[1].InFlight }
		reports := f.Class("reports")
		row := reports.QueryRow(t.Context(), "select 1")
		if inFlight() != 1 {
			t.Error("the view's permit is of another class")
		}
		row.Scan(new(int))
		row = f.QueryRow(gate.WithClass(t.Context(), "reports"), "select 1")
		if inFlight() != 1 {
			t.Error("the context's permit is of another class")
		}
		row.Scan(new(int))
		_, err := f.Exec(gate.WithClass(t.Context(), "unknown"), "select 1")
		if !errors.Is(err, gate.ErrUnknownClass) {
			t.Errorf("got %v", err)
		}
		if v := panics(func() { f.Class("unknown") }); v == nil {
			t.Error("Class does not panic")
		}
	})
}

func TestOutOfBand(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		err := pgx.BeginFunc(ctx, f, func(tx pgx.Tx) error {
			lane := f.OutOfBand()
			if pid(t, lane) == pid(t, tx) {
				t.Error("it is on the transaction's connection")
			}
			if _, err := lane.Begin(ctx); !errors.Is(err, poolgate.ErrOutOfBand) {
				t.Errorf("got %v", err)
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestClose(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		ctx := t.Context()
		tx, err := f.Begin(ctx)
		if err != nil {
			t.Fatal(err)
		}
		waiting := make(chan error, 1)
		go func() {
			_, err := f.Exec(ctx, "select 1")
			waiting <- err
		}()
		eventually(t, "it waits", func() bool { return f.Gate().Stats().Waiting == 1 })
		closed := make(chan struct{})
		go func() {
			f.Close()
			close(closed)
		}()
		if err := <-waiting; !errors.Is(err, gate.ErrClosed) {
			t.Errorf("who waited got %v", err)
		}
		if _, err := f.Exec(ctx, "select 1"); !errors.Is(err, gate.ErrClosed) {
			t.Errorf("a call after Close got %v", err)
		}
		if _, err := tx.Exec(ctx, "select 1"); err != nil {
			t.Errorf("what holds a connection does not go on: %v", err)
		}
		select {
		case <-closed:
			t.Error("Close did not wait")
		default:
		}
		if err := tx.Commit(ctx); err != nil {
			t.Error(err)
		}
		<-closed
		f.Close()
		if n := f.Stat().TotalConns(); n != 0 {
			t.Errorf("%d connections are open", n)
		}
	})
}

func TestDrainIsBounded(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		row := f.QueryRow(t.Context(), "select 1")
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if err := f.Gate().Drain(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		if err := row.Scan(new(int)); err != nil {
			t.Error(err)
		}
	})
}

func TestResetReplacesConnections(t *testing.T) {
	both(t, gate.Config{Limit: 1}, func(t *testing.T, f *fixture) {
		first := pid(t, f)
		f.Reset()
		if pid(t, f) == first {
			t.Error("it is the same connection")
		}
	})
}
