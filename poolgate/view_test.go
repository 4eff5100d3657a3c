package poolgate_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

func TestOutOfBand(t *testing.T) {
	ctx := context.Background()

	t.Run("is beyond the limit, with a permit of the lane", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		tx, err := db.Begin()
		must(t, err)
		rows, err := db.OutOfBand().Query("x")
		must(t, err)
		s := db.Gate().Stats()
		if s.InFlight != 1 || s.OutOfBand.InFlight != 1 || r.conns != 2 {
			t.Errorf("%d conns, stats: %+v", r.conns, s)
		}
		must(t, rows.Close())
		must(t, tx.Commit())
		waitIdle(t, db)
		if s := db.Gate().Stats(); s.OutOfBand.InFlight != 0 {
			t.Errorf("left: %+v", s.OutOfBand)
		}
		if view := db.OutOfBand(); view != db.OutOfBand() {
			t.Error("asked twice, two views")
		}
	})

	t.Run("has no transactions, and its connections stay good", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		if _, err := db.OutOfBand().BeginTx(ctx, nil); !errors.Is(err, poolgate.ErrOutOfBand) {
			t.Errorf("got %v", err)
		}
		_, err := db.OutOfBand().Exec("x")
		must(t, err)
		if got := strings.Join(r.take(), " "); strings.Contains(got, "begin") || r.conns != 1 {
			t.Errorf("got %s", got)
		}
	})

	t.Run("has what the inner pool's MaxOpenConns leaves, and closes with the DB", func(t *testing.T) {
		for most, size := range map[int]int{0: 2, 8: 0, 9: 1, 10: 2, 100: 2} {
			inner := sql.OpenDB(nullConnector{})
			inner.SetMaxOpenConns(most)
			db, err := poolgate.Wrap(inner, poolgate.Config{Gate: gate.Config{Limit: 8}, CloseInner: true})
			must(t, err)
			if got := db.Gate().Stats().OutOfBand.Max; got != size {
				t.Errorf("of %d the lane has %d, want %d", most, got, size)
			}
			if size == 0 {
				if panics(func() { db.OutOfBand() }) == nil {
					t.Error("no panic without a lane")
				}
				must(t, db.Close())
				continue
			}
			view := db.OutOfBand()
			must(t, db.Close())
			if _, err := view.Exec("x"); err == nil {
				t.Error("it works after Close")
			}
		}
		inner := sql.OpenDB(nullConnector{})
		defer inner.Close()
		inner.SetMaxOpenConns(10)
		_, err := poolgate.Wrap(inner, poolgate.Config{Gate: gate.Config{Limit: 8, OutOfBand: 3}})
		if err == nil || !strings.Contains(err.Error(), "Config.Gate.OutOfBand 3") {
			t.Errorf("got %v", err)
		}
	})
}

