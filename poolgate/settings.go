package poolgate

import "time"

// The settings of an *sql.DB, for the connections behind the gate. The embedded
// *sql.DB has methods of the same names, which do not reach them.

// SetMaxIdleConns sets how many idle connections are kept at most, as
// Config.MaxIdle does. If n is 0 or less none are.
func (db *DB) SetMaxIdleConns(n int) { db.source.setMaxIdle(n) }

// SetConnMaxIdleTime sets how long a connection may be idle until it is closed,
// as Config.MaxIdleTime does. If d is 0 or less that is any time.
func (db *DB) SetConnMaxIdleTime(d time.Duration) { db.source.setMaxIdleTime(d) }

// SetConnMaxLifetime sets how long a connection is used at most, as
// Config.MaxLifetime does. If d is 0 or less that is any time.
func (db *DB) SetConnMaxLifetime(d time.Duration) { db.source.setMaxLifetime(d) }

// SetMaxOpenConns lowers the limit, as SetLimit does, if there could otherwise
// be more than n connections in use, those out of band included. The limit is at
// least 1. It never raises the limit. For a DB of Wrap it also sets the inner
// pool's MaxOpenConns. If n is 0 or less it only removes that of the inner pool.
func (db *DB) SetMaxOpenConns(n int) {
	if db.inner != nil {
		db.inner.SetMaxOpenConns(n)
	}
	if n <= 0 {
		return
	}
	highest := db.gate.Stats().Limit
	if a := db.gate.Stats().Adaptive; a.Max > 0 {
		highest = a.Max
	}
	limit, lane := min(highest, n), 0
	for {
		switch set := db.config.Gate.OutOfBand; {
		case set > 0:
			lane = set
		case set == 0:
			lane = max(1, limit/4)
		}
		if limit == 1 || limit+lane <= n {
			break
		}
		limit--
	}
	if limit < highest {
		_ = db.gate.SetLimit(limit) // it is at least 1
		db.fit()
	}
}
