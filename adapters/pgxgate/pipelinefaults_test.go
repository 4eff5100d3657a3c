package pgxgate_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/poolgate/poolgate/adapters/pgxgate"
	"github.com/poolgate/poolgate/internal/testing/faultproxy"
	"github.com/poolgate/poolgate/internal/testing/pgserver"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
	"github.com/poolgate/poolgate/poolgate/gather"
	"github.com/poolgate/poolgate/poolgate/rows"
	"github.com/poolgate/poolgate/poolgate/session"
)

// What a network does to a pipelined gather, which must return in time, and give
// its permit and its connection back.
func TestPipelineFaults(t *testing.T) {
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	proxy, through := faultproxy.Start(t, dsn)
	db, err := pgxgate.Open(through, poolgate.Config{Gate: gate.Config{Limit: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	watch, err := pgxgate.Open(dsn, poolgate.Config{Gate: gate.Config{Limit: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer watch.Close()
	if _, err := watch.ExecContext(t.Context(), "CREATE TABLE numbers (n int)"); err != nil {
		t.Fatal(err)
	}
	pipelined := gather.Options{Consistency: gather.Pipelined}
	writes := pipelined
	writes.ReadWrite = true
	fine := func(t *testing.T) {
		t.Helper()
		proxy.Resume()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var one int
		if err := gather.Run(ctx, db, pipelined, gather.One(&one, "SELECT 1"), gather.Discard("SELECT 2")); err != nil || one != 1 {
			t.Errorf("afterwards: %v", err)
		}
		for deadline := time.Now().Add(30 * time.Second); db.Gate().Stats().InFlight > 0 || db.Stats().InUse > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatal("something is held")
			}
		}
	}
	fine(t)

	t.Run("a connection that died while idle fails no gather", func(t *testing.T) {
		proxy.CutAll()
		fine(t)
		if _, err := watch.ExecContext(t.Context(), "SELECT pg_terminate_backend(pid, 30000) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"); err != nil {
			t.Fatal(err)
		}
		fine(t)
	})

	t.Run("a silent network", func(t *testing.T) {
		for name, stop := range map[string]func(){
			"that takes nothing":         proxy.Stop,
			"in the middle of a request": func() { proxy.StopAfter(100, true) },
			"in the middle of an answer": func() { proxy.StopAfter(10_000, false) },
		} {
			t.Run(name, func(t *testing.T) {
				fine(t)
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				defer cancel()
				stop()
				err := gather.Run(ctx, db, pipelined, gather.Discard("SELECT repeat('x', 10000)"), gather.Discard("SELECT repeat('y', 20000)"))
				late := time.Since(deadlineOf(ctx))
				if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, poolgate.ErrOutcomeUnknown) {
					t.Errorf("error %v", err)
				}
				t.Logf("%v after the end of the context", late)
				if late > 5*time.Second { // a quarter of one, on a machine that is not loaded
					t.Errorf("it returned %v after the end of its context", late)
				}
				fine(t)
			})
		}
	})

	t.Run("a connection that is cut", func(t *testing.T) {
		for _, o := range []gather.Options{pipelined, writes} {
			for _, all := range []bool{false, true} {
				o.AllErrors = all
				fine(t)
				err := gather.Run(t.Context(), db, o, gather.Discard("SELECT 1"), func(ctx context.Context, db session.DBTX) error {
					if _, err := db.ExecContext(ctx, "SELECT 1"); err != nil {
						return err
					}
					proxy.CutAll()
					_, err := db.ExecContext(ctx, "SELECT 2")
					return err
				}, gather.Discard("SELECT 3"))
				if err == nil || errors.Is(err, poolgate.ErrOutcomeUnknown) {
					t.Errorf("%+v: error %v", o, err)
				}
				fine(t)
			}
		}
	})

	t.Run("whether a COMMIT that is cut has committed is unknown", func(t *testing.T) {
		fine(t)
		err := gather.Run(t.Context(), db, writes, gather.Exec(nil, "INSERT INTO numbers VALUES (1)"), func(ctx context.Context, db session.DBTX) error {
			_, err := db.ExecContext(ctx, "SELECT 1")
			proxy.CutAfter(3, 1)
			return err
		})
		if !errors.Is(err, poolgate.ErrOutcomeUnknown) {
			t.Errorf("error %v", err)
		}
		fine(t)
		if n, err := rows.One[int](t.Context(), watch, "SELECT count(*) FROM numbers"); err != nil || n != 0 {
			t.Errorf("%d rows, %v", n, err)
		}
	})
}

func deadlineOf(ctx context.Context) time.Time {
	deadline, _ := ctx.Deadline()
	return deadline
}