func TestObserve(t *testing.T) {
	ctx := context.WithValue(context.Background(), ctxKey{}, "mine")

	t.Run("each lease is observed, and its calls see the values of the context that Lease returned", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		var starts []poolgate.LeaseStart
		var ends []poolgate.LeaseEnd
		type leaseKey struct{}
		stop := db.Observe(poolgate.Observer{
			Lease: func(got context.Context, l poolgate.LeaseStart) context.Context {
				if got.Value(ctxKey{}) != "mine" {
					t.Error("another context")
				}
				starts = append(starts, l)
				return context.WithValue(got, leaseKey{}, len(starts))
			},
			LeaseEnd: func(got context.Context, e poolgate.LeaseEnd) {
				if got.Value(leaseKey{}) != len(starts) {
					t.Error("not the context of the lease")
				}
				ends = append(ends, e)
			},
			Call: func(got context.Context, c poolgate.Call) {
				if got.Value(leaseKey{}) != len(starts) || c.Took < 0 {
					t.Errorf("%s is not under the lease: %+v", c.Kind, c)
				}
			},
		})
		r.set(func(call string, _ int) error {
			if call == "exec" {
				time.Sleep(2 * time.Millisecond)
			}
			return nil
		})
		tx, err := db.BeginTx(ctx, nil)
		must(t, err)
		if r.seen.Value(leaseKey{}) != 1 || r.seen.Value(ctxKey{}) != "mine" {
			t.Errorf("BEGIN has %v", r.seen)
		}
		// A call has deadline, cancellation and values of its own.
		own, cancel := context.WithTimeout(context.WithValue(context.Background(), ctxKey{}, "own"), time.Hour)
		defer cancel()
		_, err = tx.ExecContext(own, "x")
		must(t, err)
		got, hasDeadline := r.seen.Deadline()
		want, _ := own.Deadline()
		if r.seen.Value(leaseKey{}) != 1 || r.seen.Value(ctxKey{}) != "own" || !hasDeadline || !got.Equal(want) || r.seen.Done() != own.Done() {
			t.Errorf("Exec has %v", r.seen)
		}
		time.Sleep(2 * time.Millisecond)
		if len(ends) != 0 {
			t.Error("ended before its end")
		}
		must(t, tx.Commit())
		waitIdle(t, db)
		if len(starts) != 1 || len(ends) != 1 || starts[0].Err != nil || ends[0].Start != starts[0] {
			t.Fatalf("%+v, %+v", starts, ends)
		}
		if e := ends[0]; e.Calls != 3 || e.Busy < 2*time.Millisecond || e.Held < e.Busy+2*time.Millisecond || e.Discarded {
			t.Errorf("the end: %+v", e)
		}
		r.set(nil)
		stop()
		_, err = db.OutOfBand().ExecContext(ctx, "x")
		must(t, err)
		if r.seen != ctx || len(starts) != 1 {
			t.Error("it was observed after stop")
		}
	})

	t.Run("executions of prepared statements are calls", func(t *testing.T) {
		db, _ := open(t, modern, limit(1))
		var calls []string
		defer db.Observe(poolgate.Observer{Call: func(_ context.Context, c poolgate.Call) {
			calls = append(calls, c.Kind+" "+c.Query)
		}})()
		stmt, err := db.Prepare("x")
		must(t, err)
		for range 2 {
			_, err = stmt.Exec()
			must(t, err)
		}
		rows, err := stmt.Query()
		must(t, err)
		must(t, rows.Close())
		must(t, stmt.Close())
		expect(t, calls, "prepare x", "exec x", "exec x", "query x")
	})

	t.Run("an observer that does not want a checkout is not called, and the others are", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		var told []string
		observer := func(name string, filter func(context.Context) bool) poolgate.Observer {
			return poolgate.Observer{
				Filter: filter,
				Lease: func(ctx context.Context, _ poolgate.LeaseStart) context.Context {
					told = append(told, name)
					return ctx
				},
				LeaseEnd: func(context.Context, poolgate.LeaseEnd) { told = append(told, name+" end") },
				Call:     func(_ context.Context, c poolgate.Call) { told = append(told, name+" "+c.Kind) },
			}
		}
		mine := func(ctx context.Context) bool { return ctx.Value(ctxKey{}) == "mine" }
		for _, test := range []struct {
			others bool
			ctx    context.Context
			want   string
		}{
			{false, context.Background(), ""},
			{false, ctx, "picky, picky exec, picky end"},
			{true, context.Background(), "first, last, first exec, last exec, first end, last end"},
		} {
			told = nil
			var stops []func()
			if test.others {
				stops = append(stops, db.Observe(observer("first", nil)))
			}
			stops = append(stops, db.Observe(observer("picky", mine)))
			if test.others {
				stops = append(stops, db.Observe(observer("picky too", mine)), db.Observe(observer("last", nil)))
			}
			_, err := db.ExecContext(test.ctx, "x")
			must(t, err)
			if got := strings.Join(told, ", "); got != test.want {
				t.Errorf("told %q, want %q", got, test.want)
			}
			if r.seen != test.ctx {
				t.Errorf("the driver saw another context: %v", r.seen)
			}
			for _, stop := range stops {
				stop()
			}
		}
	})

	t.Run("a context of a type that is not comparable does no harm", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		defer db.Observe(poolgate.Observer{Lease: func(ctx context.Context, _ poolgate.LeaseStart) context.Context {
			return context.WithValue(ctx, ctxKey{}, "observed")
		}})()
		_, err := db.ExecContext(oddContext{ctx, nil}, "x")
		must(t, err)
		if got := r.seen.Value(ctxKey{}); got != "mine" {
			t.Errorf("the driver saw %v", got)
		}
	})

	t.Run("a checkout that fails is observed once and has no end; one that is discarded says so", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		var lines []string
		defer db.Observe(poolgate.Observer{
			Lease: func(ctx context.Context, l poolgate.LeaseStart) context.Context {
				lines = append(lines, fmt.Sprint(l.Class, " ", l.Err))
				return ctx
			},
			LeaseEnd: func(_ context.Context, e poolgate.LeaseEnd) { lines = append(lines, fmt.Sprint("end ", e.Discarded)) },
		})()
		r.set(func(call string, _ int) error {
			if call == "connect" {
				return errors.New("no route")
			}
			return nil
		})
		db.Exec("x")
		r.set(func(call string, _ int) error {
			if call == "exec" {
				panic("driver")
			}
			return nil
		})
		panics(func() { db.Exec("x") })
		waitIdle(t, db)
		if got := strings.Join(lines, "; "); got != "default no route; default <nil>; end true" {
			t.Errorf("got %s", got)
		}
	})
}

