package poolgate

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"math/rand/v2"
	"slices"
	"sync"
	"time"
)

// A pool keeps the connections of [OpenDB] that are idle. It has no limit and no
// queue of its own: every caller has a permit, and the pool opens a connection
// only if none is idle, so that no more are open than there are permits.
type pool struct {
	connector  driver.Connector
	statements int             // that a connection keeps prepared
	background context.Context // ends when the pool is closed
	end        context.CancelFunc

	mu          sync.Mutex    // guards what follows
	idle        []*connection // the one that was given back last at the end
	open        int           // connections: in use, idle and being closed
	closing     int           // of these, that were idle and are being closed
	discarding  int           // of these, that were in use and are being closed
	fitting     int           // as many as the gate can use
	maxIdle     int           // 0 for fitting, negative for none
	minOpen     int
	maxIdleTime time.Duration
	maxLifetime time.Duration
	closed      bool
	settled     chan struct{} // closed when no connection is being closed; nil if nobody waits
	closeErr    error         // of a connection that was closed with the pool
	timer       *time.Timer   // calls tend
	tendAt      time.Time     // when it will; zero if it will not
	openAgain   time.Time     // until when tend opens none
	stat        sql.DBStats   // its counters
}

func newPool(c driver.Connector, config Config) *pool {
	p := &pool{
		connector:   c,
		statements:  config.statements(),
		maxIdle:     config.MaxIdle,
		minOpen:     config.MinOpen,
		maxIdleTime: config.MaxIdleTime,
		maxLifetime: config.MaxLifetime,
	}
	p.background, p.end = context.WithCancel(context.Background())
	return p
}

// maxIdleTries is how many idle connections a checkout tries until it opens a
// new one. database/sql tries as many.
const maxIdleTries = 2

func (p *pool) take(ctx context.Context, _ *seat, isNew bool) (*connection, error) {
	for tries := 0; tries < maxIdleTries && !isNew; tries++ {
		c := p.pop()
		if c == nil {
			break
		}
		if p.reset(ctx, c) {
			return c, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
	}
	return p.connect(ctx)
}

// pop returns the connection that was given back last, or nil.
func (p *pool) pop() *connection {
	p.mu.Lock()
	defer p.mu.Unlock()
	for n := len(p.idle); n > 0; n = len(p.idle) {
		c := p.idle[n-1]
		p.idle[n-1] = nil
		p.idle = p.idle[:n-1]
		if p.maxLifetime <= 0 || time.Now().Before(p.expires(c)) {
			return c
		}
		p.stat.MaxLifetimeClosed++
		p.closeIdle(c)
	}
	return nil
}

// reset reports whether c can be used again. Otherwise it closes it. Like
// database/sql it takes driver.ErrBadConn alone for a no.
func (p *pool) reset(ctx context.Context, c *connection) (ok bool) {
	if c.resetter == nil {
		return true
	}
	defer func() {
		if !ok { // or the driver panics
			p.mu.Lock()
			p.closeIdle(c)
			p.mu.Unlock()
		}
	}()
	return !errors.Is(c.resetter.ResetSession(ctx), driver.ErrBadConn)
}

func (p *pool) connect(ctx context.Context) (c *connection, err error) {
	p.mu.Lock()
	p.open++
	p.mu.Unlock()
	defer func() {
		if c == nil {
			p.mu.Lock()
			p.open--
			p.mu.Unlock()
		}
	}()
	conn, err := p.connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	c = &connection{driver: conn, opened: time.Now(), spread: rand.Float64()}
	c.resetter, _ = conn.(driver.SessionResetter)
	c.validator, _ = conn.(driver.Validator)
	return c, nil
}

// lifetimeSpread is the part of MaxLifetime over which the ends of connections
// are spread: those that were opened at once should not be closed at once.
const lifetimeSpread = 0.1

func (p *pool) expires(c *connection) time.Time {
	return c.opened.Add(p.maxLifetime - time.Duration(c.spread*lifetimeSpread*float64(p.maxLifetime)))
}

func (p *pool) giveBack(c *connection) bool {
	if c.validator != nil && !c.validator.IsValid() {
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.closed:
		return false
	case len(p.idle) >= p.mostIdle(), p.open-p.closing-p.discarding > p.fitting:
		p.stat.MaxIdleClosed++
		return false
	case p.maxLifetime > 0 && !time.Now().Before(p.expires(c)):
		p.stat.MaxLifetimeClosed++
		return false
	}
	if p.maxIdleTime > 0 {
		c.idleSince = time.Now()
	}
	p.idle = append(p.idle, c)
	if p.maxIdleTime > 0 || p.maxLifetime > 0 {
		p.arm(p.due(c))
	}
	return true
}

func (p *pool) mostIdle() int {
	if p.maxIdle == 0 {
		return p.fitting
	}
	return min(p.maxIdle, p.fitting)
}

func (p *pool) prepared(*connection) *statements { return &statements{most: p.statements} }

func (p *pool) discard(c connection) {
	p.mu.Lock()
	p.discarding++
	p.mu.Unlock()
	p.shut(&c, &p.discarding)
}

// closeIdle closes connections that were idle, each in a goroutine of its own.
// It is called with p.mu held.
func (p *pool) closeIdle(all ...*connection) {
	p.closing += len(all)
	for _, c := range all {
		go func() {
			defer func() { _ = recover() }() // nobody is there who could handle it
			p.shut(c, &p.closing)
		}()
	}
}

// shut closes c, which is one of those that count counts.
func (p *pool) shut(c *connection, count *int) {
	var err error
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.open--
		*count--
		if p.closed && err != nil {
			p.closeErr = err
		}
		if p.settled != nil && p.closing+p.discarding == 0 {
			close(p.settled)
			p.settled = nil
		}
		if p.open < p.minOpen {
			p.arm(0)
		}
	}()
	err = c.driver.Close()
}

