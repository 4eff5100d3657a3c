package conformance

import (
	"context"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/testing/faultproxy"
)

// testSilentConnections has idle connections vanish without a word, as behind a
// firewall that has forgotten them. The server itself is well.
func testSilentConnections(t *testing.T, d Driver) {
	const limit = 10
	// silent fills the pool with idle connections, and has them vanish.
	silent := func(t *testing.T) (*fixture, *faultproxy.Proxy) {
		t.Helper()
		f, p := openThrough(t, d, limit)
		for _, c := range f.hold(t, limit) {
			c.Close()
		}
		f.settled(t)
		time.Sleep(1200 * time.Millisecond) // for each to be idle for longer than PingAfter
		p.Vanish()
		return f, p
	}
	call := func(t *testing.T, f *fixture) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		var n int
		if err := f.QueryRowContext(ctx, "select $1::int", 7).Scan(&n); err != nil || n != 7 {
			t.Errorf("got %d, %v", n, err)
		}
	}

	t.Run("one caller after the other gets an answer, and only the first has to wait", func(t *testing.T) {
		f, p := silent(t)
		for range 10 * limit {
			call(t, f)
		}
		if n := p.Spoken(); n != 1 {
			t.Errorf("something was sent on %d of the silent connections, want 1", n)
		}
		f.usable(t)
	})

	t.Run("so do many at once", func(t *testing.T) {
		f, _ := silent(t)
		done := make(chan struct{})
		for range limit {
			go func() {
				defer func() { done <- struct{}{} }()
				call(t, f)
			}()
		}
		for range limit {
			<-done
		}
		f.usable(t)
	})

	t.Run("a connection that was closed without a word in the meantime is not used", func(t *testing.T) {
		f, p := openThrough(t, d, limit)
		for _, c := range f.hold(t, limit) {
			c.Close()
		}
		f.settled(t)
		p.CutAll()
		for range limit {
			call(t, f)
		}
		f.usable(t)
	})

	t.Run("a transaction begins on another one", func(t *testing.T) {
		f, p := silent(t)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
		defer cancel()
		tx, err := f.BeginTx(ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.ExecContext(ctx, "select 1"); err != nil {
			t.Error(err)
		}
		if err := tx.Commit(); err != nil {
			t.Error(err)
		}
		if n := p.Spoken(); n != 1 {
			t.Errorf("something was sent on %d of the silent connections, want 1", n)
		}
		f.usable(t)
	})
}