type oddContext struct {
	context.Context
	values map[string]string
}

type ctxKey struct{}

func TestHoldersSayWhatIsDone(t *testing.T) {
	db, r := open(t, modern, limit(2))
	tx, err := db.Begin()
	must(t, err)
	running := false
	r.set(func(call string, _ int) error {
		if call == "exec" || call == "stmt.exec" {
			running = db.Gate().Holders()[0].Running
		}
		return nil
	})
	stmt, err := tx.Prepare("delete from t where id = $1")
	must(t, err)
	_, err = stmt.Exec(1)
	must(t, err)
	if h := db.Gate().Holders(); len(h) != 1 || h[0].Statement != "delete from t where id = $1" || h[0].Running || !running {
		t.Errorf("holders: %+v", h)
	}
	running = false
	_, err = tx.Exec("update t set password = 's3cret' where id = $1")
	must(t, err)
	r.set(nil)
	h := db.Gate().Holders()
	if len(h) != 1 || h[0].Statement != "update t set password = ? where id = $1" || h[0].Goroutine == 0 || h[0].Held <= 0 || h[0].Running || !running {
		t.Errorf("holders: %+v", h)
	}
	must(t, tx.Rollback())
	waitIdle(t, db)
	if h := db.Gate().Holders(); len(h) != 0 {
		t.Errorf("holders: %+v", h)
	}
}

func TestAConnThatIsNotUsedIsNobodys(t *testing.T) {
	config := limit(1)
	config.Gate.MaxWait = 200 * time.Millisecond
	db, _ := open(t, modern, config)
	conn, err := db.Conn(context.Background())
	must(t, err)
	if _, err := db.Exec("x"); !errors.Is(err, gate.ErrWaitTimeout) {
		t.Errorf("got %v", err)
	}
	must(t, conn.Close())
}

func TestOutOfBandWhileAShareLeavesItNothing(t *testing.T) {
	db, _ := openDB(t, limit(4))
	for n := range 2 {
		db.SetShare(n, time.Time{})
		view := db.OutOfBand()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := view.ExecContext(ctx, "x"); !errors.Is(err, gate.ErrCanceled) {
			t.Errorf("a share of %d: %v", n, err)
		}
		cancel()
	}
	db.SetShare(2, time.Time{})
	_, err := db.OutOfBand().ExecContext(t.Context(), "x")
	must(t, err)
}
