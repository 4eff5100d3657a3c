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
	"github.com/poolgate/poolgate/poolgate/poolgatetest"
	"github.com/poolgate/poolgate/poolgate/rows"
	"github.com/poolgate/poolgate/poolgate/session"
)

// What a network does to the first statement of a unit, with which BEGIN travels.
func TestDeferredFaults(t *testing.T) {
	dsn := pgserver.ForTest(t).CreateDatabase(t)
	proxy, through := faultproxy.Start(t, dsn)
	db, err := pgxgate.Open(through, poolgate.Config{Gate: gate.Config{Limit: 1}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), "CREATE TABLE numbers (n int)"); err != nil {
		t.Fatal(err)
	}
	stored := 0
	insert := func(ctx context.Context) error {
		return session.Run(ctx, func(ctx context.Context) error {
			_, err := session.DB(ctx, db.DB).ExecContext(ctx, "INSERT INTO numbers VALUES ($1)", 1)
			return err
		})
	}
	fine := func(t *testing.T) {
		t.Helper()
		proxy.Resume()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := insert(ctx); err != nil {
			t.Errorf("afterwards: %v", err)
		}
		stored++
		if n, err := rows.One[int](ctx, db, "SELECT count(*) FROM numbers"); err != nil || n != stored {
			t.Errorf("%d rows, want %d, %v", n, stored, err)
		}
		poolgatetest.AssertIdle(t, db)
	}
	fine(t)

	t.Run("a connection that died while idle fails no unit", func(t *testing.T) {
		for range 3 {
			proxy.CutAll()
			fine(t)
		}
	})

	t.Run("a connection that is cut leaves nothing unknown before COMMIT", func(t *testing.T) {
		for _, after := range []int{1, 10, 40, 60} { // bytes of BEGIN and the statement, which have more
			fine(t)
			proxy.CutAfter(after, 1)
			if err := insert(t.Context()); err == nil || errors.Is(err, poolgate.ErrOutcomeUnknown) {
				t.Errorf("cut after %d bytes: error %v", after, err)
			}
			fine(t)
		}
	})

	t.Run("a silent network", func(t *testing.T) {
		for name, stop := range map[string]func(){
			"that takes nothing":         proxy.Stop,
			"in the middle of a request": func() { proxy.StopAfter(20, true) },
			"in the middle of an answer": func() { proxy.StopAfter(12, false) },
		} {
			fine(t)
			ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
			stop()
			err := insert(ctx)
			if late := time.Since(deadlineOf(ctx)); late > 5*time.Second { // a quarter of one, on a machine that is not loaded
				t.Errorf("%s: it returned %v after the end of its context", name, late)
			}
			cancel()
			if !errors.Is(err, context.DeadlineExceeded) || errors.Is(err, poolgate.ErrOutcomeUnknown) {
				t.Errorf("%s: error %v", name, err)
			}
			fine(t)
		}
	})
}
