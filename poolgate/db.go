package poolgate

import (
	"database/sql"
	"errors"
	"fmt"

	"github.com/poolgate/poolgate/poolgate/gate"
)

// Config configures a [DB]. Gate.Limit is all that it needs.
type Config struct {
	// Gate configures admission. Its Limit is how many connections of the
	// inner pool are in use at most, beside those of DB.OutOfBand.
	Gate gate.Config

	// CloseInner has the DB own the inner pool: DB.Close closes it too.
	// Otherwise it is left alone, for whoever opened it to close.
	CloseInner bool

	// KeepMaxIdleConns leaves the inner pool's number of idle connections
	// as it is. Otherwise Wrap, and DB.SetLimit after it, sets it to what the
	// gate can use at once, for database/sql keeps 2 by default and closes the others as
	// they come back: a burst of 40 then opens 38 connections anew, each a
	// process that the server has to start.
	KeepMaxIdleConns bool
}

// A DB is a gated *sql.DB in front of another, which is the inner pool. It is
// safe for concurrent use.
//
// The embedded *sql.DB is what passes the gate; hand db.DB to whatever wants a
// *sql.DB. It keeps no connection itself. SetMaxIdleConns, SetConnMaxLifetime
// and SetConnMaxIdleTime on it have no effect: make these settings on the
// inner pool. SetMaxOpenConns on it is one more limit, with a queue of its own
// before the gate's, which database/sql serves in random order: leave it at 0
// and use SetLimit.
//
// Close stops admission: whoever waits for a permit gets gate.ErrClosed, later
// calls get database/sql's own error, and what holds a connection keeps it
// until it is done. Close does not wait for that; Gate().Drain before it does.
type DB struct {
	*sql.DB

	inner  *sql.DB
	gate   *gate.Gate
	config Config
	views  views

	observers observers
}

// Wrap puts a gate in front of inner. It opens no connection. It returns an
// error that names the field of config that it cannot accept, or if the limit
// is higher than inner's MaxOpenConns, which could then never be reached:
// waiters would leave the gate's queue only to wait in the pool's. Where
// MaxOpenConns leaves less beside the limit than the lane out of band has by
// default, the lane is as large as that, or there is none.
//
// Whoever uses inner directly from then on passes no gate.
//
// A checkout through the gate costs one to two microseconds more than one from
// inner.
func Wrap(inner *sql.DB, config Config) (*DB, error) {
	if inner == nil {
		return nil, errors.New("poolgate: Wrap: the *sql.DB is nil")
	}
	if config.Gate.OutOfBand == 0 {
		config.Gate.OutOfBand = spareLane(inner, config.Gate.Limit)
	}
	g, err := gate.New(config.Gate)
	if err != nil {
		return nil, fmt.Errorf("poolgate: Config.Gate: %w", err)
	}
	db := &DB{inner: inner, gate: g, config: config}
	if err := db.fit("Config.Gate.Limit", config.Gate.Limit); err != nil {
		return nil, err
	}
	db.DB = (&connector{inner: inner, gate: g, observers: &db.observers}).open(db.close)
	db.fitIdle()
	return db, nil
}

// spareLane is the size of the lane out of band that leaves all permits of the
// limit a connection of inner, where that is less than the gate's default.
func spareLane(inner *sql.DB, limit int) int {
	most := inner.Stats().MaxOpenConnections
	switch spare := most - limit; {
	case most == 0 || spare >= max(1, limit/4):
		return 0
	case spare <= 0:
		return gate.NoOutOfBand
	default:
		return spare
	}
}

// close is what closing the gated *sql.DB does beside.
func (db *DB) close() error {
	db.gate.Close()
	db.views.close()
	if db.config.CloseInner {
		return db.inner.Close()
	}
	return nil
}

// Gate returns the gate: for its Stats, and to take permits for work that
// does not go through the DB. To change the limit use DB.SetLimit, which the
// inner pool follows.
func (db *DB) Gate() *gate.Gate { return db.gate }

// Inner returns the pool behind the gate, where ConnMaxLifetime and the like
// are set.
func (db *DB) Inner() *sql.DB { return db.inner }

// Stats returns the inner pool's statistics. The gated *sql.DB has its own,
// in db.DB.Stats(), which count those that wait for a permit as in use. What
// the gate does is in Gate().Stats().
func (db *DB) Stats() sql.DBStats { return db.inner.Stats() }

// SetLimit changes the limit while the DB is in use, see [gate.Gate.SetLimit],
// and the inner pool's idle connections with it. Like Wrap it refuses a limit
// above inner's MaxOpenConns.
func (db *DB) SetLimit(n int) error {
	if err := db.fit("SetLimit", n); err != nil {
		return err
	}
	if err := db.gate.SetLimit(n); err != nil {
		return err
	}
	db.fitIdle()
	return nil
}

// fit refuses a limit that the inner pool has not enough connections for, with
// the lane out of band where that does not follow the limit.
func (db *DB) fit(name string, limit int) error {
	most, lane := db.inner.Stats().MaxOpenConnections, max(0, db.config.Gate.OutOfBand)
	switch {
	case most == 0 || limit+lane <= most:
		return nil
	case lane > 0:
		return fmt.Errorf("poolgate: %s is %d and Config.Gate.OutOfBand %d, but the inner pool's MaxOpenConns is %d; "+
			"lower the one or raise the other", name, limit, lane, most)
	}
	return fmt.Errorf("poolgate: %s is %d, but the inner pool's MaxOpenConns is %d; "+
		"lower the one or raise the other", name, limit, most)
}

// fitIdle has the inner pool keep as many connections as the gate can use.
func (db *DB) fitIdle() {
	if !db.config.KeepMaxIdleConns {
		s := db.gate.Stats()
		db.inner.SetMaxIdleConns(s.Limit + s.OutOfBand.Max)
	}
}
