package poolgate_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// A driver that answers driver.ErrBadConn may have sent the statement before. So
// it must not be called more often than by a bare pool, and a call that succeeds
// there must succeed here.
func TestSentAsOftenAsByABarePool(t *testing.T) {
	ctx := context.Background()
	const idle = 6
	ways := map[string]struct {
		call string // of the driver, that fails
		do   func(db *sql.DB) error
	}{
		"Exec":     {"exec", func(db *sql.DB) error { _, err := db.ExecContext(ctx, "x"); return err }},
		"Query":    {"query", func(db *sql.DB) error { return closeRows(db.QueryContext(ctx, "x")) }},
		"QueryRow": {"query", func(db *sql.DB) error { return ignoreNoRows(db.QueryRowContext(ctx, "x").Scan(new(int))) }},
		"Stmt.Exec": {"stmt.exec", func(db *sql.DB) error {
			stmt, err := db.PrepareContext(ctx, "x")
			if err != nil {
				return err
			}
			defer stmt.Close()
			_, err = stmt.ExecContext(ctx)
			return err
		}},
		"Stmt.Query": {"stmt.query", func(db *sql.DB) error {
			stmt, err := db.PrepareContext(ctx, "x")
			if err != nil {
				return err
			}
			defer stmt.Close()
			return closeRows(stmt.QueryContext(ctx))
		}},
		"Begin": {"begin", func(db *sql.DB) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			return tx.Rollback()
		}},
		"Conn.Exec": {"exec", func(db *sql.DB) error {
			conn, err := db.Conn(ctx)
			if err != nil {
				return err
			}
			defer conn.Close()
			_, err = conn.ExecContext(ctx, "x")
			return err
		}},
		"Tx.Exec": {"exec", func(db *sql.DB) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			defer tx.Rollback()
			_, err = tx.ExecContext(ctx, "x")
			return err
		}},
		"Tx.Commit": {"commit", func(db *sql.DB) error {
			tx, err := db.BeginTx(ctx, nil)
			if err != nil {
				return err
			}
			return tx.Commit()
		}},
	}
	// run fills a pool, and has the newest bad of its connections, or all that
	// there ever are, answer that they are bad.
	run := func(t *testing.T, db *sql.DB, r *recorder, bad int, call string, do func(*sql.DB) error) (times int, err error) {
		var conns []*sql.Conn
		for range idle {
			conn, err := db.Conn(ctx)
			must(t, err)
			conns = append(conns, conn)
		}
		for _, conn := range conns {
			must(t, conn.Close())
		}
		r.take()
		r.set(func(c string, n int) error {
			if c == call && (bad < 0 || n > idle-bad && n <= idle) {
				return driver.ErrBadConn
			}
			return nil
		})
		err = do(db)
		for _, e := range calls(r.take()) {
			if strings.HasPrefix(e, call+"#") {
				times++
			}
		}
		return times, err
	}
	for name, way := range ways {
		for _, bad := range []int{1, 2, 3, idle, -1} {
			bareRecorder := &recorder{shape: modern}
			bare := sql.OpenDB(bareRecorder)
			bare.SetMaxIdleConns(idle)
			want, wantErr := run(t, bare, bareRecorder, bad, way.call, way.do)
			bare.Close()
			for gated, opened := range map[string]func(*testing.T) (*poolgate.DB, *recorder){
				"OpenDB": func(t *testing.T) (*poolgate.DB, *recorder) { return openDB(t, limit(idle)) },
				"Wrap":   func(t *testing.T) (*poolgate.DB, *recorder) { return open(t, modern, limit(idle)) },
			} {
				t.Run(fmt.Sprintf("%s/%s/%d bad connections", gated, name, bad), func(t *testing.T) {
					db, r := opened(t)
					got, err := run(t, db.DB, r, bad, way.call, way.do)
					if got > want || (err == nil) != (wantErr == nil) {
						t.Errorf("sent %d times, %v; by a bare pool %d times, %v", got, err, want, wantErr)
					}
				})
			}
		}
	}
}

func closeRows(rows *sql.Rows, err error) error {
	if err != nil {
		return err
	}
	return rows.Close()
}

func ignoreNoRows(err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	return err
}

