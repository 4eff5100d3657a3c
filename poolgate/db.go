package poolgate

import (
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// DefaultStatementsPerConn is how many prepared statements a connection keeps
// where [Config.StatementsPerConn] is zero.
const DefaultStatementsPerConn = 100

// Config configures a [DB]. Gate.Limit is all that it needs.
type Config struct {
	// Gate configures admission. Its Limit is how many connections are in use
	// at most, besides those of DB.OutOfBand.
	Gate gate.Config

	// MaxIdle is how many idle connections are kept at most. Zero means as
	// many as the gate can use at once, the lane out of band included; negative
	// means none. With Wrap, zero leaves the number alone if somebody has set
	// it on the inner pool, as pgx's stdlib.OpenDBFromPool does.
	MaxIdle int

	// MaxIdleTime is how long a connection may be idle until it is closed. Zero
	// means any time, and with Wrap what the inner pool has.
	MaxIdleTime time.Duration

	// MaxLifetime is how long a connection is used at most. With OpenDB each
	// connection ends at a random moment of the last tenth of it, so that
	// connections which were opened together are not all opened again together.
	// Zero means any time, and with Wrap what the inner pool has.
	MaxLifetime time.Duration

	// MinOpen is how many connections are kept open at least, in use or idle, but
	// no more than the gate can use at once, and no more idle ones than MaxIdle
	// says. They are opened in the background, the first by OpenDB. Wrap refuses
	// it, since an *sql.DB cannot do that.
	MinOpen int

	// StatementsPerConn is how many prepared statements each connection keeps
	// for the next that prepares the same text, whether it is a *sql.Stmt, a Tx
	// or a Conn. Those that were not used for longest are closed. Zero means
	// DefaultStatementsPerConn; negative means that a statement is prepared
	// again for each checkout. Wrap does so too where the inner pool keeps no idle
	// connections, as with pgx's stdlib.OpenDBFromPool.
	StatementsPerConn int

	// PrepareQueries has a Query or an Exec with arguments be prepared and kept
	// like a *sql.Stmt of the same text. It spares lib/pq the second round trip
	// that it needs for arguments; pgx does the same by itself. It is not for
	// a program that makes the text of its statements up as it goes.
	PrepareQueries bool

	// PgBouncer says that the connections go through a PgBouncer in transaction
	// mode, where each transaction can get another connection of the server.
	// Statements are then sent together with their arguments, and none is
	// prepared on the server: so no caller can get the rows of another's
	// statement, and a *sql.Stmt works. StatementsPerConn and PrepareQueries
	// change nothing then.
	//
	// It is for OpenDB with a connector of pgxgate or pqgate, whose Open it works
	// with too. OpenDB returns an error for any other connector, for a data source
	// name that contradicts it, and for a Reset. Wrap refuses it, since an *sql.DB
	// cannot change how its driver sends statements. docs/pgbouncer.md says more.
	PgBouncer bool

	// Reset says which connections are reset before the next caller gets them.
	// The default is ResetNever.
	Reset Reset

	// CloseInner makes the DB of Wrap own the inner pool: DB.Close closes it
	// too. Otherwise the caller has to. OpenDB ignores it.
	CloseInner bool
}

func (config Config) statements() int {
	if config.StatementsPerConn == 0 {
		return DefaultStatementsPerConn
	}
	return config.StatementsPerConn
}

// check returns an error that names the field of config that is not valid.
func (config Config) check() error {
	switch {
	case config.MaxIdleTime < 0:
		return fmt.Errorf("poolgate: Config.MaxIdleTime must not be negative, got %v", config.MaxIdleTime)
	case config.MaxLifetime < 0:
		return fmt.Errorf("poolgate: Config.MaxLifetime must not be negative, got %v", config.MaxLifetime)
	case config.MinOpen < 0:
		return fmt.Errorf("poolgate: Config.MinOpen must not be negative, got %d", config.MinOpen)
	case config.Reset < ResetNever || config.Reset > ResetAlways:
		return fmt.Errorf("poolgate: Config.Reset must be ResetNever, ResetConns or ResetAlways, got %v", config.Reset)
	case config.Reset != ResetNever && config.PgBouncer:
		return fmt.Errorf("poolgate: Config.Reset is %v, which Config.PgBouncer excludes: a PgBouncer in transaction mode "+
			"would reset any connection of the server; use SET LOCAL", config.Reset)
	}
	return nil
}

// A DB is a gated *sql.DB. It is safe for concurrent use.
//
// The embedded *sql.DB is what passes the gate; hand db.DB to whatever wants an
// *sql.DB. It keeps no connection itself, so settings that an ORM makes on
// db.DB do nothing: the next checkout undoes SetMaxOpenConns, which would be one
// more limit with a queue of its own before the gate's, and the others have
// nothing to act on. The methods of the same names on the DB act on the
// connections behind the gate.
//
// Close stops admission: those who wait for a permit get gate.ErrClosed, later
// calls get database/sql's own error, and what holds a connection keeps it
// until it is done. Close does not wait for that; call Gate().Drain before it
// to do so.
type DB struct {
	*sql.DB

	source  source
	inner   *sql.DB // nil with OpenDB
	gate    *gate.Gate
	config  Config
	views   views
	retries retries
	altered atomic.Uint64 // counts the statements that began with ALTER, see noteLost

	fitting  sync.Mutex  // serializes fit: the last of several sees what all have changed
	shareEnd *time.Timer // calls fit; nil if there was no share that ends

	onClose   atomic.Pointer[func()] // see OnClose
	observers observers
}

// OpenDB opens a gated *sql.DB whose connections c opens. It keeps those that
// are idle itself, and uses the one that was used last first. It opens no
// connection, unless Config.MinOpen says so. It returns an error that names the
// field of config that it cannot accept.
//
// A checkout takes 0.3 µs more than one of sql.OpenDB(c), see
// BenchmarkCheckout.
func OpenDB(c driver.Connector, config Config) (*DB, error) {
	if c == nil {
		return nil, errors.New("poolgate: OpenDB: the driver.Connector is nil")
	}
	if err := config.check(); err != nil {
		return nil, err
	}
	if config.PgBouncer {
		var err error
		if c, err = behindPgBouncer(c); err != nil {
			return nil, err
		}
	}
	g, err := gate.New(config.Gate)
	if err != nil {
		return nil, fmt.Errorf("poolgate: Config.Gate: %w", err)
	}
	db := &DB{gate: g, config: config, source: newPool(c, config)}
	db.open()
	return db, nil
}

// behindPgBouncer returns the connector that c has for Config.PgBouncer.
func behindPgBouncer(c driver.Connector) (driver.Connector, error) {
	b, ok := c.(interface {
		BehindPgBouncer() (driver.Connector, error)
	})
	if !ok {
		return nil, fmt.Errorf("poolgate: Config.PgBouncer is for the connectors of pgxgate and pqgate, and a %T is none", c)
	}
	return b.BehindPgBouncer()
}

// Wrap puts a gate in front of a pool that exists. It opens no connection. It
// returns an error that names the field of config that it cannot accept, or if
// inner is gated already, since two gates one behind the other can wait for each
// other. It also returns one if the limit is higher than inner's MaxOpenConns,
// which could then never be reached: waiters would leave the gate's queue only to
// wait in the pool's. If MaxOpenConns leaves less besides the limit than the lane
// out of band has by default, the lane is as large as that, or there is none. For
// a pool of pgx's stdlib.OpenDBFromPool the same holds for MaxConns of the
// *pgxpool.Pool.
//
// Calls on inner itself pass no gate.
//
// A checkout takes 0.5 µs and 2 allocations more than one from inner, see
// BenchmarkCheckout. One of [OpenDB] takes half as much.
func Wrap(inner *sql.DB, config Config) (*DB, error) {
	if inner == nil {
		return nil, errors.New("poolgate: Wrap: the *sql.DB is nil")
	}
	if isGated(inner) {
		return nil, errors.New("poolgate: Wrap: the *sql.DB is gated already; two gates one behind the other can wait for each other, " +
			"so use the first one, or a view of it such as DB.Class")
	}
	if err := config.check(); err != nil {
		return nil, err
	}
	if config.MinOpen > 0 {
		return nil, errors.New("poolgate: Config.MinOpen is for OpenDB: an *sql.DB opens no connection in advance")
	}
	if config.PgBouncer {
		return nil, errors.New("poolgate: Config.PgBouncer is for OpenDB: an *sql.DB cannot change how its driver sends statements")
	}
	highest := "Config.Gate.Limit"
	if a := config.Gate.Adaptive; a != nil {
		highest = "Config.Gate.Adaptive.Max"
		if a.Max == 0 {
			fitted := *a
			fitted.Max = adaptiveMax(inner, config.Gate)
			config.Gate.Adaptive = &fitted
		}
	}
	if config.Gate.OutOfBand == 0 {
		config.Gate.OutOfBand = spareLane(inner, config.Gate.Highest())
	}
	g, err := gate.New(config.Gate)
	if err != nil {
		return nil, fmt.Errorf("poolgate: Config.Gate: %w", err)
	}
	p := newInnerPool(inner, config)
	db := &DB{inner: inner, gate: g, config: config, source: p}
	if err := db.mayBe(highest, config.Gate.Highest()); err != nil {
		return nil, err
	}
	p.configure(config)
	db.open()
	return db, nil
}

func (db *DB) open() {
	db.fit()
	db.DB = (&connector{db: db}).open(db.close)
}

// adaptiveMax is the highest limit that inner and a lane out of band have
// connections for; 0 if that is not known.
func adaptiveMax(inner *sql.DB, config gate.Config) int {
	most, _ := maxOpen(inner)
	switch {
	case most == 0:
		return 0
	case config.OutOfBand > 0:
		most -= config.OutOfBand
	case config.OutOfBand == 0:
		most -= most / 5 // the lane is a quarter of the limit
	}
	return max(1, min(most, gate.DefaultAdaptiveMax))
}

// spareLane is the size of the lane out of band that leaves all permits of the
// limit a connection of inner, where that is less than the gate's default.
func spareLane(inner *sql.DB, limit int) int {
	most, _ := maxOpen(inner)
	switch spare := most - limit; {
	case most == 0 || spare >= max(1, limit/4):
		return 0
	case spare <= 0:
		return gate.NoOutOfBand
	default:
		return spare
	}
}

// close is called when the gated *sql.DB is closed.
func (db *DB) close() error {
	db.gate.Close()
	if f := db.onClose.Load(); f != nil {
		(*f)()
	}
	db.fitting.Lock()
	db.stopShare()
	db.fitting.Unlock()
	db.views.close()
	return db.source.close()
}

// Gate returns the gate: for its Stats, and to take permits for work that
// does not go through the DB. To change the limit use DB.SetLimit, which the
// connections behind the gate follow.
func (db *DB) Gate() *gate.Gate { return db.gate }

// Inner returns the pool that was given to Wrap. It is nil for a DB of OpenDB.
func (db *DB) Inner() *sql.DB { return db.inner }

// Stats returns the statistics of the connections behind the gate. Nobody waits
// there: who waits for a permit, and for how long, is in Gate().Stats(). For
// OpenDB a connection that is being closed because it was bad counts as in use.
// The embedded *sql.DB has statistics of its own, in db.DB.Stats(), which say
// nothing of connections.
func (db *DB) Stats() sql.DBStats { return db.source.stats() }

// SetLimit changes the limit while the DB is in use, see [gate.Gate.SetLimit],
// and the number of idle connections with it where that follows. Like Wrap it
// refuses a limit above inner's MaxOpenConns, and with OpenShared one above what
// the pool has connections for.
func (db *DB) SetLimit(n int) error {
	if err := db.mayBe("SetLimit", n); err != nil {
		return err
	}
	if err := db.gate.SetLimit(n); err != nil {
		return err
	}
	db.fit()
	return nil
}

// mayBe refuses a limit that the inner pool has not enough connections for,
// with the lane out of band if that does not follow the limit.
func (db *DB) mayBe(name string, limit int) error {
	var most int
	var setting string
	switch source := db.source.(type) {
	case *innerPool:
		most, setting = maxOpen(source.DB)
	case sharedPool:
		most, setting = source.Stats().MaxOpenConnections, "the pool's number of connections"
	}
	lane := max(0, db.config.Gate.OutOfBand)
	switch {
	case most == 0 || limit+lane <= most:
		return nil
	case lane > 0:
		return fmt.Errorf("poolgate: %s is %d and Config.Gate.OutOfBand %d, but %s is %d; "+
			"lower the one or raise the other", name, limit, lane, setting, most)
	}
	return fmt.Errorf("poolgate: %s is %d, but %s is %d; "+
		"lower the one or raise the other", name, limit, setting, most)
}

// SetShare bounds the permits of the DB by a share of a budget, see
// [gate.Gate.SetShare], and has it keep no more connections than that, whatever its
// number of idle ones is: it closes idle ones first, also when the share ends. The
// inner pool of Wrap does so at each call and at the end, so what becomes idle later
// is closed at the next. Package fleet calls it.
func (db *DB) SetShare(n int, until time.Time) {
	db.gate.SetShare(n, until)
	db.fitting.Lock()
	db.stopShare()
	if !until.IsZero() {
		db.shareEnd = time.AfterFunc(time.Until(until), db.fit)
	}
	db.fitting.Unlock()
	db.fit()
}

// stopShare is called with db.fitting held.
func (db *DB) stopShare() {
	if db.shareEnd != nil {
		db.shareEnd.Stop()
	}
}

// OnClose has f called by Close, after admission has stopped and while the DB still
// has its connections. There is one such function; nil removes it. Package fleet calls
// it.
func (db *DB) OnClose(f func()) {
	if f == nil {
		db.onClose.Store(nil)
	} else {
		db.onClose.Store(&f)
	}
}

// Ungated returns an *sql.DB that passes no gate, for health checks and the like:
// the pool that was given to Wrap, or one of a single connection that any other DB
// has besides those behind the gate. Closing the DB closes the latter.
func (db *DB) Ungated() *sql.DB {
	if db.inner != nil {
		return db.inner
	}
	return db.views.get("\x00ungated", func(onClose func() error) *sql.DB {
		one := sql.OpenDB(ungated{db.source.(interface{ Ungated() driver.Connector }).Ungated(), onClose})
		one.SetMaxOpenConns(1)
		one.SetConnMaxIdleTime(ungatedIdleTime)
		return one
	})
}

// ungatedIdleTime is how long the connection of Ungated stays open unused.
const ungatedIdleTime = 30 * time.Second

// ungated is a connector that says when its *sql.DB is closed, and does not close
// the one behind it.
type ungated struct {
	driver.Connector
	onClose func() error
}

func (u ungated) Close() error { return u.onClose() }

// fit has as many connections kept as the gate can use, within its share.
func (db *DB) fit() {
	db.fitting.Lock()
	defer db.fitting.Unlock()
	most := db.gate.MostPermits()
	if share := db.gate.Stats().Share; share.Held {
		db.source.bound(min(most, share.Permits))
	} else {
		db.source.fit(most)
	}
}
