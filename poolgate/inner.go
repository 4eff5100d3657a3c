package poolgate

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"reflect"
	"sync"
	"time"
)

// An innerPool is an *sql.DB as a source of connections.
type innerPool struct {
	*sql.DB
	statements int  // that a connection keeps prepared
	owned      bool // it is closed with the gated one

	mu      sync.Mutex // guards what follows
	maxIdle int        // how many idle connections somebody wants; 0 if nobody does, negative for none
	byConn  map[driver.Conn]*statements
	uses    uint64 // counts the calls of prepared
}

func newInnerPool(db *sql.DB, config Config) *innerPool {
	return &innerPool{DB: db, statements: config.statements(), owned: config.CloseInner, maxIdle: maxIdle(db)}
}

// maxIdle returns how many idle connections db keeps: 0 if nobody has set that, and
// negative for none. There is no method that says so: Stats has what they are, not
// what they may be.
func maxIdle(db *sql.DB) int {
	n := reflect.ValueOf(db).Elem().FieldByName("maxIdleCount")
	if !n.IsValid() || !n.CanInt() {
		return 0
	}
	return int(n.Int())
}

// isGated reports whether db is the gated *sql.DB of a DB, or a view of one.
func isGated(db *sql.DB) bool {
	c := reflect.ValueOf(db).Elem().FieldByName("connector")
	return c.IsValid() && c.Kind() == reflect.Interface && !c.IsNil() && c.Elem().Type() == reflect.TypeFor[*connector]()
}

// maxOpen returns how many connections db can have in use at once, or 0 if that
// is not known to be limited, and the setting that says so. Besides its
// MaxOpenConns that can be the size of a *pgxpool.Pool behind pgx's
// stdlib.OpenDBFromPool, which no method gives away.
func maxOpen(db *sql.DB) (most int, setting string) {
	most, setting = db.Stats().MaxOpenConnections, "the inner pool's MaxOpenConns"
	v := reflect.ValueOf(db).Elem()
	for _, name := range []string{"connector", "pool", "maxConns"} {
		if v.Kind() != reflect.Struct {
			return most, setting
		}
		v = v.FieldByName(name)
		for v.Kind() == reflect.Interface || v.Kind() == reflect.Pointer {
			v = v.Elem()
		}
	}
	if !v.IsValid() || !v.CanInt() || v.Int() <= 0 {
		return most, setting
	}
	if n := int(v.Int()); most == 0 || n < most {
		return n, "MaxConns of the pgxpool behind the inner pool"
	}
	return most, setting
}

// configure makes the settings that config has.
func (p *innerPool) configure(config Config) {
	if config.MaxIdle != 0 {
		p.setMaxIdle(config.MaxIdle)
	}
	if config.MaxIdleTime > 0 {
		p.SetConnMaxIdleTime(config.MaxIdleTime)
	}
	if config.MaxLifetime > 0 {
		p.SetConnMaxLifetime(config.MaxLifetime)
	}
}

func (p *innerPool) take(ctx context.Context, s *seat, isNew bool) (*connection, error) {
	if isNew {
		if err := p.closeIdle(ctx); err != nil {
			return nil, err
		}
	}
	checkout, err := p.Conn(ctx)
	if err != nil {
		return nil, err
	}
	s.ofInner = connection{checkout: checkout}
	// Raw returns an error only if its function does. The connection stays ours
	// beyond Raw: until checkout is closed nobody else uses it.
	_ = checkout.Raw(s.intoInner)
	return &s.ofInner, nil
}

// closeIdle closes the connections that are idle, as the next caller wants a new
// one: an *sql.DB opens one only if none is idle.
func (p *innerPool) closeIdle(ctx context.Context) error {
	for range p.Stats().Idle {
		checkout, err := p.Conn(ctx)
		if err != nil {
			return err
		}
		p.discard(connection{checkout: checkout})
	}
	return nil
}

func (p *innerPool) giveBack(c *connection) bool {
	_ = c.checkout.Close() // which returns no error of the driver
	*c = connection{}
	return true
}

func (p *innerPool) discard(c connection) {
	if c.statements != nil {
		p.mu.Lock()
		delete(p.byConn, c.driver)
		p.mu.Unlock()
	}
	// Raw gives the connection up if its function says that it is bad, and
	// returns that same error.
	_ = c.checkout.Raw(func(any) error { return driver.ErrBadConn })
}

// prepared finds the statements of c by its driver's connection, which an
// *sql.DB hands out again and again. If that cannot be a key, or if the *sql.DB
// keeps no connection, they last for one checkout: behind pgx's
// stdlib.OpenDBFromPool the server's session goes on, and would keep them all.
func (p *innerPool) prepared(c *connection) *statements {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.maxIdle < 0 || !reflect.ValueOf(c.driver).Comparable() {
		return new(statements) // of which trim closes all
	}
	found := p.byConn[c.driver]
	if found == nil {
		if p.byConn == nil {
			p.byConn = make(map[driver.Conn]*statements)
		}
		p.forgetClosed()
		found = &statements{most: p.statements}
		p.byConn[c.driver] = found
	}
	p.uses++
	found.lastUse = p.uses
	return found
}

// forgetClosed is called with p.mu held. An *sql.DB does not say that it has
// closed a connection. So once twice as many are known as are open, those that
// were not used for longest are forgotten.
func (p *innerPool) forgetClosed() {
	const spare = 8
	open := p.Stats().OpenConnections
	if len(p.byConn) < 2*open+spare {
		return
	}
	oldest := p.uses - min(p.uses, uint64(open+spare))
	for conn, s := range p.byConn {
		if s.lastUse < oldest {
			delete(p.byConn, conn)
		}
	}
}

func (p *innerPool) fit(n int) {
	p.mu.Lock()
	keep := p.maxIdle != 0
	p.mu.Unlock()
	if !keep {
		p.SetMaxIdleConns(n)
	}
}

func (p *innerPool) bound(n int) {
	p.mu.Lock()
	most := p.maxIdle
	p.mu.Unlock()
	if most == 0 || most > n {
		most = n
	}
	// An *sql.DB closes an idle connection only for there being too many of them,
	// and not for what is in use besides.
	s := p.Stats()
	if over := s.OpenConnections - n; over > 0 && s.Idle > 0 {
		p.SetMaxIdleConns(max(0, s.Idle-over))
	}
	p.SetMaxIdleConns(most)
}

func (p *innerPool) driver() driver.Driver          { return p.Driver() }
func (p *innerPool) stats() sql.DBStats             { return p.Stats() }
func (p *innerPool) setMaxIdleTime(d time.Duration) { p.SetConnMaxIdleTime(d) }
func (p *innerPool) setMaxLifetime(d time.Duration) { p.SetConnMaxLifetime(d) }
func (p *innerPool) setMaxIdle(n int) {
	p.mu.Lock()
	p.maxIdle = n
	if n == 0 {
		p.maxIdle = -1
	}
	p.mu.Unlock()
	p.SetMaxIdleConns(n)
}

func (p *innerPool) close() error {
	if p.owned {
		return p.Close()
	}
	return nil
}
