package conformance

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/poolgate/poolgate/internal/testing/faultproxy"
	"github.com/poolgate/poolgate/poolgate"
	"github.com/poolgate/poolgate/poolgate/gate"
)

// EnvTorture names the environment variable that says how many operations
// Torture does instead of 10,000.
const EnvTorture = "POOLGATE_TORTURE"

// Torture runs operations through a gate of about 6 permits from 16 goroutines,
// while contexts end at random moments, backends are killed, the driver panics,
// connecting fails, the network stops forwarding or forgets connections, and the
// limit changes. At the end nothing may be held, waited for or left behind,
// and each row that was reported as written has to be there once, and none that
// was reported as not written.
//
// Half of the operations go through poolgate.OpenDB, half through poolgate.Wrap.
func Torture(t *testing.T, d Driver) {
	operations, err := strconv.ParseInt(cmp.Or(os.Getenv(EnvTorture), "10000"), 10, 64)
	if err != nil {
		t.Fatalf("%s: %v", EnvTorture, err)
	}
	t.Run("OpenDB", func(t *testing.T) { torture(t, d, operations/2, poolgate.OpenDB) })
	t.Run("Wrap", func(t *testing.T) {
		torture(t, d, operations/2, func(c driver.Connector, config poolgate.Config) (*poolgate.DB, error) {
			config.CloseInner = true
			return poolgate.Wrap(sql.OpenDB(c), config)
		})
	})
}

func torture(t *testing.T, d Driver, operations int64, open func(driver.Connector, poolgate.Config) (*poolgate.DB, error)) {
	const limit, workers = 6, 16
	dsn := database(t)
	proxy, through := faultproxy.Start(t, dsn)
	connector, err := d.Connector(withOption(through, "application_name", "gated"))
	if err != nil {
		t.Fatal(err)
	}
	faulty := &faults{Connector: connector}
	db, err := open(faulty, poolgate.Config{Gate: gate.Config{Limit: limit}})
	if err != nil {
		t.Fatal(err)
	}
	v := &victim{fixture: watch(t, d, dsn, db)}
	v.must(t, "create table torture (id int not null)")
	if v.insert, err = v.Prepare("insert into torture values ($1)"); err != nil {
		t.Fatal(err)
	}

	faulty.on.Store(true)
	stop := make(chan struct{})
	var killed []int
	var holes, limits int
	var killer, working sync.WaitGroup
	killer.Go(func() { killed = v.killAtRandom(t, stop) })
	killer.Go(func() { holes = failAtRandom(proxy, stop) })
	killer.Go(func() { limits = v.limitAtRandom(t, limit, stop) })
	var done, failed, panicked atomic.Int64
	for range workers {
		working.Go(func() {
			for done.Add(1) <= operations {
				err, panics := v.operate()
				switch {
				case panics:
					panicked.Add(1)
				case err != nil:
					failed.Add(1)
				}
				if wrong, ok := errors.AsType[wrongResult](err); ok {
					t.Error(wrong)
				}
			}
		})
	}
	working.Wait()
	close(stop)
	killer.Wait()
	faulty.on.Store(false)
	v.gone(t, killed...) // a backend that is still about to end would fail what follows

	v.settled(t)
	v.usable(t)
	if err := v.insert.Close(); err != nil {
		t.Errorf("closing the statement: %v", err)
	}
	stats := v.Gate().Stats()
	if stats.QueueFull+stats.WaitTimeout+stats.Closed != 0 {
		t.Errorf("the gate refused somebody: %+v", stats)
	}
	rows := v.ledger.check(t, v.observer)
	t.Logf("%d operations: %d failed, %d panicked; rows: %d written, %d absent, %d doubtful; "+
		"%d backends killed, %d holes in the network, %d changes of the limit, %d errors and %d panics injected, %d connects, %d calls; "+
		"%d of %d permits waited for, %d waits cancelled",
		operations, failed.Load(), panicked.Load(), rows[written], rows[absent], rows[doubtful],
		len(killed), holes, limits, faulty.errors.Load(), faulty.panics.Load(), faulty.connects.Load(), faulty.calls.Load(),
		stats.Waited, stats.Acquired, stats.Canceled)
	if len(killed) == 0 || holes == 0 || limits == 0 || failed.Load() == 0 || panicked.Load() == 0 || stats.Canceled == 0 ||
		rows[written] < int(operations)/10 || rows[absent] == 0 || rows[doubtful] == 0 {
		t.Error("that was no torture: something of it has not happened")
	}
}

// victim is the pool that is tortured.
type victim struct {
	*fixture
	ledger ledger
	insert *sql.Stmt // of one row
}

// wrongResult is the error of an operation that succeeded and should not have
// had that result.
type wrongResult string

func (w wrongResult) Error() string { return "wrong result: " + string(w) }

// operate does one thing with the pool, under a context that may end at any
// moment. An injected panic goes no further.
func (v *victim) operate() (err error, panicked bool) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(injectedPanic); !ok {
				panic(r)
			}
			panicked = true
		}
	}()
	ctx, cancel := context.Background(), context.CancelFunc(func() {})
	switch moment := time.Duration(rand.Int64N(int64(3 * time.Millisecond))); rand.IntN(20) {
	case 0, 1:
		ctx, cancel = context.WithTimeout(ctx, moment)
	case 2, 3:
		ctx, cancel = context.WithCancel(ctx)
		defer time.AfterFunc(moment, cancel).Stop()
	case 4:
		ctx, cancel = context.WithCancel(ctx)
		cancel()
	case 5, 6, 7, 8:
		ctx, cancel = context.WithTimeout(ctx, time.Minute)
	}
	defer cancel()
	switch n := rand.IntN(100); {
	case n < 25:
		return v.write(ctx), false
	case n < 45:
		return v.transact(ctx), false
	case n < 65:
		return v.read(ctx), false
	case n < 80:
		return v.writePrepared(ctx), false
	case n < 92:
		return v.converse(ctx), false
	case n < 97:
		return v.PingContext(ctx), false
	}
	return v.mistreat(ctx), false
}