// A checkout of a seat that was used before is refused in another way than that
// of a new one, and the caller must not notice.
func TestRefusalsOfUsedSeats(t *testing.T) {
	ctx := context.Background()
	refusing := limit(1)
	refusing.Gate.MaxWaiting = gate.NoWaiting

	for name, do := range map[string]func(context.Context, *sql.DB, *sql.Stmt) error{
		"Exec": func(ctx context.Context, db *sql.DB, _ *sql.Stmt) error {
			_, err := db.ExecContext(ctx, "x")
			return err
		},
		"Exec with argument": func(ctx context.Context, db *sql.DB, _ *sql.Stmt) error { return execOnce(ctx, db) },
		"Query": func(ctx context.Context, db *sql.DB, _ *sql.Stmt) error {
			return closeRows(db.QueryContext(ctx, "x"))
		},
		"Prepare": func(ctx context.Context, db *sql.DB, _ *sql.Stmt) error {
			_, err := db.PrepareContext(ctx, "x")
			return err
		},
		"Begin": func(ctx context.Context, db *sql.DB, _ *sql.Stmt) error { _, err := db.BeginTx(ctx, nil); return err },
		"Ping":  func(ctx context.Context, db *sql.DB, _ *sql.Stmt) error { return db.PingContext(ctx) },
		"Conn":  func(ctx context.Context, db *sql.DB, _ *sql.Stmt) error { _, err := db.Conn(ctx); return err },
		"Stmt":  func(ctx context.Context, _ *sql.DB, s *sql.Stmt) error { _, err := s.ExecContext(ctx); return err },
		"Stmt with an argument": func(ctx context.Context, _ *sql.DB, s *sql.Stmt) error {
			_, err := s.ExecContext(ctx, 1)
			return err
		},
	} {
		t.Run(name+" returns the refusal, and the gate is asked once", func(t *testing.T) {
			db, r := openDB(t, refusing)
			db.SetMaxIdleConns(1)
			stmt, err := db.Prepare("x")
			must(t, err)
			defer stmt.Close()
			fillSeats(t, db, 5)
			permit, err := db.Gate().Acquire(ctx)
			must(t, err)
			r.take()
			for i := range uint64(3) {
				err := do(ctx, db.DB, stmt)
				if _, same := err.(*gate.RejectedError); !same || !errors.Is(err, gate.ErrQueueFull) {
					t.Errorf("got %T: %v", err, err)
				}
				if got := db.Gate().Stats().QueueFull; got != i+1 {
					t.Errorf("the gate was asked %d times for %d calls", got, i+1)
				}
			}
			if got := r.take(); len(got) > 0 {
				t.Errorf("the driver was called: %s", got)
			}
			permit.Release()
			must(t, execOnce(ctx, db.DB))
		})

		t.Run(name+" returns that the context ended while it waited", func(t *testing.T) {
			db, _ := openDB(t, limit(1))
			stmt, err := db.Prepare("x")
			must(t, err)
			defer stmt.Close()
			fillSeats(t, db, 5)
			permit, err := db.Gate().Acquire(ctx)
			must(t, err)
			short, cancel := context.WithTimeout(ctx, time.Millisecond)
			defer cancel()
			err = do(short, db.DB, stmt)
			if !errors.Is(err, context.DeadlineExceeded) || name != "Conn" && !errors.Is(err, gate.ErrCanceled) {
				t.Errorf("got %v", err)
			}
			if got := db.Gate().Stats().Canceled; got != 1 {
				t.Errorf("it waited %d times", got)
			}
			permit.Release()
			// The same goroutine's next calls know nothing of it.
			must(t, execOnce(ctx, db.DB))
			conn, err := db.Conn(ctx)
			must(t, err)
			must(t, conn.Close())
		})
	}

	t.Run("a connection that cannot be made is the driver's error", func(t *testing.T) {
		db, r := openDB(t, limit(3))
		fillSeats(t, db, 3)
		db.SetMaxIdleConns(0)
		waitFor(t, func() bool { return db.Stats().OpenConnections == 0 })
		refused := errors.New("connection refused")
		r.set(func(call string, _ int) error {
			if call == "connect" {
				return refused
			}
			return nil
		})
		connects := r.conns
		if err := execOnce(ctx, db.DB); err != refused {
			t.Errorf("Exec: %v", err)
		}
		if _, err := db.Conn(ctx); err != refused {
			t.Errorf("Conn: %v", err)
		}
		if n := r.conns - connects; n != 2 {
			t.Errorf("it was tried %d times", n)
		}
	})
}

// database/sql tries to connect again if the driver says driver.ErrBadConn.
func TestConnectingIsTriedAgain(t *testing.T) {
	ctx := context.Background()
	for _, used := range []bool{false, true} {
		for name, do := range map[string]func(*sql.DB) error{
			"Exec": func(db *sql.DB) error { return execOnce(ctx, db) },
			"Conn": func(db *sql.DB) error {
				conn, err := db.Conn(ctx)
				if err != nil {
					return err
				}
				return conn.Close()
			},
		} {
			db, r := openDB(t, limit(3))
			if used {
				fillSeats(t, db, 5)
			}
			db.SetMaxIdleConns(0)
			waitFor(t, func() bool { return db.Stats().OpenConnections == 0 })
			attempts := 0
			r.set(func(call string, _ int) error {
				if call != "connect" {
					return nil
				}
				if attempts++; attempts < 3 {
					return driver.ErrBadConn
				}
				return nil
			})
			if err := do(db.DB); err != nil || attempts != 3 {
				t.Errorf("%s, used %v: %v after %d attempts", name, used, err, attempts)
			}
		}
	}
}

// fillSeats leaves n seats in the gated *sql.DB, whatever the limit is.
func fillSeats(t *testing.T, db *poolgate.DB, n int) {
	t.Helper()
	limit := db.Gate().Limit()
	must(t, db.SetLimit(n))
	fill(t, db, n)
	must(t, db.SetLimit(limit))
	waitFor(t, func() bool { return db.Stats().OpenConnections <= limit+1 })
}
