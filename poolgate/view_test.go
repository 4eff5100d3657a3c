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

	t.Run("is beside the limit, with a permit of the lane", func(t *testing.T) {
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

	t.Run("each lease is told of, with its calls, and the driver's context says how it began", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		var starts []poolgate.LeaseStart
		var ends []poolgate.LeaseEnd
		stop := db.Observe(poolgate.Observer{Lease: func(got context.Context, l poolgate.LeaseStart) func(poolgate.LeaseEnd) {
			if got.Value(ctxKey{}) != "mine" {
				t.Error("another context")
			}
			starts = append(starts, l)
			return func(e poolgate.LeaseEnd) { ends = append(ends, e) }
		}})
		r.set(func(call string, _ int) error {
			if call == "exec" {
				time.Sleep(2 * time.Millisecond)
			}
			return nil
		})
		tx, err := db.BeginTx(ctx, nil)
		must(t, err)
		_, err = tx.ExecContext(ctx, "x")
		must(t, err)
		if l, ok := poolgate.LeaseFromContext(r.seen); !ok || l.Class != gate.DefaultClass {
			t.Errorf("the driver was told %+v", l)
		}
		time.Sleep(2 * time.Millisecond)
		if len(ends) != 0 {
			t.Error("ended before its end")
		}
		must(t, tx.Commit())
		waitIdle(t, db)
		if len(starts) != 1 || len(ends) != 1 || starts[0].Err != nil {
			t.Fatalf("%+v, %+v", starts, ends)
		}
		if e := ends[0]; e.Calls != 3 || e.Busy < 2*time.Millisecond || e.Held < e.Busy+2*time.Millisecond || e.Discarded {
			t.Errorf("the end: %+v", e)
		}
		r.set(nil)
		stop()
		_, err = db.OutOfBand().ExecContext(ctx, "x")
		must(t, err)
		if _, ok := poolgate.LeaseFromContext(r.seen); ok || len(starts) != 1 {
			t.Error("it was observed after stop")
		}
	})

	t.Run("who does not want to know of a checkout is not told, and the others are", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		var told []string
		observer := func(name string, filter func(context.Context) bool) poolgate.Observer {
			return poolgate.Observer{
				Filter: filter,
				Lease: func(context.Context, poolgate.LeaseStart) func(poolgate.LeaseEnd) {
					told = append(told, name)
					return func(poolgate.LeaseEnd) { told = append(told, name+" end") }
				},
				Call: func(_ context.Context, c poolgate.Call) { told = append(told, name+" "+c.Kind) },
			}
		}
		mine := func(ctx context.Context) bool { return ctx.Value(ctxKey{}) == "mine" }
		for _, test := range []struct {
			others bool
			ctx    context.Context
			want   string
			known  bool // to the driver
		}{
			{false, context.Background(), "", false},
			{false, ctx, "picky, picky exec, picky end", true},
			{true, context.Background(), "first, last, first exec, last exec, first end, last end", true},
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
			if _, ok := poolgate.LeaseFromContext(r.seen); ok != test.known {
				t.Errorf("the driver was told of the lease: %v", ok)
			}
			for _, stop := range stops {
				stop()
			}
		}
	})

	t.Run("what fails is told of once, and has no end; what is discarded says so", func(t *testing.T) {
		db, r := open(t, modern, limit(1))
		var lines []string
		defer db.Observe(poolgate.Observer{Lease: func(_ context.Context, l poolgate.LeaseStart) func(poolgate.LeaseEnd) {
			lines = append(lines, fmt.Sprint(l.Class, " ", l.Err))
			return func(e poolgate.LeaseEnd) { lines = append(lines, fmt.Sprint("end ", e.Discarded)) }
		}})()
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

type ctxKey struct{}

func TestHoldersSayWhatIsDone(t *testing.T) {
	db, r := open(t, modern, limit(2))
	tx, err := db.Begin()
	must(t, err)
	running := false
	r.set(func(call string, _ int) error {
		if call == "exec" {
			running = db.Gate().Holders()[0].Running
		}
		return nil
	})
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