// arm has tend called after d at the latest. It is called with p.mu held.
func (p *pool) arm(d time.Duration) {
	at := time.Now().Add(max(0, d))
	switch {
	case p.closed, !p.tendAt.IsZero() && !at.Before(p.tendAt):
		return
	case p.timer == nil:
		p.timer = time.AfterFunc(max(0, d), p.tend)
	default:
		p.timer.Reset(max(0, d))
	}
	p.tendAt = at
}

// due returns in how long c has to be closed if it stays idle.
func (p *pool) due(c *connection) time.Duration {
	d := time.Duration(1<<63 - 1)
	if p.maxIdleTime > 0 {
		d = time.Until(c.idleSince.Add(p.maxIdleTime))
	}
	if p.maxLifetime > 0 {
		d = min(d, time.Until(p.expires(c)))
	}
	return d
}

// retryOpening is how long tend waits after it could not open a connection, or not
// keep it.
const retryOpening = time.Second

// tend closes the idle connections whose time has come, and opens as many as
// there should be at least.
func (p *pool) tend() {
	p.mu.Lock()
	p.tendAt = time.Time{}
	if p.maxIdleTime > 0 || p.maxLifetime > 0 {
		next := time.Duration(-1)
		p.idle = slices.DeleteFunc(p.idle, func(c *connection) bool {
			due := p.due(c)
			if due > 0 {
				if next < 0 || due < next {
					next = due
				}
				return false
			}
			if p.maxLifetime > 0 && !time.Now().Before(p.expires(c)) {
				p.stat.MaxLifetimeClosed++
			} else {
				p.stat.MaxIdleTimeClosed++
			}
			p.closeIdle(c)
			return true
		})
		if next > 0 {
			p.arm(next)
		}
	}
	p.mu.Unlock()
	for p.isShort() {
		p.warm()
	}
}

// isShort reports whether there should be more connections now, and room for one
// that is idle.
func (p *pool) isShort() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || p.open >= min(p.minOpen, p.fitting) || len(p.idle) >= p.mostIdle() {
		return false
	}
	if wait := time.Until(p.openAgain); wait > 0 {
		p.arm(wait)
		return false
	}
	return true
}

// warm opens a connection for the next caller. If there is none in the end, tend
// waits for a while.
func (p *pool) warm() {
	ctx, cancel := context.WithTimeout(p.background, warmPatience)
	defer cancel()
	defer func() {
		if recover() != nil {
			p.openLater()
		}
	}()
	c, err := p.connect(ctx)
	switch {
	case err != nil:
		p.openLater()
	case !p.giveBack(c):
		p.openLater()
		p.discard(*c)
	}
}

func (p *pool) openLater() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.openAgain = time.Now().Add(retryOpening)
}

const warmPatience = 30 * time.Second

func (p *pool) fit(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.fitting = n
	p.trim()
	if p.open < p.minOpen {
		p.arm(0)
	}
}

func (p *pool) bound(n int) { p.fit(n) }

// trim closes those that are idle beyond the most, and those beyond what the gate
// can use together with those that are in use. It is called with p.mu held.
func (p *pool) trim() {
	over := len(p.idle) - max(0, p.mostIdle())
	over = max(over, min(len(p.idle), p.open-p.closing-p.discarding-p.fitting))
	if over > 0 {
		p.stat.MaxIdleClosed += int64(over)
		p.closeIdle(p.idle[:over]...)
		p.idle = slices.Delete(p.idle, 0, over)
	}
}

func (p *pool) driver() driver.Driver { return p.connector.Driver() }

// Ungated returns the connector for DB.Ungated.
func (p *pool) Ungated() driver.Connector {
	if u, ok := p.connector.(interface{ Unprepared() driver.Connector }); ok {
		return u.Unprepared()
	}
	return p.connector
}

func (p *pool) stats() sql.DBStats {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.stat
	s.MaxOpenConnections = p.fitting
	s.OpenConnections = p.open
	s.Idle = len(p.idle)
	s.InUse = p.open - len(p.idle) - p.closing
	return s
}

func (p *pool) setMaxIdle(n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.maxIdle = n
	if n <= 0 {
		p.maxIdle = -1
	}
	p.trim()
}

func (p *pool) setMaxIdleTime(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.maxIdleTime <= 0 { // then it is not known since when they are idle
		for _, c := range p.idle {
			c.idleSince = time.Now()
		}
	}
	p.maxIdleTime = d
	p.arm(0)
}

func (p *pool) setMaxLifetime(d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.maxLifetime = d
	p.arm(0)
}

// closePatience is how long close waits for connections to be closed. A driver
// can need seconds if the server does not answer.
const closePatience = 200 * time.Millisecond

// close closes what is idle. What is in use is closed when it is given back.
func (p *pool) close() error {
	p.end()
	err := p.closeConnections()
	if c, ok := p.connector.(io.Closer); ok {
		err = errors.Join(err, c.Close())
	}
	return err
}

func (p *pool) closeConnections() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	if p.timer != nil {
		p.timer.Stop()
	}
	p.closeIdle(p.idle...)
	p.idle = nil
	if p.closing+p.discarding > 0 {
		settled := make(chan struct{})
		p.settled = settled
		p.mu.Unlock()
		select {
		case <-settled:
		case <-time.After(closePatience):
		}
		p.mu.Lock()
	}
	return p.closeErr
}