func (v *victim) write(ctx context.Context) error {
	id := v.ledger.next()
	_, err := v.ExecContext(ctx, "insert into torture values ($1)", id)
	if err == nil {
		v.ledger.set(written, id)
	}
	return err
}

func (v *victim) writePrepared(ctx context.Context) error {
	id := v.ledger.next()
	res, err := v.insert.ExecContext(ctx, id)
	if err != nil {
		return err
	}
	v.ledger.set(written, id)
	if n, err := res.RowsAffected(); n != 1 || err != nil {
		return wrongResult(fmt.Sprintf("an insert of one row affected %d, %v", n, err))
	}
	return nil
}

// transact writes two rows in a transaction, and may roll it back.
func (v *victim) transact(ctx context.Context) error {
	tx, err := v.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	ids := []int{v.ledger.next(), v.ledger.next()}
	v.ledger.set(absent, ids...) // until it is committed
	for _, id := range ids {
		if _, err := tx.ExecContext(ctx, "insert into torture values ($1)", id); err != nil {
			return err
		}
	}
	held := context.WithValue(ctx, heldKey{}, true)
	var n int
	if err := tx.QueryRowContext(held, "select count(*) from torture where id = any($1)", ids).Scan(&n); err != nil {
		return err
	}
	if n != len(ids) {
		return wrongResult(fmt.Sprintf("a transaction sees %d of the two rows that it wrote", n))
	}
	if rand.IntN(3) == 0 {
		return tx.Rollback()
	}
	v.ledger.set(doubtful, ids...)
	if err := tx.Commit(); err != nil {
		return err
	}
	v.ledger.set(written, ids...)
	return nil
}

// read reads rows, and may stop in the middle.
func (v *victim) read(ctx context.Context) error {
	rows, err := v.QueryContext(ctx, "select n from generate_series(1, $1::int) n", 1+rand.IntN(200))
	if err != nil {
		return err
	}
	defer rows.Close()
	stop := rand.IntN(300)
	for want := 1; rows.Next(); want++ {
		var n int
		if err := rows.Scan(&n); err != nil {
			return err
		}
		if n != want {
			return wrongResult(fmt.Sprintf("row %d is %d", want, n))
		}
		if n == stop {
			return rows.Close()
		}
	}
	return rows.Err()
}

// converse says several things to one connection, and checks that it stays one.
func (v *victim) converse(ctx context.Context) error {
	c, err := v.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	held := context.WithValue(ctx, heldKey{}, true)
	var first, second int
	if err := c.QueryRowContext(held, "select pg_backend_pid()").Scan(&first); err != nil {
		return err
	}
	id := v.ledger.next()
	if _, err := c.ExecContext(ctx, "insert into torture values ($1)", id); err != nil {
		return err
	}
	v.ledger.set(written, id)
	if err := c.QueryRowContext(held, "select pg_backend_pid()").Scan(&second); err != nil {
		return err
	}
	if first != second {
		return wrongResult("the backend of a Conn has changed")
	}
	return nil
}

// mistreat does what a function of Raw should not.
func (v *victim) mistreat(ctx context.Context) error {
	c, err := v.Conn(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	return poolgate.Raw(c, func(driver.Conn) error {
		switch rand.IntN(3) {
		case 0:
			panic(injectedPanic("the function of Raw"))
		case 1:
			return errInjected
		}
		return driver.ErrBadConn
	})
}

// killAtRandom ends backends of the pool until stop is closed, and returns
// which.
func (v *victim) killAtRandom(t *testing.T, stop <-chan struct{}) (pids []int) {
	const statement = `select pid from (select pid from pg_stat_activity
		where datname = current_database() and application_name = 'gated' order by random() limit 1) s
		where pg_terminate_backend(pid)`
	for {
		select {
		case <-stop:
			return pids
		case <-time.After(time.Duration(rand.Int64N(int64(50 * time.Millisecond)))):
		}
		var pid int
		switch err := v.observer.QueryRow(statement).Scan(&pid); {
		case err == nil:
			pids = append(pids, pid)
		case !errors.Is(err, sql.ErrNoRows):
			t.Error(err)
			return pids
		}
	}
}

// failAtRandom makes holes into the network until stop is closed, and returns
// how many. Each is over before long, for some operations have no deadline.
func failAtRandom(p *faultproxy.Proxy, stop <-chan struct{}) (holes int) {
	between, lasting := 500*time.Millisecond, 300*time.Millisecond
	for {
		select {
		case <-stop:
			return holes
		case <-time.After(time.Duration(rand.Int64N(int64(between)))):
		}
		holes++
		switch rand.IntN(3) {
		case 0:
			p.Stop()
		case 1:
			p.StopAfter(rand.IntN(1000), rand.IntN(2) == 0)
		case 2:
			p.Vanish()
		}
		time.Sleep(time.Duration(rand.Int64N(int64(lasting))))
		p.Resume()
		p.Bury()
	}
}

// limitAtRandom changes the limit until stop is closed, sets it back, and
// returns how often it has.
func (v *victim) limitAtRandom(t *testing.T, limit int, stop <-chan struct{}) (changes int) {
	for {
		n, last := 2+rand.IntN(2*limit-3), false
		select {
		case <-stop:
			n, last = limit, true
		case <-time.After(time.Duration(rand.Int64N(int64(50 * time.Millisecond)))):
		}
		if err := v.SetLimit(n); err != nil {
			t.Error(err)
		}
		if last {
			return changes
		}
		changes++
	}
}
